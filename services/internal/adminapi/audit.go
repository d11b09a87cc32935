package adminapi

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/audit"
	"github.com/revocast/revocast/services/internal/problem"
)

// History is what the audit remembers.
type History interface {
	History(ctx context.Context, q audit.Query) (audit.Page, error)
	At(ctx context.Context, q audit.Question) (audit.Verdict, error)
}

const defaultLimit = 100

type historyAnswer struct {
	Events []audit.Entry `json:"events"`
	// Next is what after= takes to go on; absent at the end.
	Next string `json:"next,omitempty"`
	// Unreadable is how many events between these only a later version can read.
	Unreadable int `json:"unreadable,omitempty"`
}

// audit is GET /admin/v1/audit?subject=&sid=&client_id=&issuer=&from=&to=&limit=&after=:
// what happened, oldest first; from= and to= are RFC 3339. A page may hold less than
// limit= and yet have a next one, where little of much matches.
//
// With at= (RFC 3339) it says instead whether a token would have passed at that moment,
// and what denied it. The token is never sent: its claims are, as iss= jti= sid= sub=
// client_id= kid= ssq= tsq= iat= auth_time= exp=, those that it has.
func (a API) audit(w http.ResponseWriter, r *http.Request, _ events.Initiator) error {
	if r.URL.Query().Has("at") {
		return a.auditAt(w, r)
	}
	q := parameters{r.URL.Query(), nil}
	q.only("subject", "sid", "client_id", "issuer", "from", "to", "limit", "after")
	query := audit.Query{
		Issuer: events.Issuer(q.text("issuer")), Subject: events.Subject(q.text("subject")), Session: events.SessionID(q.text("sid")),
		Client: events.ClientID(q.text("client_id")), From: q.time("from"), To: q.time("to"),
		Limit: defaultLimit, After: q.number("after", events.MaxSequence),
	}
	if n := q.number("limit", audit.MaxLimit); n > 0 {
		query.Limit = int(n) //nolint:gosec // at most MaxLimit
	}
	if q.fault != nil {
		return q.fault
	}
	page, err := a.History.History(r.Context(), query)
	if err != nil {
		return err
	}
	write(w, http.StatusOK, historyAnswer{page.Entries, page.Next, page.Unreadable})
	return nil
}

func (a API) auditAt(w http.ResponseWriter, r *http.Request) error {
	q := parameters{r.URL.Query(), nil}
	q.only("at", "iss", "jti", "sid", "sub", "client_id", "kid", "ssq", "tsq", "iat", "auth_time", "exp")
	question := audit.Question{
		At: q.time("at"),
		Token: events.Facts{
			Issuer: events.Issuer(q.text("iss")), Token: events.TokenID(q.text("jti")), Session: events.SessionID(q.text("sid")),
			Subject: events.Subject(q.text("sub")), Client: events.ClientID(q.text("client_id")), Key: events.KeyID(q.text("kid")),
			SessionAt: q.position("ssq"), MintedAt: q.position("tsq"), AuthTime: q.seconds("auth_time"), IssuedAt: q.seconds("iat"),
		},
	}
	if exp := q.seconds("exp"); exp > 0 {
		question.Expires = time.Unix(exp, 0)
	}
	switch {
	case q.fault != nil:
		return q.fault
	case question.At.IsZero():
		return problem.New(http.StatusBadRequest, "at is a time such as 2026-11-01T10:00:00Z.")
	}
	verdict, err := a.History.At(r.Context(), question)
	if err != nil {
		return err
	}
	write(w, http.StatusOK, verdict)
	return nil
}

// parameters are a query string, read strictly: each at most once, and none that the
// endpoint does not know. The first fault is kept.
type parameters struct {
	values url.Values
	fault  error
}

func (p *parameters) fail(detail string) {
	if p.fault == nil {
		p.fault = problem.New(http.StatusBadRequest, detail)
	}
}

func (p *parameters) only(names ...string) {
	for name, values := range p.values {
		if !slices.Contains(names, name) || len(values) != 1 {
			p.fail("The query has a parameter that this endpoint does not know, or one twice.")
		}
	}
}

func (p *parameters) text(name string) string {
	s := p.values.Get(name)
	switch {
	case !plain(s, 0, maxID):
		p.fail(name + " has at most 512 bytes and no control characters.")
	case isCredential(s):
		p.fail(name + " is an id, not a token. Whoever reads logs may have that token now; revoke it.")
	}
	return s
}

func (p *parameters) time(name string) time.Time {
	s := p.values.Get(name)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Unix() <= 0 {
		p.fail(name + " is a time such as 2026-11-01T10:00:00Z.")
	}
	return t
}

func (p *parameters) number(name string, atMost uint64) uint64 {
	s := p.values.Get(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 || n > atMost || strconv.FormatUint(n, 10) != s {
		p.fail(name + " is a number from 1 to " + strconv.FormatUint(atMost, 10) + ".")
	}
	return n
}

// maxSeconds is the year 9999, beyond which times have no RFC 3339 form.
const maxSeconds = 253402300799

func (p *parameters) seconds(name string) int64 {
	return int64(p.number(name, maxSeconds)) //nolint:gosec // bounded
}

func (p *parameters) position(name string) events.Position {
	s := p.values.Get(name)
	if s == "" {
		return events.Position{}
	}
	at, err := events.ParsePosition(s)
	if err != nil {
		p.fail(name + " is a position of the form shard:sequence.")
	}
	return at
}
