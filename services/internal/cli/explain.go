package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type explainCommand struct {
	tokenInput
	Scope    []string      `placeholder:"SCOPE" help:"A scope that the request would ask for; repeatable."`
	MaxStale time.Duration `placeholder:"DURATION" help:"The greatest age of the view that the request would accept."`
}

func (*explainCommand) Help() string {
	return `The sidecar decides as for a request and says what led there: which trust rule took the token, how fresh the view is, and every revocation there is of the token, its session, subject, client and key, and of all, each with why it denies or not. Of a token whose signature does not verify nothing is shown.

It is asked at its admin listener (port 9472), not where proxies ask (9470). That answers on its own machine only, unless it was told otherwise; in Kubernetes, kubectl port-forward leads there.

Of the columns, LOOKED UP BY is what the token says, INDEX whether memory held anything like it (a hit alone denies nothing), VERDICT why an entry denies or not, CUT which sessions or tokens a wide one ends: those begun up to that place in the journal. WHERE is what already holds the entry.

Exit status 0 if the token passes, 1 if it does not.

Examples:

  revocast explain --token-file alice.json
  revocast explain --sidecar-url http://127.0.0.1:9482 -o json < token
  revocast explain --token-file alice.json --scope orders:write --max-stale 5s
`
}

// explanation is the answer, as far as it is printed as a table.
type explanation struct {
	Verdict string    `json:"verdict"`
	Status  int       `json:"status"`
	Reason  string    `json:"reason"`
	Because string    `json:"because"`
	Shadow  bool      `json:"shadow"`
	At      time.Time `json:"at"`
	Token   *struct {
		Verified bool   `json:"verified"`
		Fault    string `json:"fault"`
		Rule     struct {
			Issuer    string   `json:"issuer"`
			Audiences []string `json:"audiences"`
			Require   []string `json:"require"`
			Type      string   `json:"typ"`
			Foreign   bool     `json:"foreign"`
		} `json:"rule"`
		Claims struct {
			Expires  time.Time `json:"exp"`
			IssuedAt time.Time `json:"iat"`
			Scope    string    `json:"scope"`
			Session  string    `json:"ssq"`
			Minted   string    `json:"tsq"`
		} `json:"claims"`
	} `json:"token"`
	Kinds         []explainedKind `json:"kinds"`
	IndexComplete bool            `json:"index_complete"`
	LookupError   string          `json:"lookup_error"`
	Feed          struct {
		Phase    string `json:"phase"`
		Position string `json:"position"`
		Lag      uint64 `json:"lag"`
	} `json:"feed"`
	FreshAsOf  *time.Time `json:"fresh_as_of"`
	AgeSeconds *float64   `json:"age_seconds"`
	Stale      bool       `json:"stale"`
	Policy     struct {
		StaleAfter string   `json:"stale_after"`
		WhenStale  string   `json:"when_stale"`
		StaleLimit string   `json:"stale_limit"`
		Enforce    bool     `json:"enforce"`
		Scopes     []string `json:"require_scope"`
	} `json:"policy"`
}

type explainedKind struct {
	Kind    string `json:"kind"`
	ID      string `json:"id"`
	Looked  bool   `json:"looked"`
	Index   string `json:"index"`
	Entries []struct {
		RevocationID string    `json:"revocation_id"`
		Denies       bool      `json:"denies"`
		Why          string    `json:"why"`
		Reason       string    `json:"reason"`
		By           by        `json:"by"`
		Scope        string    `json:"scope"`
		Cut          string    `json:"cut"`
		CutAt        time.Time `json:"cut_at"`
		Except       string    `json:"except_session"`
		ExpiresAt    time.Time `json:"expires_at"`
		Memory       bool      `json:"in_memory"`
		Disk         bool      `json:"on_disk"`
	} `json:"entries"`
}

func (c *explainCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	l, err := t.readLogin(c.TokenFile)
	if err != nil {
		return err
	}
	sidecar, err := newAPI(cmp.Or(g.SidecarURL, defaultSidecarAdminURL), l.AccessToken, g.AllowPlainHTTP)
	if err != nil {
		return err
	}
	path := "/v1/explain"
	if query := c.query(); query != "" {
		path += "?" + query
	}
	a, err := sidecar.call(ctx, http.MethodGet, path)
	if err != nil {
		return fmt.Errorf("asking for an explanation: %w", err)
	}
	var x explanation
	if err := a.into(&x, http.StatusOK); err != nil {
		return fmt.Errorf("asking for an explanation: this is no sidecar's admin listener: %w", err)
	}
	if t.json {
		err = t.printJSON(json.RawMessage(bytes.TrimSpace(a.body)))
	} else {
		x.print(t)
	}
	if x.Verdict != "allow" {
		err = errors.Join(err, fmt.Errorf("the token does not pass: %s", x.Reason))
	}
	return err
}

