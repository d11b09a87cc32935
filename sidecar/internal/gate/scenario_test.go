package gate_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/gate"
)

var update = flag.Bool("update", false, "rewrite the expected lines under testdata")

// TestScenarios decides each line of testdata/*.txt and compares what follows
// its arrow. A line is words of the form name=value; "policy" begins a line that
// sets the policy of those below it.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			before, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			after := play(t, string(before))
			if *update {
				if err := os.WriteFile(file, []byte(after), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			got, want := strings.Split(after, "\n"), strings.Split(string(before), "\n")
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("line %d:\n got %s\nwant %s", i+1, got[i], want[i])
				}
			}
		})
	}
}

func play(t *testing.T, text string) string {
	t.Helper()
	lines := strings.Split(text, "\n")
	policy := gate.DefaultPolicy()
	for i, line := range lines {
		question, _, _ := strings.Cut(line, " => ")
		words := strings.Fields(question)
		switch {
		case len(words) == 0 || words[0] == "#":
		case words[0] == "policy":
			policy = readPolicy(t, words[1:])
		default:
			ask, facts := readFacts(t, words)
			lines[i] = strings.TrimRight(question, " ") + " => " + tell(gate.Decide(policy, ask, facts))
		}
	}
	return strings.Join(lines, "\n")
}

func readPolicy(t *testing.T, words []string) gate.Policy {
	t.Helper()
	p := gate.DefaultPolicy()
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "stale-after":
			p.StaleAfter = duration(t, value)
		case "stale-limit":
			p.StaleLimit = duration(t, value)
		case "when-stale":
			when, err := gate.ParseWhenStale(value)
			if err != nil {
				t.Fatal(err)
			}
			p.WhenStale = when
		case "scopes":
			p.Scopes = strings.Split(value, ",")
		case "enforce":
			p.Shadow = value == "false"
		default:
			t.Fatalf("policy: unknown word %q", w)
		}
	}
	return p
}

func readFacts(t *testing.T, words []string) (gate.Ask, gate.Facts) {
	t.Helper()
	outcomes := map[string]gate.Outcome{
		"unjudged": gate.Unjudged, "genuine": gate.Genuine, "absent": gate.Absent, "ambiguous": gate.Ambiguous, "unreadable": gate.Unreadable,
		"unsupported": gate.Unsupported, "malformed": gate.Malformed, "untrusted": gate.Untrusted,
		"expired": gate.Expired, "premature": gate.Premature, "keys-unavailable": gate.KeysUnavailable, "overloaded": gate.Overloaded,
	}
	findings := map[string]gate.Finding{"unknown": gate.Unknown, "clear": gate.Clear, "revoked": gate.Revoked}
	var ask gate.Ask
	f := gate.Facts{Token: gate.Genuine, Finding: gate.Clear, Ready: true, Now: epoch, FreshAsOf: epoch}
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		ok := true
		switch name {
		case "token":
			f.Token, ok = outcomes[value]
		case "finding":
			f.Finding, ok = findings[value]
		case "age":
			if f.FreshAsOf = epoch.Add(-duration(t, value)); value == "0s" {
				f.FreshAsOf = epoch
			}
		case "never-fresh":
			f.FreshAsOf = time.Time{}
		case "not-ready":
			f.Ready = false
		case "skew":
			f.Skew = duration(t, value)
		case "scope":
			f.Scope = strings.ReplaceAll(value, ",", " ")
		case "ask-scope":
			ask.Scopes = strings.Split(value, ",")
		case "max-stale":
			ask.MaxStale = duration(t, value)
		case "aud":
			f.Audience = names(strings.Split(value, ","))
		case "ask-aud":
			ask.Audiences = strings.Split(value, ",")
		case "roles":
			f.Roles = names(strings.Split(value, ","))
		case "ask-roles":
			ask.Roles = strings.Split(value, ",")
		case "ask-any-role":
			ask.AnyRole = strings.Split(value, ",")
		case "acr":
			f.ACR = value
		case "ask-acr":
			ask.ACR = strings.Split(value, ",")
		case "authenticated":
			f.AuthTime = epoch.Add(-duration(t, value))
		case "max-age":
			ask.MaxAge = duration(t, value)
		default:
			ok = false
		}
		if !ok {
			t.Fatalf("unknown word %q", w)
		}
	}
	return ask, f
}

