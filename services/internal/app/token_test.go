package app_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// protected are the endpoints that ask for an access token.
var protected = []struct{ method, path string }{
	{"GET", "/v1/session"},
	{"GET", "/v1/sessions"},
	{"DELETE", "/v1/session"},
	{"DELETE", "/v1/sessions?which=others"},
	{"DELETE", "/v1/sessions?which=all"},
	{"DELETE", "/v1/sessions/01935f6a-0c00-7000-8000-000000000001"},
	{"PUT", "/v1/password"},
}

// ask sends a request that would succeed with a good token.
func (i *issuer) ask(t *testing.T, method, path, token string) reply {
	t.Helper()
	r := request{method: method, url: i.public + path, bearer: token}
	if method == "PUT" {
		r.contentType, r.body = jsonType, object("current_password", alicePassword, "new_password", "not-to-be-set-7")
	}
	return must(t, r)
}

// refuses fails unless the answer is the one that every bad token gets.
func refuses(t *testing.T, where string, got reply, secrets ...string) {
	t.Helper()
	const challenge = `Bearer realm="revocast", error="invalid_token", error_description="`
	h := got.header
	if got.status != 401 || !strings.HasPrefix(h.Get("WWW-Authenticate"), challenge) ||
		h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: got %d %v %s", where, got.status, h, got.body)
	}
	leakless(t, where, got, secrets...)
}

// leakless fails if an answer shows what only the issuer should know.
func leakless(t *testing.T, where string, got reply, secrets ...string) {
	t.Helper()
	h := fmt.Sprint(got.header) + got.body
	for _, inner := range append(secrets, "nats", "NATS", "journal", "revocast.test", "goroutine", ".go:", "panic", "argon2", "kid") {
		if inner != "" && strings.Contains(h, inner) {
			t.Errorf("%s: the answer shows %q: %s", where, inner, h)
		}
	}
}

// Must-show 7: what is no token of ours is refused everywhere alike, costs the
// journal nothing and changes nothing.
func (p pair) badTokensAreRefused(t *testing.T) {
	mine := p.a.login(t)
	f := newForger(t, p.a, mine.Access)
	for name, token := range map[string]string{"re-signed": f.es(nil, nil), "RS256": f.rs(nil, nil)} {
		p.b.call(t, "GET", "/v1/session", token).want(t, 200) // so the forger works
		if token == mine.Access {
			t.Fatalf("%s: not made by the forger", name)
		}
	}
	before := p.journal(t)
	for name, token := range badTokens(t, f, mine) {
		for _, e := range protected {
			got := p.b.ask(t, e.method, e.path, token)
			refuses(t, name+" at "+e.method+" "+e.path, got, token)
		}
		refuses(t, name+" at the admin listener", must(t, request{method: "GET", url: p.b.admin + "/admin/v1/subjects/x/sessions", bearer: token}), token)
	}
	if n := p.grown(t, before); n != 0 {
		t.Errorf("bad tokens made the journal grow by %d", n)
	}
	p.b.call(t, "GET", "/v1/session", mine.Access).want(t, 200)
	p.b.refresh(t, mine.Refresh, mobile).want(t, 200)
}

