package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

type auditCommand struct {
	Subject   string `placeholder:"SUB" help:"What happened to this user."`
	Sid       string `placeholder:"SID" help:"What happened to this session."`
	ClientID  string `placeholder:"ID" help:"What happened with this client."`
	Issuer    string `placeholder:"URL" help:"Whose subjects and sessions are meant, where not this issuer's own."`
	From      string `placeholder:"TIME" help:"From this time on, such as 2026-11-01T10:00:00Z."`
	To        string `placeholder:"TIME" help:"Up to this time."`
	Limit     uint   `default:"1000" help:"At most so many events (${default})."`
	At        string `placeholder:"TIME" help:"Say instead whether a token would have passed at this moment, and what denied it."`
	TokenFile string `placeholder:"FILE" help:"The token that --at asks about; - is standard input. It stays here: only the ids it holds are sent."`
}

func (*auditCommand) Help() string {
	return `Lists what happened, oldest first, under the names of who did it. Who asks is on record, too.

With --at the exit status is 0 if the token would have passed and 1 if not, or if the audit cannot tell.

Examples:

  revocast audit --subject "$SUB" --from 2026-11-01T00:00:00Z
  revocast audit --sid "$SID" -o json
  revocast audit --at 2026-11-01T10:00:00Z --token-file alice.json
`
}

// Validate is called by kong.
func (c *auditCommand) Validate() error {
	for flag, text := range map[string]string{"--from": c.From, "--to": c.To, "--at": c.At} {
		if _, err := time.Parse(time.RFC3339, text); text != "" && err != nil {
			return fmt.Errorf("%s %s: want a time such as 2026-11-01T10:00:00Z", flag, text)
		}
	}
	about := c.Subject + c.Sid + c.ClientID + c.Issuer + c.From + c.To
	switch {
	case (c.At == "") != (c.TokenFile == ""):
		return errors.New("--at and --token-file go together")
	case c.At != "" && about != "":
		return errors.New("--at asks about one token; the token says whose it is")
	}
	return nil
}

func (c *auditCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	if c.At != "" {
		return c.judge(ctx, admin, t)
	}
	return c.list(ctx, admin, t)
}

// event is what a line of the table shows of an event.
type event struct {
	At         time.Time `json:"at"`
	Type       string    `json:"type"`
	Action     string    `json:"action"`
	By         by        `json:"by"`
	Subject    string    `json:"subject"`
	Session    string    `json:"session"`
	Kind       string    `json:"kind"`
	ID         string    `json:"id"`
	DeviceName string    `json:"device_name"`
	Address    string    `json:"address"`
	Reason     string    `json:"reason"`
	Detail     string    `json:"detail"`
}

type by struct{ Role, Name string }

func (b by) String() string { return strings.TrimSpace(b.Role + " " + b.Name) }

const auditLine = "%-19s  %-34s  %-20s  %-36s  %s\n"

