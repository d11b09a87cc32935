package forwardauth_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/forwardauth"
	"github.com/revocast/revocast/sidecar/internal/front/fronttest"
)

// The front answers as all others do, whichever way the proxy tells the request. The
// proxy here asks as those in deploy/proxies do: with all headers of the client's,
// its own about the request in place of the client's, and what the answer says about
// who asks in place of all that the client said under those names.
func TestScripts(t *testing.T) {
	for family, names := range map[forwardauth.Family][3]string{
		forwardauth.Forwarded: {"X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-Uri"},
		forwardauth.Original:  {"X-Original-Method", "X-Original-Host", "X-Original-Uri"},
	} {
		t.Run(string(family), func(t *testing.T) {
			fronttest.Run(t, func(t *testing.T, check *front.Checker) fronttest.Do {
				h, err := forwardauth.New(family, check)
				if err != nil {
					t.Fatal(err)
				}
				server := httptest.NewServer(h)
				t.Cleanup(server.Close)
				return func(t *testing.T, r fronttest.Request) fronttest.Response {
					t.Helper()
					ask, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/auth", http.NoBody)
					if err != nil {
						t.Fatal(err)
					}
					ask.Header = r.Header.Clone()
					ask.Header.Set(names[0], r.Method)
					ask.Header.Set(names[1], r.Host)
					ask.Header.Set(names[2], r.Target)
					answer, err := server.Client().Do(ask)
					if err != nil {
						t.Fatal(err)
					}
					if err := answer.Body.Close(); err != nil {
						t.Fatal(err)
					}
					given := fronttest.Response{Status: answer.StatusCode, Header: answer.Header}
					if answer.StatusCode == http.StatusOK {
						given.Application = answer.Header
					}
					return given
				}
			})
		})
	}
}

// Where rules tell requests apart, a proxy that does not say what was asked for, or
// says it twice, lets nobody in.
func TestProxyThatDoesNotTell(t *testing.T) {
	const script = `
route match=/public/ anonymous
route match=admin.example/ roles=admin
GET api.example/public/
=> 400
  Www-Authenticate: Bearer realm="orders", error="invalid_request", error_description="The request cannot be read in one way only"`
	for name, header := range map[string]http.Header{
		"nothing":       {},
		"no path":       {"X-Forwarded-Method": {"GET"}, "X-Forwarded-Host": {"api.example"}},
		"no method":     {"X-Forwarded-Host": {"api.example"}, "X-Forwarded-Uri": {"/public/"}},
		"path twice":    {"X-Forwarded-Method": {"GET"}, "X-Forwarded-Host": {"api.example"}, "X-Forwarded-Uri": {"/public/", "/secret"}},
		"no host":       {"X-Forwarded-Method": {"GET"}, "X-Forwarded-Uri": {"/public/"}},
		"host twice":    {"X-Forwarded-Method": {"GET"}, "X-Forwarded-Host": {"api.example", "admin.example"}, "X-Forwarded-Uri": {"/public/"}},
		"hosts joined":  {"X-Forwarded-Method": {"GET"}, "X-Forwarded-Host": {"api.example, admin.example"}, "X-Forwarded-Uri": {"/public/"}},
		"paths joined":  {"X-Forwarded-Method": {"GET"}, "X-Forwarded-Host": {"api.example"}, "X-Forwarded-Uri": {"/public/, /secret"}},
		"method twice":  {"X-Forwarded-Method": {"GET", "POST"}, "X-Forwarded-Host": {"api.example"}, "X-Forwarded-Uri": {"/public/"}},
		"joined method": {"X-Forwarded-Method": {"GET, POST"}, "X-Forwarded-Host": {"api.example"}, "X-Forwarded-Uri": {"/public/"}},
		"look-alikes":   {"X_forwarded_method": {"GET"}, "X_forwarded_host": {"api.example"}, "X_forwarded_uri": {"/public/"}},
		"other family":  {"X-Original-Method": {"GET"}, "X-Original-Host": {"api.example"}, "X-Original-Uri": {"/public/"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := fronttest.Play(t, script, func(t *testing.T, check *front.Checker) fronttest.Do {
				h, err := forwardauth.New(forwardauth.Forwarded, check)
				if err != nil {
					t.Fatal(err)
				}
				return func(t *testing.T, _ fronttest.Request) fronttest.Response {
					w := httptest.NewRecorder()
					ask := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/auth", http.NoBody)
					ask.Header = header
					h.ServeHTTP(w, ask)
					return fronttest.Response{Status: w.Code, Header: w.Header()}
				}
			})
			if got != script {
				t.Errorf("got %s", got)
			}
		})
	}
}
