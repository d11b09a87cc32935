package token_test

import (
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// faults are those of a diagnosis, in order: "name: fault; …".
func faults(d token.Diagnosis) string {
	var all []string
	for _, c := range d.Checks {
		if c.Fault != "" {
			all = append(all, c.Name+": "+c.Fault)
		}
	}
	return strings.Join(all, "; ")
}

// Every fault is named, also behind others; which rule came nearest is told by who
// signed, then by the issuer's name.
func TestDiagnose(t *testing.T) {
	one, two := tokentest.NewIssuer(t, "one-"), tokentest.NewIssuer(t, "two-")
	foreign, err := token.ParseTrust("issuer=" + string(two.ID()) + ",audience=x,typ=JWT,alg=RS256,require=tenant:*,max-lifetime=1m")
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, config(), token.Issuer{Trust: one.Trust(), Keys: one.Keys(t)}, token.Issuer{Trust: foreign, Keys: two.Keys(t)},
		token.Issuer{Trust: token.Trust{Issuer: "https://id.example/Tenant", Audiences: []string{tokentest.Audience}}, Keys: two.Keys(t)})
	body := func(changes object) string { return one.Good(t, now, changes) }
	good := body(nil)
	parts := strings.Split(good, ".")
	for name, c := range map[string]struct {
		raw      string
		rule     *tokentest.Issuer
		faults   string
		verified bool
	}{
		"good":                    {good, one, "", true},
		"opaque":                  {"2YotnFZFEjr1zCsicMWpAA", nil, "form: it has one part: an opaque token, which only its provider can read", false},
		"encrypted":               {"a.b.c.d.e", nil, "form: it has five parts: an encrypted token (RFC 7516), which is not read here", false},
		"an unheard-of alg":       {one.ES256.Sign(t, tokentest.With(one.ES256.Header(), object{"alg": "ES512"}), one.Claims(now)), nil, "form: alg is not on the list", false},
		"a signature changed":     {tokentest.Flip(good, 2), one, "signature: signature does not verify", false},
		"an unknown key":          {one.ES256.Sign(t, tokentest.With(one.ES256.Header(), object{"kid": "x"}), one.Claims(now)), one, "key: the issuer publishes no such key; signature: not checked for want of the key", false},
		"over":                    {one.Good(t, now.Add(-time.Hour), nil), one, "time: expired token", true},
		"over, and changed":       {tokentest.Flip(one.Good(t, now.Add(-time.Hour), nil), 2), one, "signature: signature does not verify; time: expired token", false},
		"early":                   {one.Good(t, now.Add(time.Hour), nil), one, "time: token not valid yet", true},
		"bound":                   {body(object{"cnf": object{"jkt": "x"}}), one, "binding: it is bound to a key or certificate (cnf), whose possession is not checked here", true},
		"no exp":                  {body(object{"exp": nil}), one, "claims: exp is missing; time: it has no exp that can be read", true},
		"many":                    {body(object{"aud": "y", "jti": nil, "events": object{}}), one, "claims: jti is missing; kind: it tells events, so it is a logout token or a security event; audience: not for this audience", true},
		"by a slash":              {body(object{"iss": string(one.ID()) + "/"}), one, "issuer: iss is the rule's but for a slash at the end", true},
		"by http":                 {body(object{"iss": strings.Replace(string(one.ID()), "http:", "https:", 1)}), one, "issuer: iss is the rule's but for http and https", true},
		"by host":                 {body(object{"iss": string(one.ID()) + "/realms/x"}), one, "issuer: iss is another on the rule's host", true},
		"signed, otherwise named": {body(object{"iss": "https://inside.example"}), one, "issuer: iss is of no trusted issuer", true},
		"without iss":             {body(object{"iss": nil}), one, "issuer: iss is missing or no text", true},
		"nearer by name than by rule": {tokentest.NewIssuer(t, "").Good(t, now, object{"iss": string(two.ID()) + "/"}), two, "issuer: iss is the rule's but for a slash at the end; " +
			"type: typ is not the rule's; algorithm: alg is not the rule's; audience: not for this audience; lifetime: lives longer than the rule allows, or for who knows how long; " +
			"require: tenant is not what the rule requires; key: the issuer publishes no such key; signature: not checked for want of the key", false},
		"nobody's": {
			tokentest.NewIssuer(t, "").Good(t, now, object{"iss": "https://nobody.example"}), one,
			"issuer: iss is of no trusted issuer; key: the issuer publishes no such key; signature: not checked for want of the key", false,
		},
		"a header of one, a payload of another": {
			strings.Split(two.Good(t, now, nil), ".")[0] + "." + parts[1] + "." + parts[2], one,
			"key: the issuer publishes no such key; signature: not checked for want of the key", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := v.Diagnose(t.Context(), c.raw, now)
			if got := faults(d); got != c.faults || d.Taken != (c.faults == "") || (d.Token != nil) != c.verified {
				t.Errorf("taken %v, verified %v: %s", d.Taken, d.Token != nil, got)
			}
			if (d.Rule == nil) != (c.rule == nil) || d.Rule != nil && d.Rule.Issuer != c.rule.ID() {
				t.Errorf("judged by %v", d.Rule)
			}
			if _, err := v.Verify(t.Context(), c.raw, now); (err == nil) != d.Taken {
				t.Errorf("diagnosed as taken %v; Verify says %v", d.Taken, err)
			}
			if (d.Issuer != "" || d.Type != "" || d.Algorithm != "") && d.Token == nil {
				t.Errorf("of a token that is not believed something is told: %+v", d)
			}
		})
	}

	d := v.Diagnose(t.Context(), tokentest.NewIssuer(t, "").Good(t, now, object{"iss": "https://id.example/tenant"}), now)
	if d.Rule == nil || d.Rule.Issuer != "https://id.example/Tenant" || !strings.HasPrefix(faults(d), "issuer: iss is the rule's but for capitals") {
		t.Errorf("by capitals: %+v", d)
	}
}
