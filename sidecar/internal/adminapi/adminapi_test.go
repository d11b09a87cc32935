package adminapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/adminapi"
	"github.com/revocast/revocast/sidecar/internal/front/forwardauth"
	"github.com/revocast/revocast/sidecar/internal/fsck"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/replica"
	"github.com/revocast/revocast/sidecar/internal/syncer"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

const instance = "0198f3a2-7c1e-4b3d-9a4f-0123456789ab"

type object = tokentest.Object

// noList takes in nothing, because nothing is followed.
type noList struct{}

func (noList) Apply(replica.Apply) error { return errors.ErrUnsupported }

// checker checks as long as it is told to.
type checker struct {
	entered, leave chan struct{}
	report         fsck.Report
	err            error
}

func (c *checker) Check(ctx context.Context, progress func(fsck.Progress)) (fsck.Report, error) {
	if c.entered != nil {
		close(c.entered)
		select {
		case <-c.leave:
		case <-ctx.Done():
			return fsck.Report{}, ctx.Err()
		}
	}
	progress(fsck.Progress{Round: 1, Side: "feed", Read: 7})
	return c.report, c.err
}

// listener is the admin API behind a real server on loopback, and beside it
// forward-auth with the same verifier.
type listener struct {
	*verifytest.Rig
	url     string
	checker *checker
}

func newListener(t *testing.T, policy gate.Policy) *listener {
	t.Helper()
	l := &listener{Rig: verifytest.New(t, policy), checker: &checker{}}
	follower, err := syncer.New(syncer.Config{
		Realm: "default", URL: "nats://127.0.0.1:1", ID: "a", Instance: instance, StaleAfter: 30 * time.Second,
	}, syncer.Deps{Denylist: noList{}, Entries: func() int { return 0 }, Log: zap.NewNop(), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	adminapi.New(adminapi.Parts{
		Verifier: l.Verifier, Denylist: l.Denylist, Feed: follower, Checker: l.checker, Ready: func() error { return errors.New("not today") },
		ID: "a", Instance: instance, Version: "v1.2.3", Policy: policy, Limits: adminapi.Limits{Budget: 1 << 30, Cache: 1 << 20},
	}).Register(mux)
	auth, err := forwardauth.New(forwardauth.Forwarded, l.Checker(t))
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/auth", auth)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	l.url = server.URL
	return l
}

func (l *listener) ask(t *testing.T, method, path string, header http.Header) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, l.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header.Clone()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var b strings.Builder
	buffer := make([]byte, 4096)
	for {
		n, err := answer.Body.Read(buffer)
		b.Write(buffer[:n])
		if err != nil {
			break
		}
	}
	return answer.StatusCode, b.String()
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func (l *listener) explain(t *testing.T, query string, header http.Header) (x adminapi.Explanation, body string) {
	t.Helper()
	status, body := l.ask(t, http.MethodGet, "/v1/explain"+query, header)
	if err := json.Unmarshal([]byte(body), &x); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	return x, body
}

// Whatever is asked, the explanation has the verdict that forward-auth gives.
func TestExplainsWhatTheFrontsSay(t *testing.T) {
	l := newListener(t, gate.DefaultPolicy())
	good, revoked := l.Good(t, nil), l.Good(t, object{"sid": "gone"})
	l.Revoke(t, events.KindSession, "gone", time.Now().Add(time.Hour))
	for name, c := range map[string]struct {
		query  string
		header http.Header
		reason string
	}{
		"good":            {"", bearer(good), "good"},
		"revoked":         {"", bearer(revoked), "revoked"},
		"no credentials":  {"", http.Header{}, "no_credentials"},
		"two":             {"", http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}}, "ambiguous_credentials"},
		"basic":           {"", http.Header{"Authorization": {"Basic YTpi"}}, "no_credentials"},
		"DPoP":            {"", http.Header{"Authorization": {"DPoP " + good}}, "unsupported_credentials"},
		"garbage":         {"", bearer("garbage"), "malformed"},
		"wrong audience":  {"", bearer(l.Good(t, object{"aud": "x"})), "untrusted"},
		"unknown issuer":  {"", bearer(l.Good(t, object{"iss": "https://elsewhere.example"})), "untrusted"},
		"bound":           {"", bearer(l.Good(t, object{"cnf": object{"jkt": "x"}})), "unsupported_credentials"},
		"expired":         {"", bearer(l.Issuer.Good(t, time.Now().Add(-time.Hour), nil)), "expired"},
		"premature":       {"", bearer(l.Issuer.Good(t, time.Now().Add(time.Hour), nil)), "not_yet_valid"},
		"scope":           {"?scope=delete", bearer(good), "insufficient_scope"},
		"scope it has":    {"?scope=read", bearer(good), "good"},
		"fresher":         {"?max_stale=1ns", bearer(good), "stale"},
		"unreadable":      {"?scopes=read", bearer(good), "unreadable_demand"},
		"token in query":  {"?access_token=" + good, http.Header{}, "unreadable_demand"},
		"revoked, scope":  {"?scope=delete", bearer(revoked), "revoked"},
		"revoked, staler": {"?max_stale=1ns", bearer(revoked), "revoked"},
	} {
		x, body := l.explain(t, c.query, c.header)
		front, _ := l.ask(t, http.MethodGet, "/auth"+c.query, c.header)
		if x.Reason != c.reason || x.Status != front || (x.Verdict == "allow") != (front == http.StatusOK) {
			t.Errorf("%s: explained as %s %d %s, forward-auth says %d", name, x.Verdict, x.Status, x.Reason, front)
		}
		if len(x.Because) < 10 || x.FreshAsOf == nil || x.AgeSeconds == nil || x.Policy.WhenStale != "allow" {
			t.Errorf("%s: %s", name, body)
		}
		if strings.Contains(body, good) || strings.Contains(body, strings.Split(good, ".")[2]) {
			t.Errorf("%s: the token is in the answer", name)
		}
	}
}

