package app_test

import (
	"net/url"
	"strings"
	"testing"
)

// oneUser is what operators see of one.
type oneUser struct {
	Sub, Username, Status string
	Roles                 []string
	Version               uint64
}

func (p pair) makeUser(t *testing.T, name string) string {
	t.Helper()
	made := p.a.operate(t, "POST", "/admin/v1/users", object("username", name, "password", "long-enough")).want(t, 201)
	return decode[oneUser](t, made).Sub
}

// What a change of a user must not say.
func (p pair) badUserChangesAreRefused(t *testing.T) {
	const nobody = "/admin/v1/users/nobody"
	user := "/admin/v1/users/" + p.subject(t, p.a.login(t))
	for name, c := range map[string]struct {
		method, path, body string
		status             int
	}{
		"no status":              {"PUT", user + "/status", `{}`, 400},
		"another status":         {"PUT", user + "/status", object("status", "deleted"), 400},
		"status in capitals":     {"PUT", user + "/status", object("status", "Disabled"), 400},
		"a member too many":      {"PUT", user + "/status", object("status", "disabled", "until", "tomorrow"), 400},
		"a long reason":          {"PUT", user + "/status", object("status", "disabled", "reason", strings.Repeat("x", 257)), 400},
		"a line break in it":     {"PUT", user + "/status", object("status", "disabled", "reason", "a\nb"), 400},
		"no body":                {"PUT", user + "/status", "", 400},
		"nobody's status":        {"PUT", nobody + "/status", object("status", "disabled"), 404},
		"everybody's status":     {"PUT", "/admin/v1/users/*/status", object("status", "disabled"), 404},
		"no roles":               {"PUT", user + "/roles", `{}`, 400},
		"null roles":             {"PUT", user + "/roles", `{"roles":null}`, 400},
		"roles in a string":      {"PUT", user + "/roles", object("roles", "admin"), 400},
		"a role with a comma":    {"PUT", user + "/roles", `{"roles":["a,b"]}`, 400},
		"an empty role":          {"PUT", user + "/roles", `{"roles":[""]}`, 400},
		"a role twice":           {"PUT", user + "/roles", `{"roles":["a","a"]}`, 400},
		"a hidden character":     {"PUT", user + "/roles", `{"roles":["a\u200b"]}`, 400},
		"many roles":             {"PUT", user + "/roles", `{"roles":["` + strings.Repeat(`a","`, 64) + `a"]}`, 400},
		"nobody's roles":         {"PUT", nobody + "/roles", `{"roles":["a"]}`, 404},
		"nobody":                 {"GET", nobody, "", 404},
		"users without a name":   {"GET", "/admin/v1/users", "", 400},
		"two names":              {"GET", "/admin/v1/users?username=alice&username=bob", "", 400},
		"an empty name":          {"GET", "/admin/v1/users?username=", "", 400},
		"a long name":            {"GET", "/admin/v1/users?username=" + strings.Repeat("x", 129), "", 400},
		"an unknown client":      {"PUT", "/admin/v1/clients/no-client/status", object("status", "disabled"), 404},
		"clients by wildcard":    {"PUT", "/admin/v1/clients/*/status", object("status", "disabled"), 404},
		"a client without a say": {"PUT", "/admin/v1/clients/mobile/status", `{}`, 400},
		"a user to be deleted":   {"DELETE", user, "", 405},
	} {
		isProblem(t, name, p.b.operate(t, c.method, c.path, c.body), c.status)
	}
}

