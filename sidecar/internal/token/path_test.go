package token_test

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/sidecar/internal/token"
)

func TestParsePath(t *testing.T) {
	for s, want := range map[string]token.Path{
		"oid":                                    {"oid"},
		"realm_access.roles":                     {"realm_access", "roles"},
		`resource_access.my\.api.roles`:          {"resource_access", "my.api", "roles"},
		"cognito:groups":                         {"cognito:groups"},
		"https://acme.example/roles":             {"https://acme.example/roles"},
		"http://acme.example:8080/a.b":           {"http://acme.example:8080/a.b"},
		`https://acme\.example/app.roles`:        {"https://acme.example/app", "roles"},
		`https\://acme/app.roles`:                {"https://acme/app", "roles"},
		`resource_access.https://api\.x/y.roles`: {"resource_access", "https://api.x/y", "roles"},
		`a\\b`:                                   {`a\b`},
		"Rollen für alle":                        {"Rollen für alle"},
	} {
		if got, err := token.ParsePath(s); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", ".", "a.", ".a", "a..b", `a\`, `a\b`, `\`, `a.\`, strings.Repeat("a.", 10) + "a"} {
		if got, err := token.ParsePath(s); err == nil {
			t.Errorf("%q passes as %q", s, got)
		}
	}
}

// What is written reads as what it was: also names made to look like something else.
func TestPathsReadAsWritten(t *testing.T) {
	name := rapid.OneOf(
		rapid.StringN(1, 10, -1), rapid.StringMatching(`[a.\\:/]{1,8}`),
		rapid.StringMatching(`https?://[ab.:\\/]{0,6}`), rapid.SampledFrom([]string{"https:", "http:/", "//", "*"}),
	)
	rapid.Check(t, func(t *rapid.T) {
		p := token.Path(rapid.SliceOfN(name, 1, 4).Draw(t, "path"))
		if got, err := token.ParsePath(p.String()); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%q, written %s, reads as %q, %v", p, p, got, err)
		}
		r := token.Requirement{Claim: p, Value: rapid.StringMatching(`[a:\\.*]{1,5}`).Draw(t, "value")}
		if strings.Contains(r.String(), ",") {
			return // the flag's own separator, which no claim in use holds
		}
		trust, err := token.ParseTrust("issuer=https://id.example,require=" + r.String())
		if err != nil || !reflect.DeepEqual(trust.Require, []token.Requirement{r}) {
			t.Errorf("%q, written %s, reads as %q, %v", r, r, trust.Require, err)
		}
	})
}
