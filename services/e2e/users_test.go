package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/stack"
)

// operate asks as operator.
func operate(t *testing.T, s *stack.Stack, issuer *stack.Server, method, path, body string) answer {
	t.Helper()
	operator, err := s.AdminToken()
	if err != nil {
		t.Fatal(err)
	}
	return do(t, method, issuer.AdminURL()+path, "application/json", operator, body)
}

func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("got %s, want %d", a, status)
	}
	return a
}

const devicesPassword = "three-devices-42"

// makeUser makes a user and gives the sub.
func makeUser(t *testing.T, s *stack.Stack, name string, roles ...string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"username": name, "password": devicesPassword, "roles": roles})
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ Sub string }
	a := operate(t, s, s.Issuer(), http.MethodPost, "/admin/v1/users", string(body)).want(t, http.StatusCreated)
	if err := json.Unmarshal(a.body, &made); err != nil || made.Sub == "" {
		t.Fatalf("made %s (%v)", a, err)
	}
	return made.Sub
}

func loginAs(t *testing.T, issuer *stack.Server, name string) tokens {
	t.Helper()
	return login(t, issuer, map[string]string{"username": name, "password": devicesPassword})
}

// ended wants a session to be over, at the sidecar and at the issuer.
func ended(t *testing.T, s *stack.Stack, sidecar *stack.Server, of tokens) {
	t.Helper()
	firstDenial(t, sidecar, of.Access, time.Now())
	denies(t, sidecar, of.Access)
	if a := refresh(t, s.Issuer(), of.Refresh, nil); a.status != http.StatusBadRequest || !strings.Contains(string(a.body), "invalid_grant") {
		t.Errorf("refreshing gave %s", a)
	}
}

// R8, R9, R19, R22, R23: three devices, and every way to end their sessions: exactly
// those that are meant end, at once at the sidecar, and doing it twice is no error.
func TestThreeDevices(t *testing.T) {
	s := start(t, 1)
	sidecar := s.Sidecars()[0]
	const phone, laptop, tablet = 0, 1, 2
	self := func(method, path, body string) func(*testing.T, string, []tokens) {
		return func(t *testing.T, _ string, devices []tokens) {
			contentType := ""
			if body != "" {
				contentType = "application/json"
			}
			path := strings.ReplaceAll(path, "{laptop}", devices[laptop].Session)
			do(t, method, s.Issuer().URL()+path, contentType, devices[phone].Access, body).want(t, http.StatusNoContent)
		}
	}
	operator := func(method, path, body string, status int) func(*testing.T, string, []tokens) {
		return func(t *testing.T, sub string, devices []tokens) {
			fill := strings.NewReplacer("{sub}", sub, "{phone}", devices[phone].Session, "{laptop}", devices[laptop].Session)
			operate(t, s, s.Issuer(), method, fill.Replace(path), fill.Replace(body)).want(t, status)
		}
	}
	revocation := func(body string) func(*testing.T, string, []tokens) {
		return operator(http.MethodPost, "/admin/v1/revocations", body, http.StatusCreated)
	}
	change := fmt.Sprintf(`{"current_password":%q,"new_password":"through-the-looking-glass"}`, devicesPassword)
	for i, c := range []struct {
		name  string
		do    func(t *testing.T, sub string, devices []tokens)
		ends  []int
		twice bool
	}{
		{"log out here", self(http.MethodDelete, "/v1/session", ""), []int{phone}, true},
		{"log out there", self(http.MethodDelete, "/v1/sessions/{laptop}", ""), []int{laptop}, true},
		{"log out everywhere else", self(http.MethodDelete, "/v1/sessions?which=others", ""), []int{laptop, tablet}, true},
		{"log out everywhere", self(http.MethodDelete, "/v1/sessions?which=all", ""), []int{phone, laptop, tablet}, false},
		{"change the password", self(http.MethodPut, "/v1/password", change), []int{laptop, tablet}, false},
		{"an operator ends one", revocation(`{"kind":"session","id":"{laptop}"}`), []int{laptop}, true},
		{"an operator ends all but one", revocation(`{"kind":"subject","id":"{sub}","except_session":"{phone}"}`), []int{laptop, tablet}, true},
		{"an operator ends all", revocation(`{"kind":"subject","id":"{sub}"}`), []int{phone, laptop, tablet}, true},
		{"an operator resets the password", operator(http.MethodPut, "/admin/v1/users/{sub}/password", `{"password":"through-the-looking-glass"}`, http.StatusNoContent), []int{phone, laptop, tablet}, true},
		{"an operator disables the user", operator(http.MethodPut, "/admin/v1/users/{sub}/status", `{"status":"disabled"}`, http.StatusOK), []int{phone, laptop, tablet}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := fmt.Sprintf("device-user-%d", i)
			sub := makeUser(t, s, name)
			var devices []tokens
			for range 3 {
				devices = append(devices, loginAs(t, s.Issuer(), name))
			}
			bystander := login(t, s.Issuer(), nil)
			for _, d := range devices {
				passes(t, sidecar, d.Access)
			}
			c.do(t, sub, devices)
			if c.twice {
				c.do(t, sub, devices)
			}
			for n, d := range devices {
				if slices.Contains(c.ends, n) {
					ended(t, s, sidecar, d)
				}
			}
			for n, d := range devices {
				if !slices.Contains(c.ends, n) {
					passes(t, sidecar, d.Access)
					passes(t, sidecar, refresh(t, s.Issuer(), d.Refresh, nil).tokens(t).Access)
				}
			}
			passes(t, sidecar, bystander.Access)
		})
	}
}

