package app_test

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/services/internal/oauth"
)

// A log-out is a revocation of the provider's own, durable and under its name: of the
// session where one is named, else of the user's sessions up to the token's time.
func TestLogoutsAreRevocations(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t)
	i := start(t, configured(t, t.TempDir(), "--mode", "control", "--provider", p.rule("")))
	at := time.Now().Add(-30 * time.Second).Truncate(time.Second)
	loggedOut(t, "sid", i.logOut(t, p.token("one", nil, nil)))
	loggedOut(t, "both", i.logOut(t, p.token("two", nil, members{"sub": "bert"})))
	loggedOut(t, "sub", i.logOut(t, p.token("", nil, members{"sid": nil, "sub": "anna", "iat": at.Unix()})))
	for _, want := range []struct{ kind, target, reason string }{
		{"session", "one", "logout"}, {"session", "two", "logout"}, {"subject", "anna", "logout_everywhere"},
	} {
		list := i.revokedOf(t, want.kind, want.target)
		if len(list) != 1 || list[0].Issuer != p.URL || list[0].Reason != want.reason || list[0].By != "provider" || list[0].Operator != p.URL {
			t.Errorf("%+v: %+v", want, list)
		}
		if len(list) == 1 && want.kind == "subject" && !list[0].CutTime.Equal(at) {
			t.Errorf("cut at %s, want the token's time %s", list[0].CutTime, at)
		}
		query := "subject=" + want.target
		if want.kind == "session" {
			query = "sid=" + want.target
		}
		eventually(t, func() error { // AUDIT follows the feed
			for _, e := range i.audited(t, query) {
				if e.By.Role == "provider" && e.By.Name == p.URL && e.Issuer == p.URL {
					return nil
				}
			}
			return errors.New("the log-out is not on record")
		})
	}
	if list := i.revokedOf(t, "subject", "bert"); len(list) != 0 {
		t.Errorf("the log-out of one session revoked its user: %+v", list)
	}
	// What was revoked in error comes back.
	i.operate(t, "DELETE", revocationsPath+"/"+i.revokedOf(t, "session", "one")[0].ID, "").want(t, 204)
	if list := i.revokedOf(t, "session", "one"); len(list) != 1 || !list[0].Lifted {
		t.Errorf("lifted: %+v", list)
	}
	if n := i.metric(t, `revocast_issuer_backchannel_logouts_total{outcome="accepted",provider="`+p.URL+`"}`); n != 3 {
		t.Errorf("%v were counted", n)
	}
}

// A provider that was not told goes on refreshing, so what an operator revokes of a session
// lasts as long as that may, by the flags, and a dry run says so; a log-out, as long as the
// tokens.
func TestForeignSessionsStayRevoked(t *testing.T) {
	t.Parallel()
	const tokens, sessions = 30 * time.Minute, 10 * time.Hour
	p := newIdentityProvider(t)
	i := start(t, configured(t, t.TempDir(), "--mode", "control", "--provider", p.rule(""),
		"--foreign-max-lifetime", tokens.String(), "--foreign-max-session", sessions.String()))
	in := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
	told := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for name, c := range map[string]struct {
		ask  []string
		want func() time.Time
	}{
		"session":       {[]string{"kind", "session", "id", "one"}, in(sessions + tokens)},
		"subject":       {[]string{"kind", "subject", "id", "anna"}, in(sessions + tokens)},
		"access tokens": {[]string{"kind", "subject", "id", "bert", "scope", "access-tokens"}, in(tokens)},
		"token":         {[]string{"kind", "token", "id", "jti"}, in(tokens)},
		"as told":       {[]string{"kind", "session", "id", "two", "expires_at", told.Format(time.RFC3339)}, func() time.Time { return told }},
	} {
		body := object(c.ask...)
		want := c.want()
		tried := decode[revoked](t, i.operate(t, "POST", revocationsPath, strings.TrimSuffix(body, "}")+`,"dry_run":true}`).want(t, 200))
		done := decode[revoked](t, i.operate(t, "POST", revocationsPath, body).want(t, 201))
		list := i.revokedOf(t, c.ask[1], c.ask[3])
		if len(list) != 1 {
			t.Fatalf("%s: %+v", name, list)
		}
		for answer, until := range map[string]time.Time{"dry run": tried.ExpiresAt, "answer": done.ExpiresAt, "list": list[0].ExpiresAt} {
			if late := until.Sub(want); late < -time.Second || late > 10*time.Minute {
				t.Errorf("%s: the %s has it end %s after %s", name, answer, late, want)
			}
		}
	}
	loggedOut(t, "of a session", i.logOut(t, p.token("three", nil, nil)))
	if list := i.revokedOf(t, "session", "three"); len(list) != 1 || time.Until(list[0].ExpiresAt) > tokens+10*time.Minute {
		t.Errorf("logged out: %+v", list)
	}
}