// query is what a request would ask of the sidecar beyond its policy.
func (c *explainCommand) query() string {
	query := url.Values{}
	for _, s := range c.Scope {
		query.Add("scope", s)
	}
	if c.MaxStale != 0 {
		query.Set("max_stale", c.MaxStale.String())
	}
	return query.Encode()
}

func (x *explanation) print(t *terminal) {
	verdict := fmt.Sprintf("%s (%d %s)", x.Verdict, x.Status, x.Reason)
	if x.Shadow {
		verdict += ", only because enforcement is off"
	}
	fresh := "never"
	if x.FreshAsOf != nil && x.AgeSeconds != nil {
		fresh = fmt.Sprintf("%s, %.1f s ago", x.FreshAsOf.Local().Format(time.DateTime), *x.AgeSeconds)
	}
	if x.Stale {
		fresh += ", stale"
	}
	policy := fmt.Sprintf("stale after %s, then %s", x.Policy.StaleAfter, x.Policy.WhenStale)
	if x.Policy.WhenStale == "allow" {
		policy += " up to " + x.Policy.StaleLimit
	}
	if len(x.Policy.Scopes) > 0 {
		policy += ", scope " + strings.Join(x.Policy.Scopes, " ")
	}
	rows := [][]string{{"verdict", verdict}, {"because", x.Because}}
	rows = append(rows, x.token()...)
	rows = append(rows,
		[]string{"view", "fresh as of " + fresh},
		[]string{"feed", fmt.Sprintf("%s at %s, lag %d", x.Feed.Phase, x.Feed.Position, x.Feed.Lag)},
		[]string{"policy", policy})
	if x.LookupError != "" {
		rows = append(rows, []string{"look-up", x.LookupError})
	}
	if len(x.Kinds) > 0 && !x.IndexComplete {
		rows = append(rows, []string{"index", "being filled; requests look at the disk"})
	}
	t.table(rows...)
	if len(x.Kinds) == 0 {
		return
	}
	t.printf("\n")
	rows = [][]string{{"KIND", "LOOKED UP BY", "INDEX", "VERDICT", "REVOCATION", "REASON", "BY", "CUT", "UNTIL", "WHERE"}}
	for i := range x.Kinds {
		rows = append(rows, x.Kinds[i].rows()...)
	}
	t.table(rows...)
}

// token says how the token itself was judged.
func (x *explanation) token() [][]string {
	switch {
	case x.Token == nil:
		return nil
	case !x.Token.Verified:
		return [][]string{{"token", "not believed: " + x.Token.Fault}}
	}
	r, c := &x.Token.Rule, &x.Token.Claims
	judged := "signature verifies"
	if x.Token.Fault != "" {
		judged += ", but: " + x.Token.Fault
	}
	rule := []string{"issuer=" + r.Issuer}
	for _, a := range r.Audiences {
		rule = append(rule, "audience="+a)
	}
	for _, q := range r.Require {
		rule = append(rule, "require="+q)
	}
	rule = append(rule, "typ="+r.Type)
	if r.Foreign {
		rule = append(rule, "foreign=true")
	}
	rows := [][]string{
		{"token", judged},
		{"rule", strings.Join(rule, ",")},
		{"times", fmt.Sprintf("issued %s, expires %s", moment(c.IssuedAt), moment(c.Expires))},
	}
	if c.Session != "" || c.Minted != "" {
		rows = append(rows, []string{"positions", fmt.Sprintf("session %s, token %s", cmp.Or(c.Session, "-"), cmp.Or(c.Minted, "-"))})
	}
	return append(rows, []string{"scope", cmp.Or(c.Scope, "-")})
}

func (k *explainedKind) rows() (rows [][]string) {
	id := cmp.Or(k.ID, "-")
	if !k.Looked {
		return [][]string{{k.Kind, "-", "-", "the token has none"}}
	}
	if len(k.Entries) == 0 {
		return [][]string{{k.Kind, id, k.Index, "nothing"}}
	}
	for i := range k.Entries {
		e := &k.Entries[i]
		cut := e.Cut
		if !e.CutAt.IsZero() {
			cut = strings.TrimSpace(cut + " " + moment(e.CutAt))
		}
		if cut != "" {
			cut += " " + e.Scope
		}
		if e.Except != "" {
			cut = strings.TrimSpace(cut + " but session " + e.Except)
		}
		until := "-"
		if !e.ExpiresAt.IsZero() {
			until = moment(e.ExpiresAt)
		}
		where := "memory, disk"
		switch {
		case !e.Disk:
			where = "memory"
		case !e.Memory:
			where = "disk"
		}
		rows = append(rows, []string{
			k.Kind, id, k.Index, e.Why, e.RevocationID, cmp.Or(e.Reason, "-"), cmp.Or(e.By.String(), "-"), cmp.Or(cut, "-"), until, where,
		})
		k.Kind, id, k.Index = "", "", "" // told in the first row
	}
	return rows
}
