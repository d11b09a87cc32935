package app_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/internal/oauth"
)

// badLogouts are wrong in one way each, by what the answer says of it; all are signed,
// where that is not what is wrong, by the key that the provider really has.
func badLogouts(t *testing.T, p, other *identityProvider) map[string]map[string]string {
	t.Helper()
	const sid = "not-to-be-logged-out"
	now := time.Now().Unix()
	good := p.token(sid, nil, nil)
	part := strings.Split(good, ".")
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&p.rs256.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, public)
		_, _ = h.Write([]byte(text))
		return h.Sum(nil)
	}
	head := func(m members) string { return p.token(sid, m, nil) }
	claims := func(m members) string { return p.token(sid, nil, m) }
	told := func(v any) string { return claims(members{"events": v}) }
	body := func(text string) string { return join(p.head().text(), text, p.sign) }
	header := func(text string) string { return join(text, p.claims(sid).text(), p.sign) }
	inside := func(more string) string { return strings.TrimSuffix(p.claims(sid).text(), "}") + more + "}" }
	signedBy := func(m members, sign func(string) []byte) string {
		return join(p.head().with(m).text(), p.claims(sid).text(), sign)
	}
	return map[string]map[string]string{
		"not a signed JWT of the strict form": {
			"no algorithm":                   signedBy(members{"alg": "none"}, unsigned),
			"alg a list":                     head(members{"alg": []string{"RS256"}}),
			"no signature":                   part[0] + "." + part[1] + ".",
			"a short signature":              good[:len(good)-4],
			"crit":                           head(members{"crit": []string{"exp"}}),
			"b64":                            head(members{"b64": false}),
			"a key in the header":            head(members{"jwk": members{"kty": "RSA"}}),
			"an address of keys":             head(members{"jku": p.URL + "/keys"}),
			"a certificate":                  head(members{"x5c": []string{"AAAA"}}),
			"an address of one":              head(members{"x5u": p.URL + "/keys"}),
			"not a token":                    "not a token",
			"two parts":                      part[0] + "." + part[1],
			"four parts":                     good + ".AAAA",
			"encrypted":                      good + ".AAAA.AAAA",
			"padded":                         part[0] + "." + part[1] + "." + part[2] + "==",
			"a line break":                   part[0] + "." + part[1] + ".\n" + part[2],
			"a space before it":              " " + good,
			"the other alphabet":             part[0] + "." + part[1] + "." + strings.Repeat("+/", 128),
			"too long":                       claims(members{"more": strings.Repeat("x", 8<<10)}),
			"a header twice":                 header(strings.Replace(p.head().text(), "{", `{"alg":"RS256",`, 1)),
			"a header that is a list":        header("[]"),
			"claims that are a list":         body("[" + p.claims(sid).text() + "]"),
			"claims that are null":           body("null"),
			"two objects":                    body(p.claims(sid).text() + "{}"),
			"not UTF-8":                      body(inside(",\"more\":\"\xff\"")),
			"half a surrogate":               body(inside(`,"more":"\ud800"`)),
			"iss twice":                      body(inside(`,"iss":"` + p.URL + `"`)),
			"sub twice":                      body(strings.Replace(inside(`,"sub":"a","\u0073ub":"b"`), `"sid"`, `"was"`, 1)),
			"the event twice":                body(strings.Replace(p.claims(sid).text(), `"`+logoutEvent+`":{}`, `"`+logoutEvent+`":{},"`+logoutEvent+`":{}`, 1)),
			"a member twice within an event": body(strings.Replace(p.claims(sid).text(), `"`+logoutEvent+`":{}`, `"`+logoutEvent+`":{"a":1,"a":1}`, 1)),
		},
		"alg is not one": {
			"no algorithm, signed":          head(members{"alg": "none"}),
			"a MAC with the public key":     signedBy(members{"alg": "HS256"}, mac),
			"an algorithm in small letters": head(members{"alg": "rs256"}),
			"an algorithm not declared":     signedBy(members{"alg": "ES256", "kid": "ec"}, signES256(p.es256)),
			"alg missing":                   head(members{"alg": nil}),
		},
		"signature does not verify": {
			"the key of another algorithm":   head(members{"kid": "ec"}),
			"a stranger's signature":         signedBy(nil, signRS256(stranger)),
			"another provider's signature":   other.token(sid, members{"kid": p.kid}, members{"iss": p.URL}),
			"other claims than were signed":  part[0] + "." + encode(p.claims("another").text()) + "." + part[2],
			"another header than was signed": encode(p.head().with(members{"typ": "JWT"}).text()) + "." + part[1] + "." + part[2],
		},
		"publishes no such key": {
			"another provider's key": signedBy(members{"kid": other.kid}, other.sign),
			"kid unknown":            head(members{"kid": "unknown"}),
			"kid a path":             head(members{"kid": "../../etc/passwd"}),
			"another provider's iss": claims(members{"iss": other.URL}),
		},
		"The key id is missing": {
			"kid missing":           head(members{"kid": nil}),
			"kid empty":             head(members{"kid": ""}),
			"kid with a line break": head(members{"kid": "a\nb"}),
		},
		"typ is not that of": {
			"an access token's type":   head(members{"typ": "at+jwt"}),
			"an event's type":          head(members{"typ": "secevent+jwt"}),
			"a type with another tree": head(members{"typ": "text/logout+jwt"}),
			"typ null":                 header(strings.Replace(p.head().text(), `"logout+jwt"`, "null", 1)),
			"typ a list":               head(members{"typ": []string{"logout+jwt"}}),
		},
		"of no provider that is declared": {
			"iss missing":      claims(members{"iss": nil}),
			"iss nobody's":     claims(members{"iss": "https://nobody.example"}),
			"iss with a slash": claims(members{"iss": p.URL + "/"}),
			"iss a list":       claims(members{"iss": []string{p.URL}}),
		},
		"aud is missing or not": {
			"aud missing":         claims(members{"aud": nil}),
			"aud empty":           claims(members{"aud": []string{}}),
			"aud a number":        claims(members{"aud": 7}),
			"aud a list of lists": claims(members{"aud": [][]string{{relyingParty}}}),
		},
		"aud names somebody": {
			"aud another's":         claims(members{"aud": "somebody-else"}),
			"aud another's as well": claims(members{"aud": []string{relyingParty, "somebody-else"}}),
			"aud in capitals":       claims(members{"aud": strings.ToUpper(relyingParty)}),
		},
		"iat is missing or not": {
			"iat missing":  claims(members{"iat": nil}),
			"iat a text":   claims(members{"iat": "1700000000"}),
			"iat negative": claims(members{"iat": -1}),
		},
		"iat lies in the future": {
			"iat in the future": claims(members{"iat": now + 120, "exp": now + 240}),
		},
		"exp is missing or not": {
			"exp missing": claims(members{"exp": nil}),
			"exp a text":  claims(members{"exp": "32503680000"}),
			"exp huge":    body(strings.Replace(p.claims(sid).text(), `"exp":`, `"exp":1e999,"was":`, 1)),
		},
		"exp has passed": {
			"exp past": claims(members{"iat": now - 600, "exp": now - 300}),
		},
		"exp is not within": {
			"exp before iat":  claims(members{"iat": now + 30, "exp": now + 20}),
			"exp two days on": claims(members{"exp": now + 2*86400}),
		},
		"neither sub nor sid": {
			"neither sub nor sid": claims(members{"sid": nil}),
		},
		"sid is not plain": {
			"sid empty":             claims(members{"sid": ""}),
			"sid a number":          claims(members{"sid": 7}),
			"sid a number, and sub": claims(members{"sid": 7, "sub": "u"}),
			"sid null, and sub":     body(strings.Replace(p.claims(sid).with(members{"sub": "u"}).text(), `"sid":"`+sid+`"`, `"sid":null`, 1)),
			"sid with a zero byte":  claims(members{"sid": "a\x00b"}),
			"sid with spaces":       claims(members{"sid": " a "}),
			"sid too long":          claims(members{"sid": strings.Repeat("x", 513)}),
		},
		"sub is not plain": {
			"sub empty, and sid": claims(members{"sub": ""}),
		},
		"events is not an object": {
			"events missing":         told(nil),
			"events a text":          told(logoutEvent),
			"events a list":          told([]string{logoutEvent}),
			"events empty":           told(members{}),
			"another event":          told(members{"https://schemas.openid.net/secevent/caep/event-type/session-revoked": members{}}),
			"the event over https":   told(members{strings.Replace(logoutEvent, "http:", "https:", 1): members{}}),
			"the event with a slash": told(members{logoutEvent + "/": members{}}),
			"the event in capitals":  told(members{strings.ToUpper(logoutEvent): members{}}),
			"the event a text":       told(members{logoutEvent: ""}),
			"the event a list":       told(members{logoutEvent: []string{}}),
			"the event true":         told(members{logoutEvent: true}),
			"the event null":         body(strings.Replace(p.claims(sid).text(), `"`+logoutEvent+`":{}`, `"`+logoutEvent+`":null`, 1)),
		},
		"nonce is there": {
			"a nonce":        claims(members{"nonce": "n"}),
			"an empty nonce": claims(members{"nonce": ""}),
			"nonce null":     body(inside(`,"nonce":null`)),
		},
		"jti is missing or not": {
			"jti missing":  claims(members{"jti": nil}),
			"jti empty":    claims(members{"jti": ""}),
			"jti a number": claims(members{"jti": 7}),
			"jti too long": claims(members{"jti": strings.Repeat("x", 513)}),
		},
	}
}

