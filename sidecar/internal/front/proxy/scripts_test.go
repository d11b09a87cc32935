package proxy_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/fronttest"
)

// The proxy answers as all other fronts do, whatever is spoken on either side, and the
// application learns who asks from it alone.
func TestScripts(t *testing.T) {
	for _, c := range []struct{ client, application string }{
		{"http", "http"}, {"h2", "h2c"}, {"http", "https"}, {"unix", "unix"},
	} {
		t.Run(c.client+" to "+c.application, func(t *testing.T) {
			fronttest.Run(t, func(t *testing.T, check *front.Checker) fronttest.Do {
				a := newApplication(t, c.application, nil)
				e := newEntrance(t, c.client, a, check)
				return func(t *testing.T, r fronttest.Request) fronttest.Response {
					t.Helper()
					ask := e.request(t, r.Method, "", "", http.NoBody)
					ask.Host, ask.Header = r.Host, r.Header.Clone()
					path, query, _ := strings.Cut(r.Target, "?")
					decoded, err := url.PathUnescape(path)
					if err != nil {
						t.Fatal(err)
					}
					ask.URL.Path, ask.URL.RawPath, ask.URL.RawQuery = decoded, path, query
					answer := e.ask(t, ask)
					given := fronttest.Response{Status: answer.StatusCode, Header: answer.Header}
					reached := a.take()
					if len(reached) != 0 {
						given.Application = reached[0].header
					}
					if passed := answer.StatusCode == http.StatusOK; len(reached) > 1 || passed != (len(reached) == 1) {
						t.Errorf("%s %s: status %d, and the application was asked %d times", r.Method, r.Target, answer.StatusCode, len(reached))
					}
					for _, got := range reached {
						if got.method != r.Method || got.target != r.Target || !strings.EqualFold(got.host, r.Host) {
							t.Errorf("%s %s %s came as %s %s %s", r.Method, r.Host, r.Target, got.method, got.host, got.target)
						}
					}
					return given
				}
			})
		})
	}
}
