package token

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// Whatever the filter accepts, golang-jwt accepts too, and both read the same
// claims: no other reader of the token can be shown something else.
func FuzzParse(f *testing.F) {
	part := base64.RawURLEncoding.EncodeToString
	for _, header := range []string{
		`{"alg":"ES256","typ":"at+jwt","kid":"1"}`, `{"alg":"none","typ":"at+jwt","kid":"1"}`, `{"alg":"RS256","typ":"JWT","kid":"../x","x":[{}]}`,
		`{"alg":"EdDSA","typ":"at+jwt","kid":"1","crit":["x"]}`, `{"alg":"ES256","kid":"1"}`, `{"alg":"ES256","typ":7,"kid":"1"}`,
	} {
		for _, payload := range []string{
			`{"iss":"https://id.example","sub":"a","aud":["b"],"exp":1795310000,"iat":1.5e9}`, `{"sub":"a","sub":"b"}`, `{"a":"\ud83d\ude00\u0041"}`,
			`{"exp":1e999}`, "{\"a\":\"\xff\"}", `[]`,
		} {
			f.Add(part([]byte(header)) + "." + part([]byte(payload)) + "." + part([]byte("signature")))
		}
	}
	f.Add("..")
	f.Add("a.b.c.d")
	lenient := jwt.NewParser(jwt.WithStrictDecoding())
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := parse(raw, defaultMaxBytes)
		if err != nil {
			return
		}
		claims := jwt.MapClaims{}
		token, parts, err := lenient.ParseUnverified(raw, claims)
		if err != nil {
			t.Fatalf("golang-jwt refuses %q: %v", raw, err)
		}
		typ, hasTyp := token.Header["typ"]
		if token.Method.Alg() != p.algorithm || hasTyp != (p.typ != "") || hasTyp && typ != p.typ || token.Header["kid"] != p.key {
			t.Errorf("header read as %+v, by golang-jwt as %v", p, token.Header)
		}
		if strings.Join(parts[:2], ".") != p.signed || string(token.Signature) != string(p.signature) {
			t.Errorf("signed part or signature read otherwise")
		}
		for name, want := range claims {
			v, ok := p.payload.Get(name)
			if !ok {
				t.Fatalf("claim %q is not found", name)
			}
			if want, ok := want.(string); ok {
				if got, _ := v.Text(); got != want {
					t.Errorf("claim %q read as %q, by golang-jwt as %q", name, got, want)
				}
			}
		}
		for _, name := range []string{"exp", "nbf", "iat"} {
			v, _ := p.payload.Get(name)
			got, _, ok := v.Seconds()
			if !ok {
				continue
			}
			if want, _ := claims[name].(float64); float64(got) > want || float64(got) <= want-1 {
				t.Errorf("%s read as %d, by golang-jwt as %f", name, got, want)
			}
		}
	})
}
