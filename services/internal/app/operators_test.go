package app_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/audit"
)

// office is two issuers of one realm and operators of every role.
type office struct {
	pair

	// tokens by role; root is the first operator's.
	root, viewer, support, administrator string
}

func newOffice(t *testing.T) office {
	t.Helper()
	a := start(t, configure(t, t.TempDir(), "--audit-max-age", "10000h"))
	o := office{pair: pair{a: a, b: start(t, replica(t, a.Config))}}
	o.root = a.operatorToken(t)
	o.viewer = o.hire(t, "vera", "viewer")
	o.support = o.hire(t, "sam", "support")
	o.administrator = o.hire(t, "ada", "operator")
	return o
}

// hire adds an operator on the first issuer.
func (o office) hire(t *testing.T, name, role string) string {
	t.Helper()
	got := o.ask(t, o.a, o.root, "POST", operatorsPath, object("name", name, "role", role, "expires_in", "1h")).want(t, 201)
	made := decode[struct{ Name, Role, Token string }](t, got)
	if made.Name != name || made.Role != role || !strings.HasPrefix(made.Token, "rvo_") || got.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("hired %s %s: %v", made.Name, made.Role, got.header)
	}
	return made.Token
}

// ask is a request to an admin listener under a token.
func (o office) ask(t *testing.T, i *issuer, token, method, path, body string) reply {
	t.Helper()
	return must(t, request{method: method, url: i.admin + path, bearer: token, contentType: jsonType, body: body})
}

const operatorsPath, auditPath = "/admin/v1/operators", "/admin/v1/audit"

// The subtests share the two issuers and follow each other.
func TestOperators(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"roles are kept apart", o.rolesAreKeptApart},
		{"bad operators are refused", o.badOperatorsAreRefused},
		{"removed means removed", o.removedMeansRemoved},
		{"actions are on record", o.actionsAreOnRecord},
		{"the audit is read strictly", o.auditIsReadStrictly},
		{"the past is judged", o.pastIsJudged},
		{"the audit remembers as long as asked", o.auditRemembersAsLongAsAsked},
	} {
		t.Run(test.name, test.run)
	}
}

// Each role may do what it should and no more, on either issuer.
func (o office) rolesAreKeptApart(t *testing.T) {
	mine := o.a.login(t)
	sub := o.subject(t, mine)
	for _, c := range []struct {
		method, path, body      string
		viewer, support, status int
	}{
		{"GET", "/admin/v1/subjects/" + sub + "/sessions", "", 200, 200, 200},
		{"GET", auditPath + "?limit=1", "", 200, 200, 200},
		{"GET", "/admin/v1/clients", "", 200, 200, 200},
		{"GET", "/admin/v1/fleet", "", 200, 200, 200},
		{"POST", revocations, object("kind", "session", "id", mine.Session), 403, 201, 201},
		{"POST", "/admin/v1/users", object("username", "x", "password", "short"), 403, 403, 400},
		{"GET", operatorsPath, "", 403, 403, 200},
		{"POST", operatorsPath, object("name", "eve", "role", "operator", "expires_in", "1h"), 403, 403, 201},
		{"DELETE", operatorsPath + "/eve", "", 403, 403, 204},
	} {
		for _, by := range []struct {
			token string
			want  int
		}{{o.viewer, c.viewer}, {o.support, c.support}, {o.administrator, c.status}, {"", 401}, {mine.Access, 401}} {
			got := o.ask(t, o.b, by.token, c.method, c.path, c.body)
			if got.status != by.want {
				t.Errorf("%s %s: got %d, want %d: %s", c.method, c.path, got.status, by.want, got.body)
			}
			if by.want == 403 && !strings.Contains(got.header.Get("WWW-Authenticate"), `error="insufficient_scope"`) {
				t.Errorf("%s %s: challenge %q", c.method, c.path, got.header.Get("WWW-Authenticate"))
			}
		}
	}
	list := o.ask(t, o.b, o.root, "GET", operatorsPath, "").want(t, 200)
	for _, secret := range []string{o.viewer, o.support, o.administrator, o.root, "hash"} {
		if strings.Contains(list.body, secret) {
			t.Error("the list of operators shows a secret")
		}
	}
	if n := strings.Count(list.body, `"added_by":"admin"`); n != 3 || strings.Contains(list.body, "eve") {
		t.Errorf("got %s", list.body)
	}
}

