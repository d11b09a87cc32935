package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/stack"
)

// explained is what a sidecar says of a token, as far as it is looked at here.
type explained struct {
	Verdict string `json:"verdict"`
	Status  int    `json:"status"`
	Reason  string `json:"reason"`
	Token   struct {
		Verified bool            `json:"verified"`
		Fault    string          `json:"fault"`
		Rule     json.RawMessage `json:"rule"`
		Claims   json.RawMessage `json:"claims"`
	} `json:"token"`
	Kinds []struct {
		Kind    string `json:"kind"`
		ID      string `json:"id"`
		Entries []struct {
			revocationID
			Denies bool   `json:"denies"`
			Why    string `json:"why"`
		} `json:"entries"`
	} `json:"kinds"`
}

type revocationID struct {
	ID string `json:"revocation_id"`
}

// explain asks twice, and forward-auth in between: what was the same before and after
// has to be its answer, too.
func explain(t *testing.T, sidecar *stack.Server, token string) explained {
	t.Helper()
	ask := func() (x explained) {
		t.Helper()
		a := do(t, http.MethodGet, sidecar.AdminURL()+"/v1/explain", "", token, "").want(t, http.StatusOK)
		if err := json.Unmarshal(a.body, &x); err != nil {
			t.Fatal(err)
		}
		return x
	}
	before, front, x := ask(), auth(t, sidecar, token).status, ask()
	if before.Status == x.Status && front != x.Status {
		t.Errorf("explained as %d %s; /auth answers %d", x.Status, x.Reason, front)
	}
	return x
}

// why is where the explanation says a revocation stands; empty if it does not name it.
func (x explained) why(kind, revocation string) string {
	for _, k := range x.Kinds {
		for _, e := range k.Entries {
			if k.Kind == kind && e.ID == revocation && e.Denies == (e.Why == "denies") {
				return e.Why
			}
		}
	}
	return ""
}

// lookedUp is what a kind was looked up by.
func (x explained) lookedUp(kind string) string {
	for _, k := range x.Kinds {
		if k.Kind == kind {
			return k.ID
		}
	}
	return "no such kind"
}