// A disabled user gets nothing, and is not told apart from one who forgot the password.
// Enabled again, they log in anew; what was ended stays so.
func TestDisabledUserComesBackAnew(t *testing.T) {
	s := start(t, 1)
	sidecar := s.Sidecars()[0]
	sub := makeUser(t, s, "carol")
	old := loginAs(t, s.Issuer(), "carol")
	passes(t, sidecar, old.Access)
	status := func(status string) {
		t.Helper()
		operate(t, s, s.Issuer(), http.MethodPut, "/admin/v1/users/"+sub+"/status", fmt.Sprintf(`{"status":%q}`, status)).want(t, http.StatusOK)
	}
	try := func(password string) answer {
		body := fmt.Sprintf(`{"username":"carol","password":%q,"client_id":%q}`, password, stack.MobileClient)
		return do(t, http.MethodPost, s.Issuer().URL()+"/v1/login", "application/json", "", body)
	}
	status("disabled")
	ended(t, s, sidecar, old)
	if right, wrong := try(devicesPassword), try("not-the-password"); right.status != http.StatusUnauthorized || string(right.body) != string(wrong.body) {
		t.Errorf("the right password got %s, a wrong one %s", right, wrong)
	}
	status("enabled")
	ended(t, s, sidecar, old)
	fresh := loginAs(t, s.Issuer(), "carol")
	passes(t, sidecar, fresh.Access)
	passes(t, sidecar, refresh(t, s.Issuer(), fresh.Refresh, nil).tokens(t).Access)
}

// R27: a role is changed; the token with the old one is denied at once, the session
// refreshes silently, and its next token has the new one.
func TestRolesChangeSilently(t *testing.T) {
	s := start(t, 2)
	sub := makeUser(t, s, "carol", "reader")
	mine := loginAs(t, s.Issuer(), "carol")
	roles := func(sidecar *stack.Server, token, want string) {
		t.Helper()
		a := auth(t, sidecar, token)
		if a.status != http.StatusOK || a.header.Get("X-Auth-Roles") != want || a.header.Get("X-Auth-Session") != mine.Session {
			t.Errorf("%s answers %d with roles %q in session %s; want %q in %s",
				sidecar.Name, a.status, a.header.Get("X-Auth-Roles"), a.header.Get("X-Auth-Session"), want, mine.Session)
		}
	}
	for _, sidecar := range s.Sidecars() {
		roles(sidecar, mine.Access, "reader")
	}
	operate(t, s, s.Issuer(), http.MethodPut, "/admin/v1/users/"+sub+"/roles", `{"roles":["editor","approver"]}`).want(t, http.StatusOK)
	changed := time.Now()
	for _, sidecar := range s.Sidecars() {
		firstDenial(t, sidecar, mine.Access, changed)
		denies(t, sidecar, mine.Access)
	}
	next := refresh(t, s.Issuer(), mine.Refresh, nil).tokens(t)
	if next.Session != mine.Session {
		t.Errorf("refreshed into session %s, was %s", next.Session, mine.Session)
	}
	for _, sidecar := range s.Sidecars() {
		roles(sidecar, next.Access, "editor,approver")
		denies(t, sidecar, mine.Access)
	}
}

// A disabled client's tokens end with it, everybody's, and it is told that it may not
// log in. Other clients go on.
func TestDisabledClient(t *testing.T) {
	s := start(t, 1)
	sidecar := s.Sidecars()[0]
	mine := login(t, s.Issuer(), nil)
	status := func(status string) {
		t.Helper()
		path := "/admin/v1/clients/" + stack.MobileClient + "/status"
		operate(t, s, s.Issuer(), http.MethodPut, path, fmt.Sprintf(`{"status":%q}`, status)).want(t, http.StatusOK)
	}
	status("disabled")
	ended(t, s, sidecar, mine)
	body := fmt.Sprintf(`{"username":%q,"password":%q,"client_id":%q}`, stack.Alice, stack.AlicePassword, stack.MobileClient)
	do(t, http.MethodPost, s.Issuer().URL()+"/v1/login", "application/json", "", body).want(t, http.StatusForbidden)
	status("enabled")
	ended(t, s, sidecar, mine)
	passes(t, sidecar, login(t, s.Issuer(), nil).Access)
}

// Killed between a change and its announcement, the issuer announces it after the
// restart: a disabled user's token does not live out its time.
func TestKilledBetweenChangeAndDenial(t *testing.T) {
	s := start(t, 1, func(c *stack.Config) {
		c.BinDir = mixedBin(t)
		c.Env = []string{"REVOCAST_FAILPOINT=changed"}
	})
	sidecar := s.Sidecars()[0]
	sub := makeUser(t, s, "carol")
	mine := loginAs(t, s.Issuer(), "carol")
	passes(t, sidecar, mine.Access)
	answered := make(chan answer, 1)
	go func() {
		answered <- operate(t, s, s.Issuer(), http.MethodPut, "/admin/v1/users/"+sub+"/status", `{"status":"disabled"}`)
	}()
	eventually(t, 20*time.Second, "the failpoint", func() bool {
		return contains(s.Dir().Log("issuer"), "failpoint reached: changed")
	})
	passes(t, sidecar, mine.Access) // nobody has told it
	kill(t, s.Issuer())
	if a := <-answered; a.status != 0 {
		t.Fatalf("a change that was not announced was acknowledged: %s", a)
	}
	s.Issuer().Env = without(s.Issuer().Env, "REVOCAST_FAILPOINT=changed")
	up(t, s.Issuer())
	ended(t, s, sidecar, mine)
}
