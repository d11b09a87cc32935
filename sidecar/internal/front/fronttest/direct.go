package fronttest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/revocast/revocast/sidecar/internal/front"
)

// Direct asks the checker without any front before it: what all others must give.
func Direct(_ *testing.T, check *front.Checker) Do {
	return func(t *testing.T, r Request) Response {
		t.Helper()
		asked := front.Request{Method: r.Method, Host: r.Host, Target: r.Target}
		for name, values := range r.Header {
			if strings.EqualFold(name, "Authorization") {
				asked.Authorization = append(asked.Authorization, values...)
			}
		}
		answer := check.Check(t.Context(), asked)
		given := Response{Status: answer.Decision.Status(), Header: http.Header{}}
		for _, f := range append(answer.Refusal(), answer.Fresh()) {
			given.Header.Set(f.Name, f.Value)
		}
		if answer.Allowed() {
			given.Application = http.Header{}
			for _, f := range answer.Identity() {
				given.Application.Set(f.Name, f.Value)
			}
		}
		return given
	}
}

// HasRules reports whether the script's answers depend on more than the token: a front
// that is asked about tokens alone may then answer otherwise, but for what passes.
func HasRules(script string) bool { return strings.Contains("\n"+script, "\nroute ") }

// Token gives the one token that a request presents as it should.
func (r Request) Token() (token string, ok bool) {
	fields := r.Header["Authorization"]
	if len(fields) != 1 {
		return "", false
	}
	token, ok = strings.CutPrefix(fields[0], "Bearer ")
	return token, ok && token != "" && !strings.ContainsAny(token, " ,")
}