func badTokens(t *testing.T, f forger, mine tokens) map[string]string {
	t.Helper()
	now := time.Now().Unix()
	genuine := strings.Split(mine.Access, ".")
	head, claims := f.head.text(), f.claims.text()
	stranger := strangersKey(t)
	own := signES256(f.es256)
	bad := map[string]string{
		"garbage":                 "garbage",
		"two parts":               genuine[0] + "." + genuine[1],
		"four parts":              mine.Access + ".x",
		"no parts":                "..",
		"empty signature":         genuine[0] + "." + genuine[1] + ".",
		"padding":                 mine.Access + "=",
		"signature of another":    genuine[0] + "." + encode(claims+" ") + "." + genuine[2],
		"oversize":                f.es(nil, members{"x": strings.Repeat("x", 8<<10)}),
		"a refresh token":         mine.Refresh,
		"standard base64":         strings.NewReplacer("-", "+", "_", "/").Replace(mine.Access) + "+/",
		"header is a list":        join("["+head+"]", claims, own),
		"header is null":          join("null", claims, own),
		"claims are a list":       join(head, "["+claims+"]", own),
		"claims are null":         join(head, "null", own),
		"claims are empty":        join(head, "{}", own),
		"claims are not JSON":     join(head, claims[1:], own),
		"header, alg twice":       join(`{"alg":"none",`+head[1:], claims, own),
		"claims, sub twice":       join(head, `{"sub":"root",`+claims[1:], own),
		"claims, sub escaped":     join(head, `{"\u0073ub":"root",`+claims[1:], own),
		"text behind the claims":  join(head, claims+"{}", own),
		"claims not UTF-8":        join(head, strings.Replace(claims, "mobile", "mob\xffile", 1), own),
		"a stranger's key":        join(head, claims, signES256(stranger)),
		"a stranger's jwk":        join(f.head.with(members{"jwk": members{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}).text(), claims, signES256(stranger)),
		"ASN.1 signature":         mine.Access[:strings.LastIndexByte(mine.Access, '.')+1] + encode("\x30\x44"+strings.Repeat("\x02\x20", 17)),
		"signature of zeros":      genuine[0] + "." + genuine[1] + "." + encode(strings.Repeat("\x00", 64)),
		"ES256 header, RSA key":   f.rs(members{"alg": "ES256"}, nil),
		"RS256 header, ES256 key": f.es(members{"alg": "RS256"}, nil),
		"RSA, kid of the other":   f.rs(members{"kid": f.head["kid"]}, nil),
		"kid is a path":           f.es(members{"kid": "../../../../dev/null"}, nil),
		"kid is SQL":              f.es(members{"kid": "' OR 1=1 --"}, nil),
		"kid is a subject":        f.es(members{"kid": "*.>"}, nil),
		"no iat":                  f.es(nil, members{"iat": nil}),
		"no exp":                  f.es(nil, members{"exp": nil}),
		"no aud":                  f.es(nil, members{"aud": nil}),
		"no iss":                  f.es(nil, members{"iss": nil}),
		"expired":                 f.es(nil, members{"exp": now - 1, "iat": now - 300}),
		"expires now":             f.es(nil, members{"exp": now}),
		"exp in 1970":             f.es(nil, members{"exp": 1, "iat": 0}),
		"exp is negative":         f.es(nil, members{"exp": -1}),
		"exp is a string":         f.es(nil, members{"exp": fmt.Sprint(now + 300)}),
		"exp overflows":           f.es(nil, members{"exp": json.Number("1e400")}),
		"from the future":         f.es(nil, members{"iat": now + 60, "exp": now + 300}),
		"aud is an object":        f.es(nil, members{"aud": members{audience: true}}),
		"aud in capitals":         f.es(nil, members{"aud": strings.ToUpper(audience)}),
		"iss, a slash more":       f.es(nil, members{"iss": fmt.Sprint(f.claims["iss"]) + "/"}),
		"iss is a list":           f.es(nil, members{"iss": []any{f.claims["iss"]}}),
		"sid is a wildcard":       f.es(nil, members{"sid": "*"}),
		"sid is everything":       f.es(nil, members{"sid": ">"}),
		"jti is a wildcard":       f.es(nil, members{"jti": "*"}),
		"ssq is no position":      f.es(nil, members{"ssq": "0:-1"}),
		"bound to a key":          f.es(nil, members{"cnf": members{"jkt": "x"}}),
	}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", ""} {
		bad["alg "+alg] = join(f.head.with(members{"alg": alg}).text(), claims, unsigned)
		bad["alg "+alg+", without kid"] = join(f.head.with(members{"alg": alg, "kid": nil}).text(), claims, unsigned)
		bad["alg "+alg+", signed"] = f.es(members{"alg": alg}, nil)
	}
	for _, alg := range []string{"es256", "ES384", "RS512", "PS256", "EdDSA", "HS256", "ES256K", "A256GCM"} {
		bad["alg "+alg] = f.es(members{"alg": alg}, nil)
	}
	for _, typ := range []any{nil, "", "JWT", "jwt", "AT+JWT", "application/at+jwt2", "at+jwt ", "logout+jwt", "secevent+jwt", "dpop+jwt", "JOSE", 7} {
		bad[fmt.Sprintf("typ %v", typ)] = f.es(members{"typ": typ}, nil)
	}
	for _, kid := range []any{nil, "", "x", 1, []any{f.head["kid"]}, fmt.Sprint(f.head["kid"]) + "\x00", strings.Repeat("k", 4<<10)} {
		bad[fmt.Sprintf("kid %.20v", kid)] = f.es(members{"kid": kid}, nil)
	}
	for _, extra := range []string{"crit", "b64", "jku", "x5u", "x5c", "jwk", "zip", "cty", "p2c"} {
		bad["header with "+extra] = f.es(members{extra: []any{"exp"}}, nil)
	}
	for _, claim := range []string{"sub", "client_id", "jti"} {
		bad["no "+claim] = f.es(nil, members{claim: nil})
		bad["empty "+claim] = f.es(nil, members{claim: ""})
		bad["a number for "+claim] = f.es(nil, members{claim: 7})
	}
	for _, aud := range []any{"https://else.example", []any{}, []any{""}, "", []any{"https://else.example", ""}} {
		bad[fmt.Sprintf("aud %v", aud)] = f.es(nil, members{"aud": aud})
	}
	for _, iss := range []any{"https://evil.example", "", strings.ToUpper(fmt.Sprint(f.claims["iss"]))} {
		bad[fmt.Sprintf("iss %v", iss)] = f.es(nil, members{"iss": iss})
	}
	maps.Copy(bad, macTokens(t, f))
	return bad
}

// macTokens take a public key for a MAC secret (RFC 8725 section 2.1).
func macTokens(t *testing.T, f forger) map[string]string {
	t.Helper()
	bad := map[string]string{"HS256, no secret": f.hs(nil, nil), "HS256, the key set": f.hs([]byte(f.jwks), nil)}
	for form, secret := range publicForms(t, f.es256.Public()) {
		bad["HS256, ES256 key as "+form] = f.hs(secret, nil)
	}
	for form, secret := range publicForms(t, f.rs256.Public()) {
		bad["HS256, RS256 key as "+form] = f.hs(secret, members{"kid": f.rsaKeyID})
		bad["HS256, RS256 key as "+form+", no kid"] = f.hs(secret, members{"kid": nil})
	}
	set := decode[struct{ Keys []json.RawMessage }](t, reply{body: f.jwks})
	for n, key := range set.Keys {
		bad[fmt.Sprintf("HS256, JWK %d", n)] = f.hs(key, nil)
		bad[fmt.Sprintf("HS256, JWK %d, kid of the other", n)] = f.hs(key, members{"kid": f.rsaKeyID})
	}
	return bad
}
