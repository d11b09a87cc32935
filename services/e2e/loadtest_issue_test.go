//go:build unix

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/revocast/revocast/services/stack"
)

// outcome is the part of a load test's result that tests look at.
type outcome struct {
	Tables []struct {
		Name    string
		Columns []struct{ Name string }
		Rows    []struct {
			Name   string
			Values [][]float64
		}
	}
	Plots      []struct{ Name string }
	Remarks    []string
	Objectives []struct {
		Objective, Value string
		Kept             bool
	}
}

// measured runs the load test to its end and wants every objective kept.
func measured(t *testing.T, args ...string) (o outcome) {
	t.Helper()
	stdout, stderr, err := loadtest(t, "", append(args, "-o", "json")...)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, stdout, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), &o); err != nil {
		t.Fatal(err)
	}
	for _, v := range o.Objectives {
		if !v.Kept {
			t.Errorf("%s: %s", v.Objective, v.Value)
		}
	}
	return o
}

// at gives a figure, and false if there is none.
func (o outcome) at(table, row, column string) ([]float64, bool) {
	for _, t := range o.Tables {
		for _, r := range t.Rows {
			n := slices.IndexFunc(t.Columns, func(c struct{ Name string }) bool { return c.Name == column })
			if t.Name == table && r.Name == row && n >= 0 && n < len(r.Values) {
				return r.Values[n], len(r.Values[n]) > 0
			}
		}
	}
	return nil, false
}

// Sessions on two issuers, each refresh thrice at once: nobody is logged out, nothing
// forks, and what was revoked stays so.
func TestLoadtestIssue(t *testing.T) {
	o := measured(t, "issue", "--issuers", "2", "--users", "8", "--sessions", "60", "--contention", "3",
		"--mix", "logins=1,refreshes=5,revocations=1", "--rate", "20,30", "--warm-up", "100ms", "--duration", "1s", "--timeout", "9s")
	if len(o.Objectives) != 5 || len(o.Plots) != 2 {
		t.Errorf("%+v, %+v", o.Objectives, o.Plots)
	}
	for _, op := range []string{"logins", "refreshes", "revocations"} {
		if _, ok := o.at("operations", op+" at 30/s", "p99"); !ok {
			t.Errorf("no %s", op)
		}
	}
	rotated, _ := o.at("issuers", "30/s", "rotated")
	concurrent, _ := o.at("issuers", "30/s", "concurrent")
	if len(rotated) != 1 || rotated[0] == 0 || concurrent[0] != 2*rotated[0] {
		t.Errorf("rotated %v, concurrent %v", rotated, concurrent)
	}
	for _, request := range []string{"login", "refresh", "refresh or replay", "revocation", "refused refresh"} {
		if cpu, ok := o.at("cost of one request", request, "issuers"); !ok || cpu[0] < 0 {
			t.Errorf("%s costs %v", request, cpu)
		}
	}
}

// At issuers that run already no session is left behind, neither by an operator nor by the
// apps themselves, nor when the run is interrupted.
func TestLoadtestIssueElsewhere(t *testing.T) {
	s := start(t, 0)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(stack.AlicePassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	there := []string{
		"issue", "--url", s.Issuer().URL(), "--client", stack.MobileClient, "--user", stack.Alice, "--password-file", password,
		"--sessions", "20", "--rate", "20", "--warm-up", "0s", "--timeout", "9s",
	}
	operator := []string{"--admin-url", s.Issuer().AdminURL(), "--admin-token-file", s.Dir().AdminToken()}
	quick := []string{"--duration", "500ms"}
	measured(t, slices.Concat(there, operator, quick)...)
	o := measured(t, slices.Concat(there, quick)...)
	if _, ok := o.at("cost of one request", "revocation", "issuers"); ok {
		t.Error("the cost at another's issuer is known")
	}
	_, said, err := loadtest(t, "loadtest:   5s of", slices.Concat(there, []string{"--duration", "4m"})...)
	if err == nil || !strings.Contains(said, "loadtest: interrupted") {
		t.Errorf("%v\n%s", err, said)
	}
	mine := login(t, s.Issuer(), nil)
	var list struct{ Sessions []struct{ SID string } }
	a := do(t, http.MethodGet, s.Issuer().URL()+"/v1/sessions", "", mine.Access, "")
	if err := json.Unmarshal(a.body, &list); err != nil || len(list.Sessions) != 1 || list.Sessions[0].SID != mine.Session {
		t.Errorf("%v: %s", err, a)
	}
}
