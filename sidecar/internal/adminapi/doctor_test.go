package adminapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/adminapi"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
	"github.com/revocast/revocast/sidecar/verify"
)

// doctor is an admin API whose rules are the given ones, of the rig's issuer.
func doctor(t *testing.T, rig *verifytest.Rig, rule string) func(header http.Header) (adminapi.Diagnosis, string) {
	t.Helper()
	trust, err := token.ParseTrust("issuer=" + string(rig.Issuer.ID()) + "," + rule)
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	cache, err1 := token.NewMetrics(reg)
	metrics, err2 := verify.NewMetrics(reg)
	tokens, err3 := token.New(token.Config{Leeway: 5 * time.Second}, []token.Issuer{{Trust: trust, Keys: rig.Issuer.Keys(t)}}, rig.Denylist, cache)
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	verifier, err := verify.Assemble(verify.Parts{
		Tokens: tokens, Denylist: rig.Denylist, Freshness: rig.View, Policy: gate.DefaultPolicy(), Metrics: metrics, Log: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	adminapi.New(adminapi.Parts{Verifier: verifier, Denylist: rig.Denylist, Policy: gate.DefaultPolicy()}).Register(mux)
	return func(header http.Header) (d adminapi.Diagnosis, body string) {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/doctor", http.NoBody)
		r.Header = header
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		body = w.Body.String()
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" {
			t.Fatalf("%d %s: %v", w.Code, body, err)
		}
		return d, body
	}
}

// unreached are the kinds that cannot reach the token.
func unreached(d adminapi.Diagnosis) string {
	var kinds []string
	for _, r := range d.Reach {
		if !r.Reaches {
			kinds = append(kinds, r.Kind)
		}
		if r.Reaches != (r.ID != "") || r.Claim == "" || r.Reaches != (r.Advice == "") {
			kinds = append(kinds, "inconsistent "+r.Kind)
		}
	}
	return strings.Join(kinds, " ")
}

// What reaches a token, by what cuts tell its age, and what to do about the rest.
func TestDoctorTellsWhatReachesAToken(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	now := time.Now()
	realm, foreign := "audience="+tokentest.Audience, "typ=JWT,audience="+tokentest.Audience
	bare := object{"sid": nil, "ssq": nil, "tsq": nil, "auth_time": nil}
	for name, c := range map[string]struct {
		rule      string
		changes   object
		unreached string
		sessions  string
		tokens    string
		advice    []string
	}{
		"of the realm":            {realm, nil, "", "ssq", "tsq", nil},
		"without a session":       {realm, object{"sid": nil, "ssq": nil}, "session", "tsq", "tsq", nil},
		"a session of no place":   {realm, object{"ssq": nil}, "", "none", "tsq", []string{"neither"}},
		"of the realm, placeless": {realm, bare, "session", "iat", "iat", []string{"iat alone"}},
		"foreign":                 {foreign, nil, "", "auth_time", "iat", nil},
		"foreign, by iat":         {foreign, bare, "session", "iat", "iat", []string{"iat alone"}},
		"foreign, auth_time of 0": {foreign, object{"auth_time": 0}, "", "iat", "iat", []string{"iat alone"}},
		"foreign, other names":    {foreign + ",subject=oid,session=https://x.example/s", object{"oid": "o"}, "session", "auth_time", "iat", nil},
		"foreign, next to nothing": {
			foreign,
			object{"sid": nil, "jti": nil, "sub": nil, "client_id": nil},
			"token session subject client", "auth_time", "iat",
			[]string{"Only revocations of its client"},
		},
		"foreign, long lives": {foreign + ",max-lifetime=100h", nil, "", "auth_time", "iat", []string{"--foreign-max-lifetime of at least that"}},
	} {
		t.Run(name, func(t *testing.T) {
			signer := rig.Issuer.ES256
			header := signer.Header()
			if strings.Contains(c.rule, "typ=JWT") {
				header["typ"] = "JWT"
			}
			raw := signer.Sign(t, header, tokentest.With(rig.Issuer.Claims(now), c.changes))
			d, body := doctor(t, rig, c.rule)(bearer(raw))
			if !d.Taken || !d.Verified || len(d.Reach) != 6 || unreached(d) != c.unreached || d.Cuts == nil || d.Cuts.Sessions != c.sessions || d.Cuts.AccessTokens != c.tokens {
				t.Errorf("unreached: %s; cuts %+v; %s", unreached(d), d.Cuts, body)
			}
			if len(d.Advice) != len(c.advice) {
				t.Errorf("advice: %q", d.Advice)
			}
			for i, part := range c.advice {
				if i < len(d.Advice) && !strings.Contains(d.Advice[i], part) {
					t.Errorf("advice: %q", d.Advice)
				}
			}
			for _, k := range d.Checks {
				if !k.Passes || k.Fault != "" || k.Advice != "" {
					t.Errorf("%+v", k)
				}
			}
			hides(t, body, raw)
		})
	}
}

// A session of the realm without a place in the journal is as the doctor says: denied
// by every cut. So is what it says of the others.
func TestDoctorKnowsTheRuleOfCuts(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	now := time.Now()
	for name, c := range map[string]struct {
		changes object
		scope   events.Scope
		by      func(adminapi.Cuts) string
	}{
		"sessions":                  {nil, events.ScopeSessions, func(c adminapi.Cuts) string { return c.Sessions }},
		"access tokens":             {nil, events.ScopeAccessTokens, func(c adminapi.Cuts) string { return c.AccessTokens }},
		"sessions, none":            {object{"ssq": nil}, events.ScopeSessions, func(c adminapi.Cuts) string { return c.Sessions }},
		"sessions, no session":      {object{"sid": nil, "ssq": nil}, events.ScopeSessions, func(c adminapi.Cuts) string { return c.Sessions }},
		"access tokens, unplaced":   {object{"tsq": nil}, events.ScopeAccessTokens, func(c adminapi.Cuts) string { return c.AccessTokens }},
		"sessions, by auth_time":    {object{"ssq": nil, "tsq": nil}, events.ScopeSessions, func(c adminapi.Cuts) string { return c.Sessions }},
		"access tokens, by iat":     {object{"ssq": nil, "tsq": nil, "auth_time": nil}, events.ScopeAccessTokens, func(c adminapi.Cuts) string { return c.AccessTokens }},
		"access tokens, by either":  {object{"ssq": nil, "tsq": nil, "auth_time": now.Add(time.Hour).Unix()}, events.ScopeAccessTokens, func(c adminapi.Cuts) string { return c.AccessTokens }},
		"sessions, auth_time of no": {object{"ssq": nil, "tsq": nil, "auth_time": 0}, events.ScopeSessions, func(c adminapi.Cuts) string { return c.Sessions }},
	} {
		d, _ := doctor(t, rig, "audience="+tokentest.Audience)(bearer(rig.Good(t, c.changes)))
		facts := events.Facts{Issuer: rig.Issuer.ID(), Subject: "alice", IssuedAt: now.Unix()}
		claims := tokentest.With(rig.Issuer.Claims(now), c.changes)
		if at, ok := claims["auth_time"].(int64); ok {
			facts.AuthTime = at
		}
		if claims["sid"] != nil {
			facts.Session = "sid-1"
		}
		if claims["ssq"] != nil {
			facts.SessionAt.Sequence = 41
		}
		if claims["tsq"] != nil {
			facts.MintedAt.Sequence = 42
		}
		// Each cut is one that spares by the one measure and denies by all others.
		cut := map[string]events.Revocation{
			"ssq":       {Cut: events.Position{Sequence: 40}},
			"tsq":       {Cut: events.Position{Sequence: 41}},
			"auth_time": {CutTime: time.Unix(facts.AuthTime-1, 0)},
			"iat":       {CutTime: time.Unix(facts.IssuedAt-1, 0)},
			"none":      {Cut: events.Position{Sequence: 1}, CutTime: time.Unix(1, 0)},
		}
		by := c.by(*d.Cuts)
		r := cut[by]
		r.Kind, r.Issuer, r.Target, r.Scope = events.KindSubject, facts.Issuer, "alice", c.scope
		if r.Denies(&facts) != (by == "none") {
			t.Errorf("%s: the doctor says by %s; the rule of all has it otherwise", name, by)
		}
	}
}

// Of a token that is not verified the rule's side alone is shown; of one that is, both.
func TestDoctorShowsNothingUnverified(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	ask := doctor(t, rig, "typ=JWT,alg=ES256,audience="+tokentest.Audience+",require=tenant:t-1,max-lifetime=1m")
	says := object{"sub": "s-secret", "sid": "d-secret", "jti": "j-secret", "client_id": "c-secret", "aud": "a-secret", "iss": string(rig.Issuer.ID()) + "/i-secret"}
	raw := rig.Good(t, says)
	changed := raw[:len(raw)-8] + "AAAAAAAA"
	d, body := ask(bearer(changed))
	if d.Taken || d.Verified || !d.Nearest || d.Rule == nil || d.Claims != nil || d.Cuts != nil || len(d.Reach) != 0 || strings.Contains(body, "secret") {
		t.Errorf("unverified: %s", body)
	}
	hides(t, body, changed)
	d, body = ask(bearer(raw))
	if d.Taken || !d.Verified || !d.Nearest || d.Claims == nil || d.Claims.Subject != "s-secret" || len(d.Reach) != 6 {
		t.Errorf("verified: %s", body)
	}
	hides(t, body, raw)
	for check, want := range map[string]adminapi.Check{
		"issuer":    {Says: string(rig.Issuer.ID()) + "/i-secret", Wants: string(rig.Issuer.ID())},
		"type":      {Says: "at+jwt", Wants: "JWT"},
		"algorithm": {Passes: true, Says: "ES256", Wants: "ES256"},
		"audience":  {Says: "a-secret", Wants: tokentest.Audience},
		"require":   {Wants: "tenant:t-1"},
		"lifetime":  {Says: "5m0s", Wants: "at most 1m0s"},
		"key":       {Passes: true, Says: "ES256", Wants: "one of those that the issuer's metadata leads to"},
		"signature": {Passes: true},
	} {
		for _, k := range d.Checks {
			if k.Check == check && (k.Passes != want.Passes || k.Says != want.Says || k.Wants != want.Wants || k.Passes != (k.Advice == "") || k.Passes != (k.Fault == "")) {
				t.Errorf("%s: %+v", check, k)
			}
		}
	}
	if !strings.Contains(d.Summary, "comes nearest, and refuses it for: issuer, type, audience, lifetime, require.") {
		t.Errorf("%s", d.Summary)
	}
}

// What is no token at all is told so, with what to do.
func TestDoctorOfNoToken(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	ask := doctor(t, rig, "audience="+tokentest.Audience)
	for name, header := range map[string]http.Header{
		"none": {}, "opaque": bearer("secret-opaque"), "encrypted": bearer("secret.a.b.c.d"), "two": {"Authorization": {"Bearer secret", "Bearer secret"}},
		"garbage": bearer("secret..secret"), "one mebibyte": bearer(strings.Repeat("secret.", 150_000)),
	} {
		d, body := ask(header)
		if d.Taken || d.Verified || d.Rule != nil || len(d.Checks) != 1 || d.Checks[0].Check != "form" || d.Checks[0].Advice == "" || strings.Contains(body, "secret") {
			t.Errorf("%s: %s", name, body)
		}
	}
}

// hides fails if the token or its signature is in the answer.
func hides(t *testing.T, body, raw string) {
	t.Helper()
	signature := raw[strings.LastIndexByte(raw, '.')+1:]
	if strings.Contains(body, raw) || strings.Contains(body, signature) || strings.Contains(body, signature[:16]) {
		t.Error("the token, or its signature, is in the answer")
	}
}
