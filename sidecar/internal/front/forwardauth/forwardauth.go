// Package forwardauth answers reverse proxies that ask, before each request they
// pass on, whether it may pass: nginx auth_request, Caddy forward_auth, Traefik
// ForwardAuth, HAProxy. The question is a request of any method with the client's
// Authorization field; the answer is a status (200, or what the client shall
// see) and headers about the token for the proxy to hand on. RFC 6750 words the
// refusals.
//
// Invariants:
//
//   - Every answer sets every identity header, empty where nothing is known, so
//     that none forged by a client survives a proxy that copies them.
//   - Identity headers are filled only when the request passes.
//   - A query can only ask for more; what it asks and cannot be read is refused.
//   - The body is never read.
package forwardauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/revocast/revocast/sidecar/internal/front/bearer"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/verify"
)

// Judge is the verifier behind the front.
type Judge interface {
	Judge(ctx context.Context, token string, ask gate.Ask) (verify.Claims, gate.Decision)
	Refuse(o gate.Outcome) gate.Decision
}

// Handler answers one question a request, whatever the path it is mounted at. It
// is safe for concurrent use.
type Handler struct {
	realm bearer.Realm
	judge Judge
}

// New makes a handler whose challenges name realm: what is protected, 1 to 128
// characters of ASCII without control characters.
func New(realm string, judge Judge) (*Handler, error) {
	r, err := bearer.NewRealm(realm)
	if err != nil {
		return nil, err
	}
	return &Handler{realm: r, judge: judge}, nil
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		// A proxy has no reason to send the body along. The connection is closed
		// rather than made to wait for one.
		w.Header().Set("Connection", "close")
	}
	claims, decision := h.decide(r)
	answer(w, h.realm, claims, decision)
}

func (h *Handler) decide(r *http.Request) (verify.Claims, gate.Decision) {
	ask, err := ReadAsk(r.URL.RawQuery)
	if err != nil {
		return verify.Claims{}, h.judge.Refuse(gate.Unreadable)
	}
	token, outcome := bearer.Credentials(r.Header["Authorization"])
	if outcome != gate.Unjudged {
		return verify.Claims{}, h.judge.Refuse(outcome)
	}
	return h.judge.Judge(r.Context(), token, ask)
}

// maxQuery is far more than a dozen scopes take.
const maxQuery = 2 << 10

var errQuery = errors.New("the query cannot be read")

// ReadAsk reads what the query of a request demands: `scope` (names separated by spaces; may be repeated) and
// `max_stale` (a positive duration such as 5s). Anything else is refused: a
// demand that is spelt wrongly must not be a demand that is dropped.
func ReadAsk(query string) (ask gate.Ask, err error) {
	if query == "" {
		return gate.Ask{}, nil
	}
	if len(query) > maxQuery {
		return gate.Ask{}, errQuery
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return gate.Ask{}, errQuery
	}
	for name, given := range values {
		switch name {
		case "scope":
			ask.Scopes, err = readScopes(given)
		case "max_stale":
			ask.MaxStale, err = readMaxStale(given)
		default:
			err = errQuery
		}
		if err != nil {
			return gate.Ask{}, err
		}
	}
	return ask, nil
}

func readScopes(given []string) (scopes []string, err error) {
	for _, list := range given {
		for s := range strings.SplitSeq(list, " ") {
			if !gate.ValidScope(s) {
				return nil, errQuery
			}
			scopes = append(scopes, s)
		}
	}
	return scopes, nil
}

func readMaxStale(given []string) (time.Duration, error) {
	if len(given) != 1 {
		return 0, errQuery
	}
	d, err := time.ParseDuration(given[0])
	if err != nil || d <= 0 {
		return 0, errQuery
	}
	return d, nil
}

// freshLayout is RFC 3339 with milliseconds.
const freshLayout = "2006-01-02T15:04:05.000Z07:00"

// answer words a decision. Claims are zero, and so the identity headers empty,
// unless the verifier vouches for them.
func answer(w http.ResponseWriter, realm bearer.Realm, c verify.Claims, d gate.Decision) {
	header := w.Header()
	// No two questions have one answer for longer than it takes to give it.
	header.Set("Cache-Control", "no-store")
	header.Set("X-Auth-Subject", string(c.Subject))
	header.Set("X-Auth-Session", string(c.Session))
	header.Set("X-Auth-Client", string(c.Client))
	header.Set("X-Auth-Scope", c.Scope)
	header.Set("X-Auth-Roles", roles(c.Roles))
	header.Set("X-Auth-Expires", "")
	if !c.Expires.IsZero() {
		header.Set("X-Auth-Expires", strconv.FormatInt(c.Expires.Unix(), 10))
	}
	header.Set("X-Revocast-Fresh-As-Of", "")
	if !d.FreshAsOf.IsZero() {
		header.Set("X-Revocast-Fresh-As-Of", d.FreshAsOf.UTC().Format(freshLayout))
	}
	if challenge := realm.Challenge(d); challenge != "" {
		header.Set("WWW-Authenticate", challenge)
	}
	if wait := d.RetryAfter(); wait > 0 {
		header.Set("Retry-After", strconv.FormatInt(int64(wait/time.Second), 10))
	}
	header.Set("Content-Length", "0")
	w.WriteHeader(d.Status())
}

// roles joins role names with commas. A comma inside a name is escaped as in a
// URL, and so is the percent sign: no name must read as two.
func roles(names verify.Texts) string {
	escaped := make([]string, 0, names.Len())
	for name := range names.All() {
		escaped = append(escaped, strings.ReplaceAll(strings.ReplaceAll(name, "%", "%25"), ",", "%2C"))
	}
	return strings.Join(escaped, ",")
}
