package token_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/jwks"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

func TestClaims(t *testing.T) {
	i := tokentest.NewIssuer(t, "")
	m, err := token.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	var seen []denylist.Token
	v, err := token.New(config(), []token.Issuer{{Trust: i.Trust(), Keys: i.Keys(t)}},
		prepared(func(d *denylist.Token) { seen = append(seen, *d) }), m)
	if err != nil {
		t.Fatal(err)
	}
	raw := i.ES256.Sign(t, i.ES256.Header(), tokentest.With(i.Claims(now), object{"nbf": now.Unix(), "aud": []string{"other", tokentest.Audience}, "sub": "Äl\U0001F600ice"}))
	got, err := v.Verify(t.Context(), raw, now)
	if err != nil {
		t.Fatal(err)
	}
	want := token.Claims{
		Issuer: i.ID(), Subject: "Äl\U0001F600ice", Client: "demo", Session: "sid-1", ID: "jti-1", Key: "ES256",
		Audience: token.NewTexts("other", tokentest.Audience), Scope: "read write", Roles: token.NewTexts("admin", "user"),
		Expires: now.Add(5 * time.Minute), NotBefore: now, IssuedAt: now, AuthTime: now.Add(-time.Minute), ACR: "1", AMR: token.NewTexts("pwd"),
		SessionAt: events.Position{Sequence: 41}, MintedAt: events.Position{Sequence: 42},
	}
	if !reflect.DeepEqual(got.Claims, want) {
		t.Errorf("claims:\n got %+v\nwant %+v", got.Claims, want)
	}
	if _, err := v.Verify(t.Context(), raw, now); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 {
		t.Fatalf("prepared %d times, want once", len(seen))
	}
	d := seen[0]
	if d.Issuer != i.ID() || d.ID != "jti-1" || d.Session != "sid-1" || d.Subject != want.Subject || d.Client != "demo" || d.Key != "ES256" ||
		d.SessionAt != want.SessionAt || d.MintedAt != want.MintedAt || d.IssuedAt != now.Unix() || d.AuthTime != now.Unix()-60 {
		t.Errorf("denylist token: %+v", d)
	}
}

