package app_test

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/config"
	"github.com/revocast/revocast/services/internal/oauth"
)

// on configures an issuer on a broker of the test's.
func on(t *testing.T, s *eventstest.Server, dir string, more ...string) config.Config {
	t.Helper()
	return configure(t, dir, append([]string{"--nats-url", s.URL(), "--nats-creds", s.Credentials(topology.Issuer)}, more...)...)
}

// While the broker is away nothing is decided: every answer says "later", none says
// "no" to what may be good, and what was asked meanwhile is not done behind the
// client's back when the broker returns.
func TestBrokerOutage(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	i := start(t, on(t, s, t.TempDir()))
	mine, other := i.login(t), i.login(t)
	s.Stop()
	i.waitFor(t, 503)

	type question struct {
		name string
		request
		oauth bool
	}
	refresh := form("grant_type", "refresh_token", "refresh_token", mine.Refresh, "client_id", mobile)
	questions := []question{
		{"refresh", request{method: "POST", url: i.public + "/oauth/token", contentType: formType, body: refresh}, true},
		{"revoke a refresh token", request{method: "POST", url: i.public + "/oauth/revoke", contentType: formType, body: form("token", other.Refresh, "client_id", mobile)}, true},
		{"revoke an access token", request{method: "POST", url: i.public + "/oauth/revoke", contentType: formType, body: form("token", other.Access, "client_id", mobile)}, true},
		{"log in", request{method: "POST", url: i.public + "/v1/login", contentType: jsonType, body: object("username", alice, "password", alicePassword, "client_id", mobile)}, false},
		{"unknown user", request{method: "POST", url: i.public + "/v1/login", contentType: jsonType, body: object("username", "mallory", "password", alicePassword, "client_id", mobile)}, false},
		{"revoke everything", request{method: "POST", url: i.admin + revocations, bearer: i.operatorToken(t), contentType: jsonType, body: object("kind", "all")}, false},
	}
	for _, e := range protected {
		r := request{method: e.method, url: i.public + e.path, bearer: mine.Access}
		if e.method == "PUT" {
			r.contentType, r.body = jsonType, object("current_password", alicePassword, "new_password", "not-to-be-set-7")
		}
		questions = append(questions, question{e.method + " " + e.path, r, false})
	}
	var asked sync.WaitGroup
	for _, q := range questions {
		asked.Go(func() {
			got, err := send(q.request)
			if err != nil {
				t.Errorf("%s: %v", q.name, err)
				return
			}
			if q.oauth {
				isOAuthError(t, q.name, got, 503, oauth.TemporarilyUnavailable)
			} else {
				isProblem(t, q.name, got, 503)
			}
			if n, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || n < 1 {
				t.Errorf("%s: Retry-After %q", q.name, got.header.Get("Retry-After"))
			}
			leakless(t, q.name, got, mine.Refresh, mine.Access)
		})
	}
	asked.Wait()
	i.call(t, "GET", "/healthz", "").want(t, 200)
	i.call(t, "GET", "/.well-known/jwks.json", "").want(t, 200)
	refuses(t, "what is clearly no token", i.call(t, "GET", "/v1/session", "garbage"))
	isInvalidGrant(t, i.refresh(t, "garbage", mobile))

	s.Start(t)
	i.waitFor(t, 200)
	for _, who := range []tokens{mine, other} {
		i.call(t, "GET", "/v1/session", who.Access).want(t, 200)
		if got := i.refresh(t, who.Refresh, mobile).want(t, 200); got.header.Get(outcome) != "rotated" {
			t.Errorf("a refresh that was answered 503 happened all the same: %s", got.header.Get(outcome))
		}
	}
	isProblem(t, "log in with a password that was not set", i.postJSON(t, "/v1/login",
		"username", alice, "password", "not-to-be-set-7", "client_id", mobile), 401)
	list := decode[struct{ Sessions []any }](t, i.call(t, "GET", "/v1/sessions", mine.Access).want(t, 200))
	if len(list.Sessions) != 2 {
		t.Errorf("%d sessions, want the two that were answered", len(list.Sessions))
	}
}