// An explanation is no decision: nothing is counted.
func TestExplainingIsNotCounted(t *testing.T) {
	l := newListener(t, gate.DefaultPolicy())
	l.explain(t, "", bearer(l.Good(t, nil)))
	l.explain(t, "", http.Header{})
	families, err := l.Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "revocast_sidecar_decisions_total" && m.GetCounter().GetValue() != 0 {
				t.Errorf("%s", m)
			}
		}
	}
}

// Of a token whose signature does not verify, or that no rule takes, nothing is shown:
// anyone can write into it what they like, and look up what they like by it.
func TestNothingOfAnUnverifiedToken(t *testing.T) {
	l := newListener(t, gate.DefaultPolicy())
	l.Revoke(t, events.KindSession, "s-secret", time.Now().Add(time.Hour))
	l.Revoke(t, events.KindSubject, "victim", time.Now().Add(time.Hour))
	says := object{"sub": "victim", "sid": "s-secret", "jti": "j-secret", "client_id": "c-secret"}
	good := l.Good(t, says)
	parts := strings.Split(good, ".")
	other := strings.Split(l.Good(t, nil), ".")
	for name, raw := range map[string]string{
		"another's signature": parts[0] + "." + parts[1] + "." + other[2],
		"alg none":            tokentest.Encode([]byte(`{"alg":"none","typ":"at+jwt","kid":"x"}`)) + "." + parts[1] + ".",
		"unknown key":         tokentest.Encode([]byte(`{"alg":"ES256","typ":"at+jwt","kid":"x-secret"}`)) + "." + parts[1] + "." + parts[2],
		"unknown issuer":      l.Good(t, tokentest.With(says, object{"iss": "https://x-secret.example"})),
		"wrong audience":      l.Good(t, tokentest.With(says, object{"aud": "x-secret"})),
	} {
		x, body := l.explain(t, "", bearer(raw))
		if x.Token == nil || x.Token.Verified || x.Token.Claims != nil || x.Token.Rule != nil || len(x.Kinds) != 0 || x.Token.Fault == "" {
			t.Errorf("%s: %s", name, body)
		}
		if strings.Contains(body, "secret") || strings.Contains(body, "victim") {
			t.Errorf("%s: %s", name, body)
		}
	}
	if _, body := l.explain(t, "", bearer(good)); !strings.Contains(body, "s-secret") || !strings.Contains(body, "victim") {
		t.Errorf("nothing is shown of a good token either, so the above proves nothing: %s", body)
	}
}