// What looks odd and is right.
func TestAccepted(t *testing.T) {
	i := tokentest.NewIssuer(t, "")
	v := newVerifier(t, config(), token.Issuer{Trust: i.Trust(), Keys: i.Keys(t)})
	es, claims := i.ES256, i.Claims(now)
	iat := fmt.Sprintf(`"iat":%d`, now.Unix())
	payload := tokentest.Text(t, claims)
	for name, raw := range map[string]string{
		"typ in full":          es.Sign(t, tokentest.With(es.Header(), object{"typ": "application/at+jwt"}), claims),
		"typ in another case":  es.Sign(t, tokentest.With(es.Header(), object{"typ": "AT+JWT"}), claims),
		"unknown parameter":    es.Sign(t, tokentest.With(es.Header(), object{"x5t": "AA", "cty": "x"}), claims),
		"unknown claim":        es.Sign(t, es.Header(), tokentest.With(claims, object{"address": object{"formatted": "a\nb"}, "n": 1.5e10})),
		"no session":           es.Sign(t, es.Header(), tokentest.With(claims, object{"sid": nil, "ssq": nil, "scope": nil, "roles": nil})),
		"one role as text":     es.Sign(t, es.Header(), tokentest.With(claims, object{"roles": "admin"})),
		"white space":          es.Raw(t, tokentest.Text(t, es.Header())+"\n", " "+strings.ReplaceAll(payload, ",", " ,\r\n\t")+" "),
		"iat with a fraction":  es.Raw(t, tokentest.Text(t, es.Header()), strings.Replace(payload, iat, iat+".999", 1)),
		"iat with an exponent": es.Raw(t, tokentest.Text(t, es.Header()), strings.Replace(payload, iat, `"iat":1.7e9`, 1)),
		"iat ahead, in leeway": es.Sign(t, es.Header(), tokentest.With(claims, object{"iat": now.Unix() + 5})),
		"exp past, in leeway":  es.Sign(t, es.Header(), tokentest.With(claims, object{"exp": now.Unix() - 4})),
	} {
		if _, err := v.Verify(t.Context(), raw, now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Expiry and not-before bind a hit as they bind the first sight of a token.
func TestTimesBindOnHits(t *testing.T) {
	i := tokentest.NewIssuer(t, "")
	v := newVerifier(t, config(), token.Issuer{Trust: i.Trust(), Keys: i.Keys(t)})
	raw := i.ES256.Sign(t, i.ES256.Header(), tokentest.With(i.Claims(now), object{"nbf": now.Unix()}))
	exp := now.Add(5 * time.Minute)
	for _, c := range []struct {
		at   time.Time
		want error
	}{
		{now, nil},
		{now.Add(-5 * time.Second), nil},
		{now.Add(-5*time.Second - time.Millisecond), token.ErrPremature},
		{exp.Add(5*time.Second - time.Millisecond), nil},
		{exp.Add(5 * time.Second), token.ErrExpired},
		{exp.Add(time.Hour), token.ErrExpired},
		{now, nil},
	} {
		if _, err := v.Verify(t.Context(), raw, c.at); !errors.Is(err, c.want) {
			t.Errorf("at %s: %v, want %v", c.at, err, c.want)
		}
		fresh := newVerifier(t, token.Config{Leeway: 5 * time.Second}, token.Issuer{Trust: i.Trust(), Keys: i.Keys(t)})
		if _, err := fresh.Verify(t.Context(), raw, c.at); !errors.Is(err, c.want) {
			t.Errorf("at %s, uncached: %v, want %v", c.at, err, c.want)
		}
	}
}

// A token verified under a key stops passing when the key is withdrawn.
func TestWithdrawnKeyEndsItsTokens(t *testing.T) {
	i := tokentest.NewIssuer(t, "")
	set := i.Keys(t)
	v := newVerifier(t, config(), token.Issuer{Trust: i.Trust(), Keys: set})
	es, ed := i.ES256.Sign(t, i.ES256.Header(), i.Claims(now)), i.EdDSA.Sign(t, i.EdDSA.Header(), i.Claims(now))
	for _, raw := range []string{es, es, ed, ed} {
		if _, err := v.Verify(t.Context(), raw, now); err != nil {
			t.Fatal(err)
		}
	}
	key, err := set.Find(t.Context(), "ES256")
	if err != nil {
		t.Fatal(err)
	}
	i.Unpublish("ES256")
	for deadline := time.Now().Add(10 * time.Second); key.Usable(time.Now()); {
		if _, err := set.Find(t.Context(), "unknown"); !errors.Is(err, jwks.ErrUnknownKey) || time.Now().After(deadline) {
			t.Fatalf("the key is not withdrawn: %v", err)
		}
	}
	if got, err := v.Verify(t.Context(), es, now); !errors.Is(err, token.ErrUntrusted) {
		t.Errorf("token of the withdrawn key: %+v, %v", got, err)
	}
	if _, err := v.Verify(t.Context(), ed, now); err != nil {
		t.Errorf("token of the other key: %v", err)
	}
}

// An issuer that cannot be reached says nothing about its tokens.
func TestKeysUnavailable(t *testing.T) {
	i := tokentest.NewIssuer(t, "")
	m, err := jwks.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	idle, err := jwks.New(jwks.Config{Issuer: i.ID(), Source: "/nonexistent", Wait: time.Millisecond}, jwks.Deps{Log: zap.NewNop(), Metrics: m})
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, config(), token.Issuer{Trust: i.Trust(), Keys: idle})
	if _, err := v.Verify(t.Context(), i.ES256.Sign(t, i.ES256.Header(), i.Claims(now)), now); !errors.Is(err, token.ErrKeysUnavailable) {
		t.Errorf("got %v, want ErrKeysUnavailable", err)
	}
}

// Rules for issuers that are not ours.
func TestRules(t *testing.T) {
	i := tokentest.NewIssuer(t, "")
	set := i.Keys(t)
	jwt := tokentest.With(i.ES256.Header(), object{"typ": "JWT"})
	bare := object{"iss": i.ID(), "aud": tokentest.Audience, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "azp": "app", "groups": []string{"a", "b"}, "tenant": "t1", "ssq": "0:99", "tsq": "no position"}
	for name, c := range map[string]struct {
		trust   string
		header  object
		changes object
		want    error
	}{
		"typ=JWT":                    {"audience=" + tokentest.Audience + ",typ=JWT", jwt, nil, nil},
		"typ=JWT, in full":           {"audience=" + tokentest.Audience + ",typ=JWT", tokentest.With(jwt, object{"typ": "application/jwt"}), nil, nil},
		"typ=JWT takes no at+jwt":    {"audience=" + tokentest.Audience + ",typ=JWT", i.ES256.Header(), nil, token.ErrUntrusted},
		"typ=JWT takes no logout":    {"audience=" + tokentest.Audience + ",typ=JWT", tokentest.With(jwt, object{"typ": "logout+jwt"}), nil, token.ErrUntrusted},
		"logout token of typ JWT":    {"audience=" + tokentest.Audience + ",typ=JWT", jwt, object{"events": object{}}, token.ErrUntrusted},
		"typ=JWT still needs aud":    {"audience=" + tokentest.Audience + ",typ=JWT", jwt, object{"aud": nil}, token.ErrUntrusted},
		"typ=JWT still needs exp":    {"audience=" + tokentest.Audience + ",typ=JWT", jwt, object{"exp": nil}, token.ErrMalformed},
		"second audience":            {"audience=x,audience=" + tokentest.Audience + ",typ=JWT", jwt, nil, nil},
		"require":                    {"require=tenant:t1,typ=JWT", jwt, object{"aud": nil}, nil},
		"require, not so":            {"require=tenant:t2,typ=JWT", jwt, nil, token.ErrUntrusted},
		"require, missing":           {"require=other:t1,typ=JWT", jwt, nil, token.ErrUntrusted},
		"require, in a list":         {"require=groups:b,require=groups:a,typ=JWT", jwt, nil, nil},
		"require, one of two":        {"require=groups:b,require=groups:c,typ=JWT", jwt, nil, token.ErrUntrusted},
		"require, a number":          {"require=tenant:1,typ=JWT", jwt, object{"tenant": 1}, token.ErrUntrusted},
		"require, value with colons": {"require=tenant:a:b,typ=JWT", jwt, object{"tenant": "a:b"}, nil},
		"require does not spare aud": {"audience=x,require=tenant:t1,typ=JWT", jwt, nil, token.ErrUntrusted},
		"alg":                        {"audience=" + tokentest.Audience + ",typ=JWT,alg=RS256,alg=ES256", jwt, nil, nil},
		"alg, another":               {"audience=" + tokentest.Audience + ",typ=JWT,alg=RS256", jwt, nil, token.ErrUntrusted},
		"max-lifetime":               {"audience=" + tokentest.Audience + ",typ=JWT,max-lifetime=2m", jwt, object{"iat": now.Add(-time.Minute).Unix()}, nil},
		"max-lifetime, longer":       {"audience=" + tokentest.Audience + ",typ=JWT,max-lifetime=119s", jwt, object{"iat": now.Add(-time.Minute).Unix()}, token.ErrUntrusted},
		"max-lifetime without iat":   {"audience=" + tokentest.Audience + ",typ=JWT,max-lifetime=2m", jwt, object{"iat": nil}, token.ErrMalformed},
		"lifetime, undeclared":       {"audience=" + tokentest.Audience + ",typ=JWT", jwt, object{"exp": now.Add(24 * time.Hour).Unix()}, nil},
		"lifetime, beyond a day":     {"audience=" + tokentest.Audience + ",typ=JWT", jwt, object{"exp": now.Add(24*time.Hour + time.Second).Unix()}, token.ErrUntrusted},
		"lifetime without iat":       {"audience=" + tokentest.Audience + ",typ=JWT", jwt, object{"iat": nil}, token.ErrMalformed},
		"lifetime, declared longer":  {"audience=" + tokentest.Audience + ",typ=JWT,max-lifetime=48h", jwt, object{"exp": now.Add(47 * time.Hour).Unix()}, nil},
		"require, nested":            {"require=access.roles:b,typ=JWT", jwt, object{"access": object{"roles": []string{"a", "b"}}}, nil},
		"require, nested in a text":  {"require=access.roles:b,typ=JWT", jwt, object{"access": "b"}, token.ErrUntrusted},
		"require, dots in the name":  {`require=access\.roles:b,typ=JWT`, jwt, object{"access.roles": "b"}, nil},
		"require, not by its dots":   {"require=access.roles:b,typ=JWT", jwt, object{"access.roles": "b"}, token.ErrUntrusted},
		"require, a URL":             {"require=https://acme.example/tenant:t:1,typ=JWT", jwt, object{"https://acme.example/tenant": "t:1"}, nil},
		"require, anything":          {"require=tenant:*,typ=JWT", jwt, nil, nil},
		"require, anything, missing": {"require=scp:*,typ=JWT", jwt, nil, token.ErrUntrusted},
		"require, anything, empty":   {"require=tenant:*,typ=JWT", jwt, object{"tenant": ""}, token.ErrUntrusted},
		"require, anything, no list": {"require=tenant:*,typ=JWT", jwt, object{"tenant": []string{}}, token.ErrUntrusted},
		"typ=none":                   {"require=tenant:t1,typ=none", tokentest.With(jwt, object{"typ": nil}), nil, nil},
		"typ=none takes no JWT":      {"require=tenant:t1,typ=none", jwt, nil, token.ErrUntrusted},
		"typ=none takes no none":     {"require=tenant:t1,typ=none", tokentest.With(jwt, object{"typ": "none"}), nil, token.ErrUntrusted},
		"typ=none, typ a number":     {"require=tenant:t1,typ=none", tokentest.With(jwt, object{"typ": 1}), nil, token.ErrUntrusted},
		"typ=none, typ empty":        {"require=tenant:t1,typ=none", tokentest.With(jwt, object{"typ": ""}), nil, token.ErrUntrusted},
		"typ=JWT wants a typ":        {"require=tenant:t1,typ=JWT", tokentest.With(jwt, object{"typ": nil}), nil, token.ErrUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			trust, err := token.ParseTrust("issuer=" + string(i.ID()) + "," + c.trust)
			if err != nil {
				t.Fatal(err)
			}
			v := newVerifier(t, config(), token.Issuer{Trust: trust, Keys: set})
			got, err := v.Verify(t.Context(), i.ES256.Sign(t, c.header, tokentest.With(bare, c.changes)), now)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil && (got.Claims.Client != "app" || !got.Claims.SessionAt.IsZero() || !got.Claims.MintedAt.IsZero()) {
				t.Errorf("client %q; positions of a foreign journal %v, %v", got.Claims.Client, got.Claims.SessionAt, got.Claims.MintedAt)
			}
		})
	}
	foreign := i.Trust()
	foreign.Foreign = true
	v := newVerifier(t, config(), token.Issuer{Trust: foreign, Keys: set})
	if got, err := v.Verify(t.Context(), i.ES256.Sign(t, i.ES256.Header(), i.Claims(now)), now); err != nil || !got.Claims.SessionAt.IsZero() || !got.Denylist.MintedAt.IsZero() {
		t.Errorf("foreign issuer with at+jwt: %+v, %v", got, err)
	}
}

func TestParseTrust(t *testing.T) {
	got, err := token.ParseTrust("issuer=https://id.example/t,jwks=./keys.json,audience=a,audience=b,require=azp:c,alg=ES256,typ=JWT,max-lifetime=1h,foreign=true," +
		`subject=oid,client=azp,session=sid,id=uti,scope=scp,roles=resource_access.my\.api.roles`)
	want := token.Trust{
		Issuer: "https://id.example/t", JWKS: "./keys.json", Audiences: []string{"a", "b"}, Require: []token.Requirement{{Claim: token.Path{"azp"}, Value: "c"}},
		Algorithms: []string{"ES256"}, Type: "JWT", MaxLifetime: time.Hour, Foreign: true,
		Names: token.Names{
			Subject: token.Path{"oid"}, Client: token.Path{"azp"}, Session: token.Path{"sid"}, ID: token.Path{"uti"}, Scope: token.Path{"scp"},
			Roles: token.Path{"resource_access", "my.api", "roles"},
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if again, err := token.ParseTrust(got.String()); err != nil || !reflect.DeepEqual(again, got) {
		t.Errorf("%s reads as %+v, %v", got, again, err)
	}
	for s, faults := range map[string][]string{
		"":                               {`""`, "issuer", "audience"},
		"issuer=https://id.example":      {"audience"},
		"audience=a":                     {"issuer: missing"},
		"issuer=http://id.example,aud=a": {"https", "aud: no such setting", "neither audience"},
		"issuer=https://id.example?x=1,audience=a":                                 {"query"},
		"issuer=https://id.example,audience=":                                      {"audience="},
		"issuer=https://id.example,audience=a,issuer=https://x":                    {"given twice"},
		"issuer=https://id.example,audience=a,alg=none,alg=HS256,alg=es256":        {`"none"`, `"HS256"`, `"es256"`},
		"issuer=https://id.example,audience=a,typ=logout+jwt":                      {"typ"},
		"issuer=https://id.example,audience=a,typ=application/logout+JWT":          {"typ"},
		"issuer=https://id.example,audience=a,typ=secevent+jwt":                    {"typ"},
		"issuer=https://id.example,audience=a,typ=\u212aWT":                        {"typ"},
		"issuer=https://id.example,audience=a,max-lifetime=1":                      {"max-lifetime"},
		"issuer=https://id.example,audience=a,max-lifetime=0s":                     {"max-lifetime"},
		"issuer=https://id.example,audience=a,max-lifetime=-1h":                    {"max-lifetime"},
		"issuer=https://id.example,audience=a,foreign=yes":                         {"foreign"},
		"issuer=https://id.example,require=azp":                                    {"require"},
		"issuer=https://id.example,require=:b":                                     {"require"},
		"issuer=https://id.example,require=b:":                                     {"require"},
		"issuer=https://id.example,require=https://a/b":                            {"require"},
		"issuer=https://id.example,require=a..b:c":                                 {"require"},
		"issuer=https://id.example,audience=a,typ=none":                            {"require as well"},
		"issuer=https://id.example,audience=a,subject=oid,roles=r":                 {"subject: for foreign", "roles: for foreign"},
		"issuer=https://id.example,audience=a,typ=JWT,subject=a,subject=b":         {"given twice"},
		"issuer=https://id.example,audience=a,typ=JWT,roles=.a,scope=a.":           {"roles: a claim without", "scope: a claim without"},
		"issuer=https://id.example,audience=a,jwks=http://id.example/jwks":         {"jwks"},
		"issuer=https://id.example,audience=a,jwks=https://user:pw@id.example/jwk": {"jwks"},
	} {
		_, err := token.ParseTrust(s)
		if err == nil {
			t.Errorf("%q passes", s)
			continue
		}
		for _, fault := range faults {
			if !strings.Contains(err.Error(), fault) {
				t.Errorf("%q: %q does not name %q", s, err, fault)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	i := tokentest.NewIssuer(t, "")
	rule := token.Issuer{Trust: i.Trust(), Keys: i.Keys(t)}
	for name, c := range map[string]struct {
		cfg     token.Config
		issuers []token.Issuer
	}{
		"no issuer":           {config(), nil},
		"one issuer twice":    {config(), []token.Issuer{rule, rule}},
		"a faulty rule":       {config(), []token.Issuer{{}}},
		"leeway past the max": {token.Config{Leeway: events.MaxLeeway + 1}, []token.Issuer{rule}},
		"leeway negative":     {token.Config{Leeway: -1}, []token.Issuer{rule}},
		"tokens too long":     {token.Config{MaxBytes: 64<<10 + 1}, []token.Issuer{rule}},
		"cache negative":      {token.Config{CacheBytes: -1}, []token.Issuer{rule}},
	} {
		if _, err := token.New(c.cfg, c.issuers, prepared(func(*denylist.Token) {}), nil); err == nil {
			t.Errorf("%s: passes", name)
		}
	}
	if err := (token.Config{Leeway: events.MaxLeeway}).Validate(); err != nil {
		t.Errorf("leeway of the max: %v", err)
	}
}
