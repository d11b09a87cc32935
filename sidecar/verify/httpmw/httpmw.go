// Package httpmw puts a verifier before the handlers of a net/http server: what may not
// pass is answered as every front of the sidecar answers it, and the handlers behind
// learn who asks.
//
// Handlers learn it by [verify.FromContext], and by the request's X-Auth-* fields, which
// are those that a sidecar would have set.
//
// Invariants:
//
//   - No handler behind sees an X-Auth-* field that a client has sent, nor one that a
//     gateway such as CGI could take for one, whether the request needs a token or not:
//     neither in the header nor behind the body; nor can a client have those removed that
//     are set here, by naming them in Connection.
//   - No handler behind sees a field that asks for another method or path than was
//     judged, as X-Http-Method-Override does. What obeys such fields has to stand before
//     the middleware.
//   - The decision is that of the sidecar's fronts; there is none in this package.
package httpmw

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/route"
	"github.com/revocast/revocast/sidecar/verify"
)

// Option changes a middleware.
type Option func(*settings)

// settings are what options change. All rules make one table.
type settings struct {
	front.Config

	rules []verify.Rule
}

// Realm is what challenges name (RFC 9110 section 11.5), 1 to 128 characters of ASCII;
// by default "revocast".
func Realm(name string) Option {
	return func(s *settings) { s.Realm = name }
}

// Rules are what is demanded of requests by their method, host and path, or that they
// need no token. The path is that which the handlers behind will see. Given more than
// once, all of them hold; errors count them through.
func Rules(rules ...verify.Rule) Option {
	return func(s *settings) { s.rules = append(s.rules, rules...) }
}

// Within bounds how long an answer may take, whatever disk and key servers do; then it
// is 503. By default 400 ms.
func Within(d time.Duration) Option {
	return func(s *settings) { s.Within = d }
}

// MaxInFlight is how many requests may be judged at once; beyond it they are 503. By
// default 4,096.
func MaxInFlight(n int) Option {
	return func(s *settings) { s.MaxInFlight = n }
}

// New makes a middleware, which is safe for concurrent use, or names what is wrong with
// the options. The verifier must run.
func New(v *verify.Verifier, options ...Option) (func(http.Handler) http.Handler, error) {
	s := settings{Config: front.Defaults()}
	for _, set := range options {
		set(&s)
	}
	routes, err := route.New(s.rules)
	if err != nil {
		return nil, fmt.Errorf("reading rules: %w", err)
	}
	s.Routes = routes
	check, err := front.NewChecker(s.Config, v)
	if err != nil {
		return nil, err
	}
	return over(check), nil
}

func over(check *front.Checker) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler { return &handler{check, next} }
}

type handler struct {
	check *front.Checker
	next  http.Handler
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := h.check.Check(r.Context(), front.Request{
		Method: r.Method, Host: r.Host, Target: target(r.URL), Authorization: r.Header["Authorization"],
	})
	header := w.Header()
	set(header, answer.Fresh())
	if !answer.Allowed() {
		set(header, answer.Refusal()...)
		header.Set("Content-Length", "0")
		w.WriteHeader(answer.Decision.Status())
		return
	}
	ctx := r.Context()
	if answer.Known() {
		ctx = verify.NewContext(ctx, answer.Claims)
	}
	identity := answer.Identity()
	passed := r.WithContext(ctx)
	clean(passed)
	set(passed.Header, identity[:]...)
	h.next.ServeHTTP(w, passed)
}

// target is the path as the client has spelt it, where nobody in front of us has put
// another in its place.
func target(u *url.URL) string {
	if path, err := url.PathUnescape(u.RawPath); err == nil && path == u.Path {
		return u.RawPath
	}
	return u.EscapedPath()
}

// set gives fields, whose names are canonical, these values and no others.
func set(header http.Header, fields ...front.Field) {
	for _, f := range fields {
		header[f.Name] = []string{f.Value}
	}
}
