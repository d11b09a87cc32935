package adminapi

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/problem"
	"github.com/revocast/revocast/services/internal/refresh"
)

// named are the members of a body that a note may repeat. No other is looked at: a
// password is in none of them.
type named struct {
	Kind      string   `json:"kind"`
	ID        string   `json:"id"`
	Issuer    string   `json:"issuer"`
	Scope     string   `json:"scope"`
	Except    string   `json:"except_session"`
	CutTime   string   `json:"cut_time"`
	Reason    string   `json:"reason"`
	Username  string   `json:"username"`
	Name      string   `json:"name"`
	Role      string   `json:"role"`
	Roles     []string `json:"roles"`
	Status    string   `json:"status"`
	Use       string   `json:"use"`
	Overlap   string   `json:"overlap"`
	ExpiresIn string   `json:"expires_in"`
	DryRun    bool     `json:"dry_run"`
}

// about says whom and what a request is about, as far as its path, its query and its
// body name them. It takes nothing from the body that whoever reads it next would miss.
func about(r *http.Request, issuer events.Issuer) events.Note {
	in, query := bodyOf(r), r.URL.Query()
	n := events.Note{Issuer: events.Issuer(mentionable(cmp.Or(in.Issuer, query.Get("issuer"), query.Get("iss")), string(issuer)))}
	var d detail
	subject, session, client := cmp.Or(r.PathValue("sub"), query.Get("subject"), query.Get("sub")), cmp.Or(r.PathValue("sid"), query.Get("sid")), query.Get("client_id")
	id := cmp.Or(in.ID, r.PathValue("id"))
	switch kind := cmp.Or(in.Kind, query.Get("kind")); {
	case kind == events.KindSubject.String() && in.ID != "":
		subject, id = in.ID, ""
	case kind == events.KindSession.String() && in.ID != "":
		session, id = in.ID, ""
	case kind == events.KindClient.String() && in.ID != "":
		client, id = in.ID, ""
	case strings.Contains(r.Pattern, "/clients/"):
		client, id = id, ""
	}
	n.Subject, n.Session, n.Client = events.Subject(mentionable(subject, "")), events.SessionID(mentionable(session, "")), events.ClientID(mentionable(client, ""))
	d.add("kind", cmp.Or(in.Kind, query.Get("kind")))
	d.add("id", cmp.Or(id, query.Get("id"), query.Get("jti")))
	d.add("scope", in.Scope)
	d.add("except_session", in.Except)
	d.add("cut_time", in.CutTime)
	d.add("reason", in.Reason)
	d.add("username", cmp.Or(in.Username, query.Get("username")))
	d.add("name", cmp.Or(in.Name, r.PathValue("name")))
	d.add("role", in.Role)
	if in.Roles != nil {
		d.add("roles", strings.Join(in.Roles, ","))
	}
	d.add("status", in.Status)
	d.add("use", in.Use)
	d.add("overlap", in.Overlap)
	d.add("expires_in", in.ExpiresIn)
	for _, key := range []string{"from", "to", "at", "kid"} {
		d.add(key, cmp.Or(r.PathValue(key), query.Get(key)))
	}
	if in.DryRun {
		d.add("dry_run", "true")
	}
	n.Detail = string(d)
	return n
}

// bodyOf reads what a JSON body names and puts the body back. A body that is not
// understood names nothing: the endpoint will refuse it.
func bodyOf(r *http.Request) named {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		return named{}
	}
	text, _ := io.ReadAll(io.LimitReader(r.Body, problem.MaxBody+1)) // a fault meets the endpoint again
	r.Body = restored{io.MultiReader(bytes.NewReader(text), r.Body), r.Body}
	var in named
	if json.Unmarshal(text, &in) != nil {
		return named{}
	}
	return in
}

// restored is a body of which something has been read.
type restored struct {
	io.Reader
	io.Closer
}

// detail is a list of what a note says in words.
type detail string

const (
	maxValue  = 128
	maxDetail = 2048
)

func (d *detail) add(name, value string) {
	if value == "" || len(*d) > maxDetail {
		return
	}
	switch {
	case isCredential(value):
		value = "withheld"
	case len(value) > maxValue:
		value = strconv.Quote(value[:maxValue]) + "…"
	default:
		value = strconv.Quote(value)
	}
	if *d != "" {
		*d += ", "
	}
	*d += detail(name + " " + value)
}

// mentionable is s if a note may say it as it is, and otherwise the other.
func mentionable(s, otherwise string) string {
	if !plain(s, 1, maxID) || isCredential(s) {
		return otherwise
	}
	return s
}

// isCredential reports whether somebody has sent a token where an id belongs.
func isCredential(s string) bool {
	_, err := refresh.Parse(s)
	return err == nil || strings.HasPrefix(s, "eyJ") && strings.Count(s, ".") >= 2 || strings.HasPrefix(s, "rvo_")
}