func (o office) badOperatorsAreRefused(t *testing.T) {
	good := map[string]any{"name": "tom", "role": "viewer", "expires_in": "1h"}
	for name, c := range map[string]struct {
		change map[string]any
		status int
	}{
		"no name":           {map[string]any{"name": ""}, 400},
		"capitals":          {map[string]any{"name": "Tom"}, 400},
		"reserved":          {map[string]any{"name": "admin"}, 409},
		"there already":     {map[string]any{"name": "vera"}, 409},
		"no role":           {map[string]any{"role": ""}, 400},
		"another role":      {map[string]any{"role": "administrator"}, 400},
		"never expiring":    {map[string]any{"expires_in": "0s"}, 400},
		"backwards":         {map[string]any{"expires_in": "-1h"}, 400},
		"too long":          {map[string]any{"expires_in": "8785h"}, 400},
		"no time":           {map[string]any{"expires_in": "a year"}, 400},
		"a number":          {map[string]any{"expires_in": 3600}, 400},
		"a token of my own": {map[string]any{"token": "rvo_x"}, 400},
	} {
		body := map[string]any{}
		for _, m := range []map[string]any{good, c.change} {
			maps.Copy(body, m)
		}
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		isProblem(t, name, o.ask(t, o.a, o.administrator, "POST", operatorsPath, string(text)), c.status)
	}
	isProblem(t, "removing the first", o.ask(t, o.a, o.administrator, "DELETE", operatorsPath+"/admin", ""), 409)
	isProblem(t, "removing nobody", o.ask(t, o.a, o.administrator, "DELETE", operatorsPath+"/tom", ""), 404)
	made := o.ask(t, o.a, o.administrator, "POST", operatorsPath, `{"name":"card","role":"viewer","expires_in":"1h","certificate":true}`).want(t, 201)
	if strings.Contains(made.body, "token") {
		t.Errorf("an operator with a certificate got a token: %s", made.body)
	}
}

func (o office) removedMeansRemoved(t *testing.T) {
	token := o.hire(t, "brief", "support")
	o.ask(t, o.b, token, "GET", "/admin/v1/clients", "").want(t, 200)
	for range 2 { // the second time nothing is left to do
		if got := o.ask(t, o.b, o.administrator, "DELETE", operatorsPath+"/brief", ""); got.status != 204 || got.body != "" {
			t.Fatalf("got %d %s", got.status, got.body)
		}
		for _, i := range []*issuer{o.a, o.b} {
			isProblem(t, "after the removal", o.ask(t, i, token, "GET", "/admin/v1/clients", ""), 401)
		}
	}
}

// history reads all that the audit has about something, as the viewer.
func (o office) history(t *testing.T, query string) []audit.Entry {
	t.Helper()
	var list []audit.Entry
	for after := ""; ; {
		got := decode[struct {
			Events []audit.Entry
			Next   string
		}](t, o.ask(t, o.b, o.viewer, "GET", auditPath+"?"+query+after, "").want(t, 200))
		if list = append(list, got.Events...); got.Next == "" {
			return list
		}
		after = "&after=" + got.Next
	}
}