// A broker that takes nobody for a while, as when its operators mix up credentials,
// is an outage like any other: the issuer is back when it is.
func TestBrokerThatRefusesCredentials(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	i := start(t, on(t, s, t.TempDir()))
	mine := i.login(t)
	_, text, err := net.SplitHostPort(strings.TrimPrefix(s.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	other, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, Username: "someone", Password: "else", NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	other.Start()
	// Twice is what the client library takes for final.
	eventually(t, func() error {
		if n := strings.Count(i.log.String(), "authorization violation"); n < 2 {
			return fmt.Errorf("refused %d times", n)
		}
		return nil
	})
	i.waitFor(t, 503)
	other.Shutdown()
	other.WaitForShutdown()
	s.Start(t)
	i.waitFor(t, 200)
	i.call(t, "GET", "/v1/session", mine.Access).want(t, 200)
}

// What an issuer has told its clients it still knows after a restart.
func TestRestart(t *testing.T) {
	t.Parallel()
	c := configure(t, t.TempDir())
	first := start(t, c)
	ended, mine := first.login(t), first.login(t)
	first.call(t, "DELETE", "/v1/session", ended.Access).want(t, 204)
	first.operate(t, "POST", "/admin/v1/users", object("username", "eve", "password", "long-enough")).want(t, 201)
	first.changePassword(t, mine, alicePassword, "looking-glass-7").want(t, 204)
	keys := first.call(t, "GET", "/.well-known/jwks.json", "").body
	operator := first.operatorToken(t)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}

	again := start(t, c)
	if again.operatorToken(t) != operator || again.call(t, "GET", "/.well-known/jwks.json", "").body != keys {
		t.Error("keys or the operator's token have changed")
	}
	again.call(t, "GET", "/v1/session", mine.Access).want(t, 200)
	refuses(t, "a session that had ended", again.call(t, "GET", "/v1/session", ended.Access))
	isInvalidGrant(t, again.refresh(t, ended.Refresh, mobile))
	again.refresh(t, mine.Refresh, mobile).want(t, 200)
	again.login(t, "username", "eve", "password", "long-enough")
	// The file of bootstrap users does not bring an old password back.
	isProblem(t, "the password of the file", again.postJSON(t, "/v1/login", "username", alice, "password", alicePassword, "client_id", mobile), 401)
	again.login(t, "password", "looking-glass-7")
}

// begin sends a login but for its last byte, and gives what sends that and reads the
// answer.
func begin(t *testing.T, i *issuer) (complete func() int) {
	t.Helper()
	conn := dial(t, i.Listen)
	body := object("username", alice, "password", alicePassword, "client_id", mobile)
	_, err := fmt.Fprintf(conn, "POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		len(body), body[:len(body)-1])
	if err != nil {
		t.Fatal(err)
	}
	return func() int { return finish(conn, body[len(body)-1:]) }
}

// An issuer that is told to end finishes the requests under way, and takes no others.
// One that never ends does not keep it.
func TestShutdown(t *testing.T) {
	t.Parallel()
	i := start(t, configure(t, t.TempDir()))
	complete, idle := begin(t, i), begin(t, i)
	// The issuer has begun to read both when it answers a third that came later.
	i.call(t, "GET", "/healthz", "").want(t, 200)
	stopped := make(chan error, 1)
	go func() { stopped <- i.stop() }()
	eventually(t, func() error {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", i.Listen)
		if err != nil {
			return nil //nolint:nilerr // what is waited for
		}
		return errors.Join(errors.New("it still accepts connections"), conn.Close())
	})
	if got := complete(); got != 200 {
		t.Errorf("the request under way: %d", got)
	}
	select {
	case err := <-stopped:
		if err != nil {
			t.Errorf("a client that hangs made the end a failure: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("a client that hangs keeps the issuer from ending")
	}
	if got := idle(); got != 0 {
		t.Errorf("the client that hung was answered %d", got)
	}
}