// Every rule of OpenID Connect Back-Channel Logout 1.0 sections 2.4 to 2.6: what breaks
// one is 400, and logs nobody out.
func TestBadLogoutTokens(t *testing.T) {
	t.Parallel()
	p, other := newIdentityProvider(t), newIdentityProvider(t)
	i := start(t, configured(t, t.TempDir(), "--mode", "control", "--provider", p.rule(""), "--provider", other.rule("")))
	for why, tokens := range badLogouts(t, p, other) {
		for name, token := range tokens {
			got := i.logOut(t, token)
			isOAuthError(t, name, got, 400, oauth.InvalidRequest)
			leakless(t, name, got, token, "not-to-be-logged-out")
			if !strings.Contains(got.body, why) {
				t.Errorf("%s: %s, want %q", name, got.body, why)
			}
		}
	}
	good := form("logout_token", p.token("s", nil, nil))
	for name, r := range map[string]request{
		"no token":             {contentType: formType, body: form("token", "x")},
		"an empty one":         {contentType: formType, body: "logout_token="},
		"two":                  {contentType: formType, body: good + "&" + good},
		"no content type":      {body: good},
		"JSON":                 {contentType: jsonType, body: object("logout_token", p.token("s", nil, nil))},
		"in the query":         {contentType: formType, url: "?" + good},
		"in body and query":    {contentType: formType, url: "?x=y", body: good},
		"too much of it":       {contentType: formType, body: good + "&x=" + strings.Repeat("x", 64<<10)},
		"badly percent-coded":  {contentType: formType, body: good + "&x=%zz"},
		"not UTF-8":            {contentType: formType, body: good + "&x=%ff"},
		"in another character": {contentType: formType + "; charset=utf-16", body: good},
	} {
		r.method, r.url = "POST", i.public+logoutPath+r.url
		isOAuthError(t, name, must(t, r), 400, oauth.InvalidRequest)
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "PATCH"} {
		got := must(t, request{method: method, url: i.public + logoutPath, contentType: formType, body: good})
		isProblem(t, method, got, 405)
		if got.header.Get("Allow") != http.MethodPost {
			t.Errorf("%s: Allow %q", method, got.header.Get("Allow"))
		}
	}
	if list := i.listRevocations(t, "").Revocations; len(list) != 0 {
		t.Errorf("revoked: %+v", list)
	}
	if n := i.metric(t, `revocast_issuer_backchannel_logouts_total{outcome="refused",provider="none"}`); n == 0 {
		t.Error("nothing was counted")
	}
	if strings.Contains(i.log.String(), "not-to-be-logged-out") {
		t.Error("the log says what a refused token said")
	}
}