// Must-have: every action stands in the audit under the name of who did it, and
// nothing there helps anybody to get in.
func (o office) actionsAreOnRecord(t *testing.T) {
	mine := o.a.login(t, "device_name", "Alice's phone")
	next := decode[tokens](t, o.b.refresh(t, mine.Refresh, mobile).want(t, 200))
	sub := o.subject(t, mine)
	o.ask(t, o.a, o.viewer, "GET", "/admin/v1/subjects/"+sub+"/sessions", "").want(t, 200)
	o.ask(t, o.b, o.support, "POST", revocations, object("kind", "session", "id", mine.Session, "reason", "lost_phone")).want(t, 201)
	o.ask(t, o.b, o.support, "PUT", "/admin/v1/users/"+sub+"/password", object("password", alicePassword)).want(t, 204)
	o.ask(t, o.a, o.viewer, "POST", revocations, object("kind", "all")).want(t, 403)
	o.ask(t, o.a, "rvo_forged", "POST", revocations, object("kind", "all"))

	var told string
	eventually(t, func() error {
		told = ""
		for _, e := range o.history(t, "subject="+sub) {
			told += fmt.Sprintf("%s%s by %s %s reason %s from %s;", e.Type, e.Action, e.By.Role, e.By.Name, e.Reason, e.Address)
		}
		for _, e := range o.history(t, "limit=1000") {
			if e.Action == "operator.refused" {
				told += "refused " + e.By.Name + " " + e.Detail + ";"
			}
		}
		for _, want := range []string{
			"session_started by user ", "session_refreshed by client mobile ",
			"notedoperator.GET /admin/v1/subjects/{sub}/sessions by operator vera reason  from 127.0.0.1;",
			"session_revoked by operator sam reason lost_phone",
			"notedoperator.PUT /admin/v1/users/{sub}/password by operator sam reason  from 127.0.0.1;",
			"revoked by operator sam reason password_reset", "refused ",
		} {
			if !strings.Contains(told, want) {
				return errors.New("no " + want)
			}
		}
		return nil
	})
	var revoking bool
	for _, e := range o.history(t, "sid="+mine.Session) {
		revoking = revoking || e.Action == "operator.POST "+revocations && e.By.Name == "sam" && e.Session == mine.Session
	}
	if !revoking {
		t.Error("who revoked the session is not on record")
	}
	everything := o.ask(t, o.a, o.viewer, "GET", auditPath+"?limit=1000", "").want(t, 200).body
	if !strings.Contains(everything, `Alice's phone`) {
		t.Error("devices are not named")
	}
	for name, secret := range map[string]string{
		"access token": mine.Access, "refresh token": mine.Refresh, "another": next.Refresh, "password": alicePassword,
		"first operator's token": o.root, "viewer's token": o.viewer, "support's token": o.support, "forged token": "rvo_forged",
		"signature": strings.Split(mine.Access, ".")[2], "MAC": strings.Split(mine.Refresh, ".")[2],
	} {
		if strings.Contains(everything, secret) {
			t.Errorf("the audit shows the %s", name)
		}
	}
}

func (o office) auditIsReadStrictly(t *testing.T) {
	mine := o.a.login(t)
	for name, query := range map[string]string{
		"an unknown parameter": "sub=alice", "one twice": "subject=a&subject=b", "no time": "from=yesterday", "a time without zone": "to=2026-11-01T10:00:00",
		"limit 0": "limit=0", "a large limit": "limit=1001", "a negative one": "limit=-1", "a cursor": "after=x", "leading zeros": "after=007",
		"a control character": "subject=a%0Ab", "a long subject": "subject=" + strings.Repeat("x", 513), "a token": "subject=" + mine.Access,
		"a token for a jti": "at=2026-01-01T00:00:00Z&jti=" + mine.Access, "a refresh token": "sid=" + mine.Refresh,
		"no moment": "at=", "mixed": "at=2026-01-01T00:00:00Z&subject=alice",
		"a position": "at=2026-01-01T00:00:00Z&ssq=7", "an iat": "at=2026-01-01T00:00:00Z&iat=1.5", "an exp": "at=2026-01-01T00:00:00Z&exp=1e9",
	} {
		isProblem(t, name, o.ask(t, o.a, o.viewer, "GET", auditPath+"?"+query, ""), 400)
	}
	if got := o.history(t, "subject=nobody-at-all"); len(got) != 1 || got[0].By.Name != "vera" {
		t.Errorf("asking about nobody: %+v", got) // but for the question itself
	}
	isProblem(t, "without a token", o.ask(t, o.a, "", "GET", auditPath, ""), 401)
	isProblem(t, "on the public listener", must(t, request{method: "GET", url: o.a.public + auditPath, bearer: o.viewer}), 404)
}

