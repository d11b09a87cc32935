package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a login may not say.
func (p pair) badLoginsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		pairs  []string
		status int
	}{
		"no client":             {[]string{"client_id", ""}, 403},
		"unknown client":        {[]string{"client_id", canary}, 403},
		"confidential client":   {[]string{"client_id", backend}, 403},
		"client with a NUL":     {[]string{"client_id", mobile + "\x00"}, 403},
		"another's scope":       {[]string{"scope", "read admin"}, 400},
		"a scope of spaces":     {[]string{"scope", " "}, 400},
		"scope with two spaces": {[]string{"scope", "read  write"}, 400},
		"another audience":      {[]string{"audience", "https://else.example"}, 400},
		"no username":           {[]string{"username", ""}, 400},
		"no password":           {[]string{"password", ""}, 400},
		"long device name":      {[]string{"device_name", strings.Repeat("x", 257)}, 400},
		"a line break in it":    {[]string{"device_name", "a\nb"}, 400},
		"a NUL in the id":       {[]string{"device_id", "a\x00b"}, 400},
		"a short secret":        {[]string{"device_secret", "AAAAAAAAAAAAAAAAAAAA"}, 400},
		"a padded secret":       {[]string{"device_secret", "AAAAAAAAAAAAAAAAAAAAAA=="}, 400},
		"a long secret":         {[]string{"device_secret", strings.Repeat("A", 400)}, 400},
		"a secret of words":     {[]string{"device_secret", "not base64url, that is clear"}, 400},
	} {
		pairs := append([]string{"username", alice, "password", alicePassword, "client_id", mobile}, c.pairs...)
		got := p.a.postJSON(t, "/v1/login", pairs...)
		isProblem(t, name, got, c.status)
		leakless(t, name, got, alicePassword, canary)
	}
}

// Whoever guesses learns only that the guess was wrong: the answers are the same to
// the byte.
func (p pair) wrongCredentialsLookAlike(t *testing.T) {
	var first string
	before := p.journal(t)
	for name, pairs := range map[string][]string{
		"wrong password":            {"username", alice, "password", "wonderland-43"},
		"unknown user":              {"username", "mallory", "password", alicePassword},
		"in capitals":               {"username", "ALICE", "password", alicePassword},
		"a space behind":            {"username", "alice ", "password", alicePassword},
		"a NUL behind":              {"username", "alice\x00", "password", alicePassword},
		"a wildcard":                {"username", "*", "password", alicePassword},
		"long name":                 {"username", strings.Repeat("a", 129), "password", alicePassword},
		"long password":             {"username", alice, "password", strings.Repeat("a", 1025)},
		"someone else's password":   {"username", alice, "password", bobPassword},
		"a costly hash":             {"username", carol, "password", alicePassword},
		"the password, and a space": {"username", alice, "password", alicePassword + " "},
	} {
		got := p.a.postJSON(t, "/v1/login", append(pairs, "client_id", mobile)...)
		isProblem(t, name, got, 401)
		got.header.Del("Date")
		text := fmt.Sprint(got.status, got.header, got.body)
		if first == "" {
			first = text
		}
		if text != first {
			t.Errorf("%s: %s, another: %s", name, text, first)
		}
	}
	if n := p.grown(t, before); n != 0 {
		t.Errorf("failed logins made the journal grow by %d", n)
	}
}

// And they take the same time. What is compared is the least of each in one run, taken in
// turns: others on the machine can only add to it, and a login that skipped the hash for
// unknown users would be ten times faster.
func (p pair) wrongCredentialsTakeTheSameTime(t *testing.T) {
	const samples = 11
	names := []string{carol, "nobody-of-this-name"}
	took := map[string][]time.Duration{}
	for range samples {
		for _, name := range names {
			began := time.Now()
			p.a.postJSON(t, "/v1/login", "username", name, "password", "not-the-password", "client_id", mobile).want(t, 401)
			took[name] = append(took[name], time.Since(began))
		}
	}
	ratio := float64(slices.Min(took[names[0]])) / float64(slices.Min(took[names[1]]))
	t.Logf("wrong password / unknown user: %.2f", ratio)
	if ratio < 0.5 || ratio > 2 {
		t.Errorf("a wrong password takes %.2f times as long as an unknown user: %v", ratio, took)
	}
}

// Hostile requests make no new time series, and no secret is in one or in a log.
func (p pair) nothingLeaksIntoMetricsOrLogs(t *testing.T) {
	mine := p.a.login(t)
	for n := range 50 {
		p.a.call(t, "GET", fmt.Sprintf("/v1/%s/%d", canary, n), mine.Access)
		p.a.call(t, fmt.Sprintf("X%d", n), "/v1/session", mine.Access)
		p.a.call(t, "DELETE", fmt.Sprintf("/v1/sessions/%d", n), mine.Access)
		p.a.refresh(t, mine.Refresh+fmt.Sprint(n), mobile)
	}
	got := must(t, request{method: http.MethodGet, url: "http://" + p.a.MetricsListen + "/metrics"}).want(t, 200)
	endpoints := map[string]bool{}
	for line := range strings.Lines(got.body) {
		if _, rest, ok := strings.Cut(line, `revocast_issuer_request_duration_seconds_count{endpoint="`); ok {
			endpoint, _, _ := strings.Cut(rest, `"`)
			endpoints[endpoint] = true
		}
	}
	// Fewer than there were hostile requests of any kind.
	if len(endpoints) < 2 || len(endpoints) > 45 || !endpoints["none"] {
		t.Errorf("%d endpoints: %v", len(endpoints), endpoints)
	}
	operator := p.a.operatorToken(t)
	for _, text := range []string{got.body, p.a.log.String(), p.b.log.String()} {
		for _, secret := range []string{canary, alicePassword, bobPassword, backendSecret, operator, mine.Access, mine.Refresh} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in the metrics or the log", secret)
			}
		}
	}
	if !strings.Contains(p.a.log.String(), "refresh refused") {
		t.Error("the log was not captured")
	}
	must(t, request{method: http.MethodGet, url: "http://" + p.a.MetricsListen + "/debug/pprof/"}).want(t, 404)
}