// R22, R27: operators find a user, change the roles, disable and enable them; what they
// see never has the password's hash in it.
func (p pair) operatorsChangeUsers(t *testing.T) {
	sub := p.makeUser(t, "grace hopper")
	found := p.b.operate(t, "GET", "/admin/v1/users?"+url.Values{"username": {"grace hopper"}}.Encode(), "").want(t, 200)
	list := decode[struct{ Users []oneUser }](t, found)
	if len(list.Users) != 1 || list.Users[0].Sub != sub || list.Users[0].Status != "enabled" || list.Users[0].Version != 1 {
		t.Fatalf("found %s", found.body)
	}
	if got := p.b.operate(t, "GET", "/admin/v1/users?username=Grace%20Hopper", "").want(t, 200); strings.TrimSpace(got.body) != `{"users":[]}` {
		t.Errorf("another name found %s", got.body)
	}
	user := "/admin/v1/users/" + sub
	mine := p.a.login(t, "username", "grace hopper", "password", "long-enough")

	changed := p.b.operate(t, "PUT", user+"/roles", `{"roles":["admiral"]}`).want(t, 200)
	if got := decode[oneUser](t, changed); len(got.Roles) != 1 || got.Roles[0] != "admiral" || got.Version != 1 {
		t.Errorf("changed to %s", changed.body)
	}
	refuses(t, "a token with old roles", p.a.call(t, "GET", "/v1/session", mine.Access))
	next := decode[tokens](t, p.a.refresh(t, mine.Refresh, mobile).want(t, 200))
	who := p.b.call(t, "GET", "/v1/session", next.Access).want(t, 200)
	if got := decode[struct {
		SID   string
		Roles []string
	}](t, who); got.SID != mine.Session || len(got.Roles) != 1 || got.Roles[0] != "admiral" {
		t.Errorf("after the change: %s", who.body)
	}

	for range 2 {
		disabled := p.a.operate(t, "PUT", user+"/status", object("status", "disabled", "reason", "fraud")).want(t, 200)
		if got := decode[oneUser](t, disabled); got.Status != "disabled" || got.Version != 2 {
			t.Errorf("disabled: %s", disabled.body)
		}
	}
	refuses(t, "a disabled user's token", p.b.call(t, "GET", "/v1/session", next.Access))
	invalid := p.b.refresh(t, next.Refresh, mobile).want(t, 400)
	if code := decode[struct{ Error string }](t, invalid).Error; code != "invalid_grant" {
		t.Errorf("a disabled user's refresh: %s", invalid.body)
	}
	right := p.b.postJSON(t, "/v1/login", "username", "grace hopper", "password", "long-enough", "client_id", mobile)
	wrong := p.b.postJSON(t, "/v1/login", "username", "grace hopper", "password", "wrong-enough", "client_id", mobile)
	if right.status != 401 || right.body != wrong.body {
		t.Errorf("the right password: %d %s, a wrong one: %d %s", right.status, right.body, wrong.status, wrong.body)
	}

	// A reset does not enable.
	p.a.operate(t, "PUT", user+"/password", object("password", "long-enough-2")).want(t, 204)
	p.b.postJSON(t, "/v1/login", "username", "grace hopper", "password", "long-enough-2", "client_id", mobile).want(t, 401)
	p.b.operate(t, "PUT", user+"/status", object("status", "enabled")).want(t, 200)
	p.a.refresh(t, next.Refresh, mobile).want(t, 400)
	p.a.login(t, "username", "grace hopper", "password", "long-enough-2")
	seen := p.a.operate(t, "GET", user, "").want(t, 200)
	if got := decode[oneUser](t, seen); got.Status != "enabled" || got.Version != 3 || got.Roles[0] != "admiral" || strings.Contains(seen.body, "argon") {
		t.Errorf("in the end: %s", seen.body)
	}
}

// R22: operators list clients and disable one; it is told so, and others are not.
func (p pair) operatorsDisableClients(t *testing.T) {
	type list struct {
		Clients []struct {
			ClientID     string `json:"client_id"`
			Type, Status string
			Reason, By   string
		}
	}
	mine, other := p.a.login(t, "client_id", tablet), p.a.login(t)
	done := p.b.operate(t, "PUT", "/admin/v1/clients/tablet/status", object("status", "disabled", "reason", "leaked_build")).want(t, 200)
	got := p.a.operate(t, "GET", "/admin/v1/clients", "").want(t, 200)
	for _, c := range decode[list](t, got).Clients {
		status := "enabled"
		if c.ClientID == tablet {
			status = "disabled"
			if c.Type != "public" || c.Reason != "leaked_build" || c.By == "" {
				t.Errorf("listed as %+v, changed to %s", c, done.body)
			}
		}
		if c.Status != status {
			t.Errorf("%s is %s", c.ClientID, c.Status)
		}
	}
	if strings.Contains(got.body, "sha256") || !strings.Contains(got.body, backend) {
		t.Errorf("the list: %s", got.body)
	}
	for _, word := range []string{alicePassword, "wrong-enough"} {
		isProblem(t, "a disabled client's login", p.a.postJSON(t, "/v1/login", "username", alice, "password", word, "client_id", tablet), 403)
	}
	refuses(t, "a disabled client's token", p.b.call(t, "GET", "/v1/session", mine.Access))
	refused := p.b.refresh(t, mine.Refresh, tablet).want(t, 400)
	if code := decode[struct{ Error string }](t, refused).Error; code != "invalid_grant" {
		t.Errorf("a disabled client's refresh: %s", refused.body)
	}
	p.a.call(t, "GET", "/v1/session", other.Access).want(t, 200)

	p.a.operate(t, "PUT", "/admin/v1/clients/tablet/status", object("status", "enabled")).want(t, 200)
	p.b.refresh(t, mine.Refresh, tablet).want(t, 400)
	p.b.call(t, "GET", "/v1/session", p.a.login(t, "client_id", tablet).Access).want(t, 200)
}
