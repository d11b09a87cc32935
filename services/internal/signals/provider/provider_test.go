package provider_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/revocast/revocast/services/internal/signals/provider"
)

func TestParse(t *testing.T) {
	p, err := provider.Parse("issuer=https://id.example/realms/a,audience=one,audience=two,jwks=https://id.example/keys?v=2,alg=ES256,alg=RS256,typ=logout+jwt")
	if err != nil || p.Issuer != "https://id.example/realms/a" || !slices.Equal(p.Audiences, []string{"one", "two"}) ||
		p.JWKS != "https://id.example/keys?v=2" || !slices.Equal(p.Algorithms, []string{"ES256", "RS256"}) || !p.Typed {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = provider.Parse("issuer=http://[::1]:8080,audience=a,jwks=/etc/keys.json")
	if err != nil || !slices.Equal(p.Algorithms, []string{provider.RS256}) || p.Typed || p.JWKS != "/etc/keys.json" {
		t.Errorf("%+v, %v", p, err)
	}
	for rule, says := range map[string]string{
		"":                                    "want name=value",
		"audience=a":                          "issuer: missing",
		"issuer=https://id.example":           "audience: missing",
		"issuer=,audience=a":                  "want name=value",
		"issuer=id.example,audience=a":        "absolute URL",
		"issuer=http://id.example,audience=a": "want https",
		"issuer=https://id.example?x=y,audience=a":                   "a URL with a query",
		"issuer=https://id.example#x,audience=a":                     "without user and fragment",
		"issuer=https://u:secret@id.example,audience=a":              "without user and fragment",
		"issuer=https://" + strings.Repeat("x", 250) + ",audience=a": "longer than",
		"issuer=https://a,issuer=https://b,audience=a":               "issuer: given twice",
		"issuer=https://a,audience=a,jwks=http://b/keys":             "jwks: want https",
		"issuer=https://a,audience=a,alg=none":                       `alg "none"`,
		"issuer=https://a,audience=a,alg=HS256":                      `alg "HS256"`,
		"issuer=https://a,audience=a,alg=rs256":                      `alg "rs256"`,
		"issuer=https://a,audience=a,typ=JWT":                        `typ "JWT"`,
		"issuer=https://a,audience=a,require=x:y":                    "require: no such setting",
	} {
		if _, err := provider.Parse(rule); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", rule, err, says)
		}
	}
}