// command runs one of the programs under test; its output is parsed if it is to be.
func command(t *testing.T, status int, into any, stdin, name string, args ...string) (stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	got := 0
	if exit, is := errors.AsType[*exec.ExitError](err); is {
		got = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if got != status {
		t.Fatalf("%s %s: exit status %d, want %d\n%s%s", name, args, got, status, out.String(), errs.String())
	}
	if into != nil {
		if err := json.Unmarshal(out.Bytes(), into); err != nil {
			t.Fatalf("%s %s: %v\n%s", name, args, err, out.String())
		}
	}
	return errs.String()
}

// Why a token passes or not, on real processes: for each of the six kinds, for what was
// lifted, for a session that a revocation excepts, and for a token of nobody known here.
func TestExplain(t *testing.T) {
	s := start(t, 1)
	sidecar := s.Sidecars()[0]
	for _, c := range []struct {
		kind string
		id   func(v tokens) string
	}{
		{"token", func(v tokens) string { return partOf(t, v.Access, 1, "jti") }},
		{"subject", func(v tokens) string { return partOf(t, v.Access, 1, "sub") }},
		{"client", func(tokens) string { return stack.MobileClient }},
		{"key", func(v tokens) string { return partOf(t, v.Access, 0, "kid") }},
		{"all", func(tokens) string { return "" }},
		{"session", func(v tokens) string { return v.Session }},
	} {
		var victim tokens
		eventually(t, 20*time.Second, "a token that passes", func() bool { // after the key's revocation with the next one
			victim = login(t, s.Issuer(), nil)
			return explain(t, sidecar, victim.Access).Reason == "good"
		})
		done := revoke(t, s, s.Issuer(), c.kind, c.id(victim)).revocation(t)
		var x explained
		eventually(t, 20*time.Second, "the "+c.kind+" to be explained", func() bool {
			x = explain(t, sidecar, victim.Access)
			return x.why(c.kind, done) == "denies"
		})
		if x.Verdict != "deny" || x.Status != http.StatusUnauthorized || x.Reason != "revoked" || !x.Token.Verified || len(x.Kinds) != 6 || x.lookedUp(c.kind) != c.id(victim) {
			t.Errorf("%s: %+v", c.kind, x)
		}
		if c.kind == "session" {
			continue // its end stays
		}
		operate(t, s, s.Issuer(), http.MethodDelete, "/admin/v1/revocations/"+done, "").want(t, http.StatusNoContent)
		eventually(t, 20*time.Second, "the lift of the "+c.kind, func() bool {
			x = explain(t, sidecar, victim.Access)
			return x.why(c.kind, done) == "lifted" && x.Verdict == "allow"
		})
	}

	// Everywhere but here.
	here, elsewhere := login(t, s.Issuer(), nil), login(t, s.Issuer(), nil)
	body := fmt.Sprintf(`{"kind":"subject","id":%q,"except_session":%q}`, partOf(t, here.Access, 1, "sub"), here.Session)
	done := operate(t, s, s.Issuer(), http.MethodPost, "/admin/v1/revocations", body).revocation(t)
	firstDenial(t, sidecar, elsewhere.Access, time.Now())
	if x := explain(t, sidecar, elsewhere.Access); x.why("subject", done) != "denies" {
		t.Errorf("elsewhere: %+v", x)
	}
	if x := explain(t, sidecar, here.Access); x.why("subject", done) != "excepted" || x.Verdict != "allow" {
		t.Errorf("here: %+v", x)
	}
	if x := explain(t, sidecar, login(t, s.Issuer(), nil).Access); x.why("subject", done) != "session began after the cut" {
		t.Errorf("later: %+v", x)
	}

	// Nobody known here: nothing of it is looked up, though it names a revoked subject.
	parts := strings.Split(elsewhere.Access, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	stranger := bytes.Replace(payload, []byte(s.Issuer().URL()), []byte("https://nobody.example"), 1)
	x := explain(t, sidecar, parts[0]+"."+base64.RawURLEncoding.EncodeToString(stranger)+"."+parts[2])
	if x.Reason != "untrusted" || x.Token.Verified || x.Token.Claims != nil || x.Token.Rule != nil || len(x.Kinds) != 0 || x.Token.Fault == "" {
		t.Errorf("a stranger: %+v", x)
	}

	// The same by the command, which reads the token from its standard input.
	for token, status := range map[string]int{here.Access: 0, elsewhere.Access: 1} {
		var x explained
		command(t, status, &x, token, "revocast", "explain", "--sidecar-url", sidecar.AdminURL(), "-o", "json")
		if (x.Verdict == "allow") != (status == 0) || len(x.Kinds) != 6 {
			t.Errorf("%+v", x)
		}
	}
	// What rule takes a token, and what can revoke it, revoked or not: also by command.
	for token, status := range map[string]int{here.Access: 0, elsewhere.Access: 0, "2YotnFZFEjr1zCsicMWpAA": 1} {
		var d struct {
			Taken bool              `json:"taken"`
			Reach []json.RawMessage `json:"reach"`
			Cuts  map[string]string `json:"cuts"`
		}
		command(t, status, &d, token, "revocast", "doctor", "--sidecar-url", sidecar.AdminURL(), "-o", "json")
		if d.Taken != (status == 0) || d.Taken && (len(d.Reach) != 6 || d.Cuts["sessions"] != "ssq" || d.Cuts["access_tokens"] != "tsq") {
			t.Errorf("%+v", d)
		}
	}
	for _, file := range []string{s.Dir().Log(sidecar.Name), s.Dir().Log("issuer")} {
		if contains(file, here.Access) || contains(file, parts[2]) {
			t.Errorf("%s holds a token", file)
		}
	}
}

// revocation is the id of what was revoked.
func (a answer) revocation(t *testing.T) string {
	t.Helper()
	var done revocationID
	if err := json.Unmarshal(a.want(t, http.StatusCreated).body, &done); err != nil || done.ID == "" {
		t.Fatalf("no revocation in %s (%v)", a, err)
	}
	return done.ID
}

// compared is the report of a comparison, as far as it is looked at here.
type compared struct {
	Clean   bool `json:"clean"`
	Missing struct {
		Count    int            `json:"count"`
		Examples []revocationID `json:"examples"`
	} `json:"missing"`
	Lifted int `json:"lifted"`
	Index  struct {
		Checked bool `json:"checked"`
		Entries int  `json:"entries"`
	} `json:"index"`
}

// A sidecar's disk is as the feed says, while it runs and when it does not; and if an
// entry was taken from it behind its back, both ways to ask say which.
func TestFsck(t *testing.T) {
	s := start(t, 1)
	sidecar := s.Sidecars()[0]
	victim, spared := login(t, s.Issuer(), nil), login(t, s.Issuer(), nil)
	taken := revoke(t, s, s.Issuer(), "token", partOf(t, victim.Access, 1, "jti")).revocation(t)
	lifted := revoke(t, s, s.Issuer(), "token", partOf(t, spared.Access, 1, "jti")).revocation(t)
	operate(t, s, s.Issuer(), http.MethodDelete, "/admin/v1/revocations/"+lifted, "").want(t, http.StatusNoContent)
	firstDenial(t, sidecar, victim.Access, time.Now())
	eventually(t, 20*time.Second, "the lift", func() bool { return auth(t, sidecar, spared.Access).status == http.StatusOK })
	// Later than a sidecar that starts again makes sure of what it has.
	published := time.Now()
	eventually(t, 20*time.Second, "a later proof, on disk", func() bool {
		var status struct {
			FreshAsOf time.Time `json:"fresh_as_of"`
		}
		a := do(t, http.MethodGet, sidecar.AdminURL()+"/v1/status", "", "", "")
		return json.Unmarshal(a.body, &status) == nil && status.FreshAsOf.After(published.Add(3*time.Second)) && onDisk(t, sidecar)
	})

	online := func(status int) (r compared) {
		t.Helper()
		command(t, status, &r, "", "revocast", "fsck", "--sidecar-url", sidecar.AdminURL(), "-o", "json")
		return r
	}
	offline := append([]string{"fsck"}, sidecar.Args...)
	if r := online(0); !r.Clean || !r.Index.Checked || r.Index.Entries == 0 || r.Lifted != 1 {
		t.Errorf("running: %+v", r)
	}
	if said := command(t, 1, nil, "", "sidecar", offline...); !strings.Contains(said, "in use") {
		t.Errorf("beside a running sidecar: %s", said)
	}
	if err := sidecar.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	var r compared
	command(t, 0, &r, "", "sidecar", offline...)
	if !r.Clean || r.Index.Checked || r.Lifted != 1 {
		t.Errorf("stopped: %+v", r)
	}

	command(t, 0, nil, "", "forget", filepath.Join(string(s.Dir()), sidecar.Name), "24h")
	missing := func(r compared) bool {
		return !r.Clean && r.Missing.Count > 0 && slices.Contains(r.Missing.Examples, revocationID{taken})
	}
	r = compared{}
	command(t, 1, &r, "", "sidecar", offline...)
	if !missing(r) {
		t.Errorf("stopped, with an entry taken: %+v", r)
	}
	up(t, sidecar)
	if r := online(1); !missing(r) {
		t.Errorf("running, with an entry taken: %+v", r)
	}
	// Which is to say:
	passes(t, sidecar, victim.Access)
}