// list asks for page after page and prints each as it comes.
func (c *auditCommand) list(ctx context.Context, admin *api, t *terminal) error {
	query := url.Values{}
	for name, value := range map[string]string{
		"subject": c.Subject, "sid": c.Sid, "client_id": c.ClientID, "issuer": c.Issuer, "from": c.From, "to": c.To,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if !t.json {
		t.printf(auditLine, "TIME", "WHAT", "BY", "SESSION OR ID", "MORE")
	}
	for left := c.Limit; left > 0; {
		query.Set("limit", strconv.FormatUint(uint64(min(left, 1000)), 10))
		var page struct {
			Events     []json.RawMessage `json:"events"`
			Next       string            `json:"next"`
			Unreadable int               `json:"unreadable"`
		}
		a, err := admin.call(ctx, http.MethodGet, "/admin/v1/audit?"+query.Encode())
		if err == nil {
			err = a.into(&page, http.StatusOK)
		}
		if err != nil {
			return fmt.Errorf("reading the audit: %w", err)
		}
		for _, text := range page.Events {
			if err := t.auditEvent(text); err != nil {
				return err
			}
		}
		if page.Unreadable > 0 {
			t.note(fmt.Errorf("%d events were written by a later version and are not shown", page.Unreadable))
		}
		left -= min(left, uint(len(page.Events)))
		if page.Next == "" || t.failed != nil {
			break
		}
		query.Set("after", page.Next)
	}
	return t.failed
}

func (t *terminal) auditEvent(text json.RawMessage) error {
	if t.json {
		return errors.Join(t.printLine(text), t.failed)
	}
	var e event
	if err := json.Unmarshal(text, &e); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	var more []string
	for _, s := range []string{e.Reason, e.DeviceName, e.Address, e.Detail} {
		if s != "" {
			more = append(more, s)
		}
	}
	t.printf(auditLine, moment(e.At), printable(cmp.Or(e.Action, e.Type)), printable(cmp.Or(e.By.String(), "-")),
		printable(cmp.Or(e.Session, strings.TrimSpace(e.Kind+" "+e.ID), e.Subject, "-")), printable(strings.Join(more, ", ")))
	return t.failed
}

// past is what the audit says of a token.
type past struct {
	Decided   bool   `json:"decided"`
	Passed    bool   `json:"passed"`
	Undecided string `json:"undecided"`
	Lifetime  string `json:"lifetime"`
	Reasons   []struct {
		RevocationID string    `json:"revocation_id"`
		Kind         string    `json:"kind"`
		ID           string    `json:"id"`
		Reason       string    `json:"reason"`
		By           by        `json:"by"`
		Since        time.Time `json:"since"`
	} `json:"reasons"`
}

func (c *auditCommand) judge(ctx context.Context, admin *api, t *terminal) error {
	l, err := t.readLogin(c.TokenFile)
	if err != nil {
		return err
	}
	query, err := identifiers(l.AccessToken)
	if err != nil {
		return err
	}
	query.Set("at", c.At)
	var v past
	a, err := admin.call(ctx, http.MethodGet, "/admin/v1/audit?"+query.Encode())
	if err == nil {
		err = a.into(&v, http.StatusOK)
	}
	if err != nil {
		return fmt.Errorf("asking the audit: %w", err)
	}
	if t.json {
		err = t.printJSON(json.RawMessage(bytes.TrimSpace(a.body)))
	} else {
		v.print(t)
	}
	switch {
	case !v.Decided:
		err = errors.Join(err, fmt.Errorf("not decided: %s", v.Undecided))
	case !v.Passed:
		err = errors.Join(err, errors.New("the token would not have passed"))
	}
	return err
}

func (v past) print(t *terminal) {
	answer := "not decided"
	switch {
	case v.Decided && v.Passed:
		answer = "it would have passed"
	case v.Decided:
		answer = "it would not have passed"
	}
	rows := [][]string{{"verdict", answer}}
	if why := cmp.Or(v.Undecided, v.Lifetime); why != "" {
		rows = append(rows, []string{"because", why})
	}
	for _, r := range v.Reasons {
		rows = append(rows, []string{"denied by", strings.TrimSpace(r.Kind + " " + r.ID), r.Reason, r.By.String(), "since " + moment(r.Since), r.RevocationID})
	}
	t.table(rows...)
}

// identifiers are what a token says about itself and the audit judges it by. Nothing
// else of it is used; whether it is genuine is not looked at.
func identifiers(token string) (url.Values, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("reading the token: it is no JWT")
	}
	var header, claims map[string]json.RawMessage
	for i, into := range []*map[string]json.RawMessage{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(text, into) != nil {
			return nil, errors.New("reading the token: it is no JWT") // the decoder's report would repeat it
		}
	}
	query := url.Values{}
	for _, name := range []string{"iss", "jti", "sid", "sub", "client_id", "ssq", "tsq"} {
		set(query, name, claims[name])
	}
	if query.Get("client_id") == "" {
		set(query, "client_id", claims["azp"]) // OpenID Connect Core section 2
	}
	set(query, "kid", header["kid"])
	for _, name := range []string{"iat", "auth_time", "exp"} {
		var seconds float64
		if json.Unmarshal(claims[name], &seconds) == nil && seconds > 0 {
			query.Set(name, strconv.FormatInt(int64(seconds), 10))
		}
	}
	return query, nil
}

func set(query url.Values, name string, value json.RawMessage) {
	var text string
	if json.Unmarshal(value, &text) == nil && text != "" {
		query.Set(name, text)
	}
}