// names are the values of a claim.
type names []string

func (n names) Has(name string) bool { return slices.Contains(n, name) }

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func tell(d gate.Decision) string {
	s := fmt.Sprintf("%s %d %s", d.Verdict, d.Status(), d.Reason)
	if d.Code() != "" {
		s += " error=" + d.Code()
	}
	if d.NeededScope != "" {
		s += " needs=" + strings.ReplaceAll(d.NeededScope, " ", ",")
	}
	if d.NeededACR != "" {
		s += " needs-acr=" + strings.ReplaceAll(d.NeededACR, " ", ",")
	}
	if d.NeededAge > 0 {
		s += " needs-age=" + d.NeededAge.String()
	}
	if d.RetryAfter() > 0 {
		s += " retry=" + d.RetryAfter().String()
	}
	if d.Stale {
		s += " stale"
	}
	if d.Shadow {
		s += " shadow"
	}
	return s
}

// Descriptions keep to the characters of RFC 6750 section 3, and every denial of
// a token that was given has a code and one.
func TestDescriptions(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range gate.Reasons() {
		if seen[r.String()] {
			t.Errorf("%s labels two reasons", r)
		}
		seen[r.String()] = true
		d := gate.Decision{Reason: r}
		for _, c := range []byte(d.Description()) {
			if c < 0x20 || c == '"' || c == '\\' || c > 0x7e {
				t.Errorf("%s: %q in the description", r, c)
			}
		}
		if d.Status() != 503 && r != gate.ReasonAbsent && (d.Code() == "" || d.Description() == "") {
			t.Errorf("%s: no code or description", r)
		}
	}
}

func TestPolicyValidate(t *testing.T) {
	if err := gate.DefaultPolicy().Validate(); err != nil {
		t.Errorf("default policy: %v", err)
	}
	bad := gate.Policy{StaleAfter: time.Second, WhenStale: gate.ServeStale, Scopes: []string{"a b", ""}}
	err := bad.Validate()
	if err == nil {
		t.Fatal("a policy of faults passes")
	}
	for _, want := range []string{"stale-after", "stale-limit", `"a b"`, `""`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	for _, s := range []string{"allow", "deny"} {
		if w, err := gate.ParseWhenStale(s); err != nil || w.String() != s {
			t.Errorf("%s: %v, %v", s, w, err)
		}
	}
	if _, err := gate.ParseWhenStale("Allow"); err == nil {
		t.Error("Allow passes for allow")
	}
}

func TestAskValidate(t *testing.T) {
	good := gate.Ask{
		Scopes: []string{"orders:write"}, Roles: []string{"Domain Users"}, AnyRole: []string{"a"}, Audiences: []string{"https://api.example"},
		ACR: []string{"urn:mace:incommon:iap:silver"}, MaxAge: 5 * time.Minute, MaxStale: time.Second,
	}
	if err := good.Validate(); err != nil {
		t.Errorf("a good ask: %v", err)
	}
	bad := gate.Ask{
		Scopes: []string{"a b"}, Roles: []string{""}, AnyRole: []string{" x"}, Audiences: []string{"a\r\nX: y"},
		ACR: []string{`"`}, MaxAge: 1500 * time.Millisecond, MaxStale: -1,
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("an ask of faults passes")
	}
	for _, want := range []string{`scope "a b"`, `role ""`, `role " x"`, `audience "a\r`, `acr "\""`, "max-age", "max-stale"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

// No token is judged where none is needed, and the answer does not claim that one was.
func TestWaive(t *testing.T) {
	for _, f := range []gate.Facts{{}, {Now: epoch, FreshAsOf: epoch, Ready: true}} {
		d := gate.Waive(gate.DefaultPolicy(), f)
		if d.Verdict != gate.Allow || d.Reason != gate.ReasonAnonymous || d.Status() != 200 || d.Code() != "" || d.FreshAsOf != f.FreshAsOf {
			t.Errorf("got %+v", d)
		}
	}
}