// A token that is only over is explained whole: why it was denied is asked afterwards.
func TestExplainsWhatIsOver(t *testing.T) {
	l := newListener(t, gate.DefaultPolicy())
	l.Revoke(t, events.KindSession, "sid-1", time.Now().Add(time.Hour))
	x, body := l.explain(t, "", bearer(l.Issuer.Good(t, time.Now().Add(-time.Hour), nil)))
	if x.Reason != "expired" || x.Token.Fault != "expired token" || !x.Token.Verified || x.Token.Claims.Session != "sid-1" || len(x.Kinds) != 6 {
		t.Fatal(body)
	}
	session := x.Kinds[events.KindSession-1]
	if session.Kind != "session" || session.ID != "sid-1" || session.Index != "hit" || len(session.Entries) != 1 || !session.Entries[0].Denies {
		t.Errorf("%+v", session)
	}
	if x.Token.Rule.Issuer != l.Issuer.ID() || x.Token.Rule.Type != "at+jwt" || len(x.Token.Rule.Audiences) != 1 {
		t.Errorf("%+v", x.Token.Rule)
	}
}

func TestStatus(t *testing.T) {
	l := newListener(t, gate.DefaultPolicy())
	l.Revoke(t, events.KindSession, "s", time.Now().Add(time.Hour))
	l.Revoke(t, events.KindClient, "c", time.Now().Add(time.Hour))
	code, body := l.ask(t, http.MethodGet, "/v1/status", http.Header{})
	var s adminapi.Status
	if err := json.Unmarshal([]byte(body), &s); err != nil || code != http.StatusOK {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	if s.ID != "a" || s.Instance != instance || s.Version != "v1.2.3" || s.Ready || s.Reason != "not today" || s.Feed.Phase != "offline" ||
		s.FreshAsOf != nil || s.AgeSeconds != nil || !s.Stale || s.Entries["narrow"] != 1 || s.Entries["client"] != 1 || s.Entries["all"] != 0 ||
		s.Store.State != "ok" || s.Store.Queued != 1 || s.Memory.DenylistBytes < s.Memory.IndexBytes || s.Memory.IndexBytes == 0 ||
		s.Memory.Budget != 1<<30 || s.Memory.CacheLimit != 1<<20 || s.Memory.OverBudget || !s.Policy.Enforce {
		t.Errorf("%s", body)
	}
	for _, name := range []string{"subject", "client", "key", "all", "lifted", "malformed", "unknown", "unsigned", "rejected"} {
		if !strings.Contains(body, `"`+name+`":`) {
			t.Errorf("no %s in %s", name, body)
		}
	}
}

// The check is told line by line; one may be under way, and none at a browser's word.
func TestFsck(t *testing.T) {
	l := newListener(t, gate.DefaultPolicy())
	l.checker.entered, l.checker.leave = make(chan struct{}), make(chan struct{})
	l.checker.report = fsck.Report{Clean: true, Rounds: 2}
	if code, _ := l.ask(t, http.MethodPost, "/v1/fsck", http.Header{"Sec-Fetch-Site": {"cross-site"}}); code != http.StatusForbidden {
		t.Errorf("from another site: %d", code)
	}
	if code, _ := l.ask(t, http.MethodGet, "/v1/fsck", http.Header{}); code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", code)
	}
	answered := make(chan string)
	go func() {
		_, body := l.ask(t, http.MethodPost, "/v1/fsck", http.Header{})
		answered <- body
	}()
	<-l.checker.entered
	if code, _ := l.ask(t, http.MethodPost, "/v1/fsck", http.Header{}); code != http.StatusConflict {
		t.Errorf("beside another: %d", code)
	}
	close(l.checker.leave)
	var last adminapi.Line
	lines := strings.Split(strings.TrimSpace(<-answered), "\n")
	for i, text := range lines {
		last = adminapi.Line{}
		if err := json.Unmarshal([]byte(text), &last); err != nil || (last.Progress == nil) != (i == len(lines)-1) {
			t.Errorf("line %d: %s, %v", i, text, err)
		}
	}
	if last.Report == nil || !last.Report.Clean || last.Report.Rounds != 2 {
		t.Errorf("the last line: %+v", last)
	}
	l.checker.entered, l.checker.err = nil, errors.New("no broker")
	if _, body := l.ask(t, http.MethodPost, "/v1/fsck", http.Header{}); !strings.Contains(body, `{"error":"no broker"}`) {
		t.Errorf("failing: %s", body)
	}
}