// judge asks whether a genuine token would have passed at a moment.
func (o office) judge(t *testing.T, at time.Time, token string) audit.Verdict {
	t.Helper()
	part := strings.Split(token, ".")
	head, claims := parse(t, part[0]), parse(t, part[1])
	q := url.Values{"at": {at.Format(time.RFC3339Nano)}, "kid": {head["kid"].(string)}}
	for _, name := range []string{"iss", "jti", "sid", "sub", "client_id", "ssq", "tsq"} {
		q.Set(name, claims[name].(string))
	}
	for _, name := range []string{"iat", "exp", "auth_time"} {
		q.Set(name, fmt.Sprint(claims[name]))
	}
	return decode[audit.Verdict](t, o.ask(t, o.b, o.viewer, "GET", auditPath+"?"+q.Encode(), "").want(t, 200))
}

func (o office) pastIsJudged(t *testing.T) {
	mine := o.a.login(t, "username", bob, "password", bobPassword)
	other := o.b.login(t, "username", bob, "password", bobPassword)
	before := time.Now()
	got := o.ask(t, o.a, o.support, "POST", revocations, object("kind", "subject", "id", o.subject(t, mine), "except_session", other.Session, "reason", "stolen_laptop"))
	id := decode[struct {
		RevocationID string `json:"revocation_id"`
	}](t, got.want(t, 201)).RevocationID
	fresh := o.b.login(t, "username", bob, "password", bobPassword)
	var v audit.Verdict
	eventually(t, func() error {
		if v = o.judge(t, time.Now(), mine.Access); v.Passed || !v.Decided {
			return fmt.Errorf("got %+v", v)
		}
		return nil
	})
	if len(v.Reasons) != 1 || v.Reasons[0].RevocationID != id || v.Reasons[0].By.Name != "sam" || v.Reasons[0].Reason != "stolen_laptop" ||
		v.Reasons[0].Kind != "subject" || v.Reasons[0].ExceptSession != other.Session || v.Reasons[0].Since.Before(before) {
		t.Errorf("got %+v", v.Reasons)
	}
	if v := o.judge(t, before, mine.Access); !v.Decided || !v.Passed {
		t.Errorf("before: %+v", v)
	}
	for name, token := range map[string]string{"the session excepted": other.Access, "a later one": fresh.Access} {
		if v := o.judge(t, time.Now(), token); !v.Decided || !v.Passed || len(v.Reasons) > 0 {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if v := o.judge(t, before.Add(-time.Hour), mine.Access); !v.Decided || v.Passed || v.Lifetime == "" {
		t.Errorf("before it was issued: %+v", v)
	}
	if got := must(t, request{method: http.MethodGet, url: o.a.public + "/v1/session", bearer: mine.Access}); got.status != 401 {
		t.Errorf("it passes: %d", got.status)
	}

	if v := o.judge(t, time.Now().Add(time.Minute), fresh.Access); v.Decided || v.Passed || v.Undecided == "" {
		t.Errorf("in a minute: %+v", v)
	}

	denied := time.Now()
	o.ask(t, o.b, o.administrator, "DELETE", revocations+"/"+id, "").want(t, 204)
	eventually(t, func() error {
		if v := o.judge(t, time.Now(), mine.Access); !v.Decided || !v.Passed {
			return fmt.Errorf("after the lift: %+v", v)
		}
		told := ""
		for _, e := range o.history(t, "subject="+o.subject(t, mine)) {
			told += e.Type + e.Action + " " + e.By.Name + " " + e.RevocationID + e.Detail + ";"
		}
		if !strings.Contains(told, "lifted  "+id) || !strings.Contains(told, "operator.lifted ada revocation "+id) {
			return errors.New("not on record: " + told)
		}
		return nil
	})
	if v := o.judge(t, denied, mine.Access); !v.Decided || v.Passed {
		t.Errorf("before the lift: %+v", v)
	}
}

// The second issuer was told nothing, and has shortened nothing.
func (o office) auditRemembersAsLongAsAsked(t *testing.T) {
	conn, err := nats.Connect("nats://"+o.a.NATSListen, nats.UserCredentials(filepath.Join(o.a.CredsDir, "issuer.creds")),
		nats.CustomInboxPrefix(topology.Issuer.InboxPrefix()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), realm.AuditStream())
	if err != nil {
		t.Fatal(err)
	}
	if age := s.CachedInfo().Config.MaxAge; age != 10000*time.Hour {
		t.Errorf("the audit remembers for %s", age)
	}
}