// A token counts once: of many copies sent to two issuers one is obeyed, and none after
// the issuer that obeyed has been started anew. A jti that comes with another session
// is the same token as far as that goes.
func TestLogoutsAreNotRepeated(t *testing.T) {
	t.Parallel()
	p, other := newIdentityProvider(t), newIdentityProvider(t)
	flags := []string{"--mode", "control", "--provider", p.rule(""), "--provider", other.rule("")}
	cfg := configured(t, t.TempDir(), flags...)
	a := start(t, cfg)
	b := start(t, joining(configured(t, t.TempDir(), append(flags, "--issuer", cfg.Issuer)...), cfg))
	token := p.token("one", nil, members{"jti": "the jti"})
	statuses := make(chan int, 16)
	var sending sync.WaitGroup
	for n := range cap(statuses) {
		sending.Go(func() {
			got, err := send(request{method: "POST", url: []*issuer{a, b}[n%2].public + logoutPath, contentType: formType, body: form("logout_token", token)})
			if err != nil {
				t.Error(err)
			}
			statuses <- got.status
		})
	}
	sending.Wait()
	close(statuses)
	count := map[int]int{}
	for status := range statuses {
		count[status]++
	}
	if count[http.StatusOK] != 1 || count[http.StatusBadRequest] != 15 {
		t.Errorf("answers: %v, want 200 once and 400 else", count)
	}
	if list := a.revokedOf(t, "session", "one"); len(list) != 1 {
		t.Errorf("revoked: %+v", list)
	}
	again := func(i *issuer) {
		t.Helper()
		isOAuthError(t, "again", i.logOut(t, token), 400, oauth.InvalidRequest)
		isOAuthError(t, "for another session", i.logOut(t, p.token("two", nil, members{"jti": "the jti"})), 400, oauth.InvalidRequest)
	}
	again(a)
	again(b)
	loggedOut(t, "another provider's of the same jti", b.logOut(t, other.token("one", nil, members{"jti": "the jti"})))
	// The broker is in the process of the first.
	if err := errors.Join(b.stop(), a.stop()); err != nil {
		t.Fatal(err)
	}
	again(start(t, cfg))
}

// Keys follow each other: a token of a new key is taken as soon as it is published, and
// one of a key that is published no longer is not, once that has been seen.
func TestProviderReplacesItsKey(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t)
	i := start(t, configured(t, t.TempDir(), "--mode", "control", "--provider", p.rule("")))
	loggedOut(t, "the first key", i.logOut(t, p.token("one", nil, nil)))
	old := p.token("two", nil, nil)
	p.rotate(t, true)
	loggedOut(t, "the next key", i.logOut(t, p.token("three", nil, nil)))
	isOAuthError(t, "the withdrawn key", i.logOut(t, old), 400, oauth.InvalidRequest)

	// Whoever invents keys makes nobody ask for them more often.
	p.mu.Lock()
	before := p.asked
	p.mu.Unlock()
	began := time.Now()
	var sending sync.WaitGroup
	for n := range 32 {
		sending.Go(func() {
			isOAuthError(t, "a key that nobody has", i.logOut(t, p.token("four", members{"kid": strconv.Itoa(n)}, nil)), 400, oauth.InvalidRequest)
		})
	}
	sending.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if most := 2 + int(time.Since(began)/(2*time.Second)); p.asked-before > most {
		t.Errorf("asked for keys %d times, at most %d", p.asked-before, most)
	}
}

func isTryAgain(t *testing.T, where string, got reply) {
	t.Helper()
	isOAuthError(t, where, got, 503, oauth.TemporarilyUnavailable)
	if n, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || n < 1 {
		t.Errorf("%s: Retry-After %q", where, got.header.Get("Retry-After"))
	}
}

// While a provider's keys cannot be had its tokens are neither taken nor refused; those
// of keys that are known are taken. The same token counts when the provider is back.
func TestProviderIsDown(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t)
	p.breakDown(true)
	i := start(t, configured(t, t.TempDir(), "--mode", "control", "--provider", p.rule("")))
	first := p.token("one", nil, nil)
	isTryAgain(t, "no keys yet", i.logOut(t, first))
	p.breakDown(false)
	eventually(t, func() error {
		if got := i.logOut(t, first); got.status != http.StatusOK {
			return errors.New(got.body)
		}
		return nil
	})
	p.breakDown(true)
	loggedOut(t, "a key that is known", i.logOut(t, p.token("two", nil, nil)))
	p.rotate(t, false)
	isTryAgain(t, "a key that is not", i.logOut(t, p.token("three", nil, nil)))
	if list := i.listRevocations(t, "").Revocations; len(list) != 2 {
		t.Errorf("revoked: %+v", list)
	}
}

// What cannot be recorded is 503, and counts when it is sent again.
func TestLogoutWithoutABroker(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t)
	s := eventstest.RunServer(t)
	i := start(t, controlOn(t, s, "--provider", p.rule("")))
	loggedOut(t, "before", i.logOut(t, p.token("one", nil, nil)))
	s.Stop()
	i.waitFor(t, 503)
	token := p.token("two", nil, nil)
	isTryAgain(t, "without a broker", i.logOut(t, token))
	s.Start(t)
	i.waitFor(t, 200)
	loggedOut(t, "again", i.logOut(t, token))
	isOAuthError(t, "once more", i.logOut(t, token), 400, oauth.InvalidRequest)
}

// Providers may log out in full mode as well, and never our own users.
func TestLogoutsInFullMode(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t)
	i := start(t, configure(t, t.TempDir(), "--provider", p.rule("")))
	mine := i.login(t)
	sub := pair{a: i, b: i}.subject(t, mine)
	loggedOut(t, "our session's id", i.logOut(t, p.token(mine.Session, nil, nil)))
	loggedOut(t, "our user's", i.logOut(t, p.token("", nil, members{"sid": nil, "sub": sub})))
	i.call(t, "GET", "/v1/session", mine.Access).want(t, 200)
	i.refresh(t, mine.Refresh, mobile).want(t, 200)
	isOAuthError(t, "in our own name", i.logOut(t, p.token(mine.Session, nil, members{"iss": i.Issuer})), 400, oauth.InvalidRequest)
}
