package introspect_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/fronttest"
)

// Of every token in the scripts the endpoint says what the checker decides: what passes is
// active, with what the application would learn of it; what is refused is not, and nothing
// is said of it; what cannot be judged is 503. Where there are rules, which ask for more
// than a token, that holds for what passes.
func TestScripts(t *testing.T) {
	compared := 0
	for name, script := range fronttest.Scripts(t) {
		t.Run(name, func(t *testing.T) {
			rules := fronttest.HasRules(script)
			got := fronttest.Play(t, script, func(t *testing.T, check *front.Checker) fronttest.Do {
				direct := fronttest.Direct(t, check)
				e := newEndpoint(t, check)
				return func(t *testing.T, r fronttest.Request) fronttest.Response {
					t.Helper()
					want := direct(t, r)
					token, ok := r.Token()
					known := want.Application.Get("X-Auth-Expires") != ""
					if !ok || rules && !known {
						return want
					}
					compared++
					answer := e.ask(t, form("token", token), basic(client, secret))
					compare(t, answer, want, known)
					return want
				}
			})
			if got != script {
				t.Errorf("the checker itself answers otherwise:\n%s", got)
			}
		})
	}
	if compared < 30 {
		t.Errorf("%d answers were compared", compared)
	}
}

func compare(t *testing.T, answer reply, want fronttest.Response, known bool) {
	t.Helper()
	if !slices.Equal(answer.header[front.FreshAsOf], want.Header[front.FreshAsOf]) {
		t.Errorf("fresh as of %q, want %q", answer.header[front.FreshAsOf], want.Header[front.FreshAsOf])
	}
	switch {
	case want.Status == http.StatusServiceUnavailable:
		if answer.status != want.Status || answer.header.Get("Retry-After") != want.Header.Get("Retry-After") || answer.header.Get("Retry-After") == "" {
			t.Errorf("%+v, want %d", answer, want.Status)
		}
	case !known: // refused, or let pass by a policy that is not enforced
		if answer.status != http.StatusOK || answer.body != `{"active":false}` {
			t.Errorf("%+v, want inactive", answer)
		}
	default:
		said := answer.claims(t)
		for header, claim := range map[string]string{
			"X-Auth-Subject": "sub", "X-Auth-Session": "sid", "X-Auth-Client": "client_id", "X-Auth-Scope": "scope", "X-Auth-Expires": "exp", "X-Auth-Roles": "roles",
		} {
			var text string
			switch v := said[claim].(type) {
			case string:
				text = v
			case float64:
				text = strconv.FormatInt(int64(v), 10)
			case []any:
				var names []string
				for _, n := range v {
					names = append(names, strings.ReplaceAll(strings.ReplaceAll(n.(string), "%", "%25"), ",", "%2C"))
				}
				text = strings.Join(names, ",")
			}
			if told := want.Application.Get(header); answer.status != http.StatusOK || said["active"] != true || text != told {
				t.Errorf("%s %q, want %q", claim, text, told)
			}
		}
	}
}