// What the specification leaves free is free.
func TestGoodLogoutTokens(t *testing.T) {
	t.Parallel()
	p, typed := newIdentityProvider(t), newIdentityProvider(t)
	i := start(t, configured(t, t.TempDir(), "--mode", "control",
		"--provider", p.rule(",alg=RS256,alg=ES256"), "--provider", typed.rule(",audience=another,typ=logout+jwt,jwks="+typed.URL+"/keys")))
	now := time.Now().Unix()
	for name, token := range map[string]string{
		"without a type":          p.token("a1", members{"typ": nil}, nil),
		"of the type JWT":         p.token("a2", members{"typ": "JWT"}, nil),
		"with the whole type":     p.token("a3", members{"typ": "application/logout+jwt"}, nil),
		"with a type in capitals": p.token("a4", members{"typ": "LOGOUT+JWT"}, nil),
		"typed where it must be":  typed.token("a5", nil, nil),
		"for one of two names":    typed.token("a6", nil, members{"aud": "another"}),
		"for both":                typed.token("a7", nil, members{"aud": []string{"another", relyingParty}}),
		"aud a list of one":       p.token("a8", nil, members{"aud": []string{relyingParty}}),
		"other events as well":    p.token("a9", nil, members{"events": members{logoutEvent: members{"x": 1}, "revoke_offline_access": true}}),
		"claims nobody knows":     p.token("a10", nil, members{"typ": "Logout", "trace_id": []int{1}}),
		"times with fractions":    p.token("a11", nil, members{"iat": float64(now) + 0.5, "exp": float64(now) + 90.25}),
		"just over":               p.token("a12", nil, members{"iat": now - 60, "exp": now - 5}),
		"a clock that is ahead":   p.token("a13", nil, members{"iat": now + 30, "exp": now + 150}),
		"thumbprints":             p.token("a14", members{"x5t": "AAAA", "x5t#S256": "AAAA", "cty": "JWT"}, nil),
		"by the other algorithm":  join(p.head().with(members{"alg": "ES256", "kid": "ec"}).text(), p.claims("a15").text(), signES256(p.es256)),
	} {
		loggedOut(t, name, i.logOut(t, token))
	}
	for name, token := range map[string]string{
		"without a type where it must be": typed.token("b1", members{"typ": nil}, nil),
		"of the type JWT, there":          typed.token("b2", members{"typ": "JWT"}, nil),
	} {
		isOAuthError(t, name, i.logOut(t, token), 400, oauth.InvalidRequest)
	}
	loggedOut(t, "with other fields", must(t, request{
		method: "POST", url: i.public + logoutPath, contentType: formType + ";charset=UTF-8", body: form("client_id", "x", "logout_token", p.token("a16", nil, nil), "scope", ""),
	}))
	if list := i.listRevocations(t, "kind=session").Revocations; len(list) != 16 {
		t.Errorf("%d sessions are revoked", len(list))
	}
	if text := base64.RawURLEncoding.EncodeToString([]byte("a16")); strings.Contains(i.log.String(), text) {
		t.Error("the log holds a token")
	}
}
