package adminapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/operators"
	"github.com/revocast/revocast/services/internal/remote"
)

const rootToken = "the-first-operators-token"

// ledger keeps what is put on record, or breaks.
type ledger struct {
	mu     sync.Mutex
	broken error
	order  []string
	notes  []events.Note
}

func (l *ledger) Note(_ context.Context, subject string, e events.Envelope) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	noted, ok := e.Event.(events.Noted)
	if !ok || subject == "" || e.ID == "" {
		return fmt.Errorf("unexpected %+v at %q", e, subject)
	}
	l.order, l.notes = append(l.order, "noted"), append(l.notes, noted.Note)
	return nil
}

// refusals keeps what is noted of refusals.
type refusals struct{ taken []events.Note }

func (r *refusals) Note(n events.Note) { r.taken = append(r.taken, n) }

// desk is an API with the first operator alone and two endpoints.
type desk struct {
	*ledger

	refusals refusals
	handler  http.Handler
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{ledger: &ledger{}}
	a := API{
		Log:     zap.NewNop(),
		Auditor: NewAuditor("test", own, d.ledger, &d.refusals, time.Now),
		// The first operator is known without the journal, and nobody else asked for.
		Authenticator: operators.New(operators.Config{Realm: "test", Bootstrap: sha256.Sum256([]byte(rootToken))}, nil),
	}
	mux := http.NewServeMux()
	act := func(w http.ResponseWriter, _ *http.Request, by events.Initiator) error {
		d.order = append(d.order, "done by "+by.Name)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	for _, pattern := range []string{"POST /admin/v1/revocations", "GET /admin/v1/subjects/{sub}/sessions", "GET /admin/v1/clients"} {
		mux.HandleFunc(pattern, a.handle(Viewer, act))
	}
	mux.HandleFunc("POST /admin/v1/more", a.handle(Administrator+1, act))
	d.handler = remote.Proxies{}.Handler(mux)
	return d
}

func (d *desk) call(t *testing.T, method, path, token, address string) int {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	r.RemoteAddr = address
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	return w.Code
}

func TestNothingIsDoneOffTheRecord(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct{ method, path, action string }{
		{"POST", "/admin/v1/revocations", "operator.POST /admin/v1/revocations"},
		{"GET", "/admin/v1/subjects/alice/sessions", "operator.GET /admin/v1/subjects/{sub}/sessions"},
	} {
		d.order, d.notes = nil, nil
		if got := d.call(t, c.method, c.path, rootToken, "192.0.2.7:1"); got != 204 || strings.Join(d.order, " ") != "noted done by admin" {
			t.Errorf("%s: %d after %v", c.action, got, d.order)
		}
		if n := d.notes[0]; string(n.Action) != c.action || n.By.Name != operators.Bootstrap || n.By.Role != "operator" || n.Address != "192.0.2.7" {
			t.Errorf("%s: noted %+v", c.action, n)
		}
		d.order, d.broken = nil, errors.New("AUDIT is away")
		if got := d.call(t, c.method, c.path, rootToken, "192.0.2.7:1"); got != 503 || len(d.order) > 0 {
			t.Errorf("%s: off the record: %d after %v", c.action, got, d.order)
		}
		d.broken = nil
	}
	d.order = nil
	if got := d.call(t, "GET", "/admin/v1/clients", rootToken, "192.0.2.7:1"); got != 204 || strings.Join(d.order, " ") != "done by admin" {
		t.Errorf("what is about nobody: %d after %v", got, d.order)
	}
}

// Refusals are on record, but so that nobody fills it.
func TestRefusalsAreNotedNowAndThen(t *testing.T) {
	d := newDesk(t)
	for range 50 {
		if got := d.call(t, "POST", "/admin/v1/revocations", "wrong", "192.0.2.7:1"); got != 401 {
			t.Fatalf("got %d", got)
		}
		if got := d.call(t, "POST", "/admin/v1/revocations", "", "[2001:db8::7]:1"); got != 401 {
			t.Fatalf("got %d", got)
		}
		d.call(t, "POST", "/admin/v1/revocations", "", "[2001:db8::8]:1")
	}
	if got := d.call(t, "POST", "/admin/v1/more", rootToken, "192.0.2.8:1"); got != 403 {
		t.Fatalf("got %d", got)
	}
	if len(d.order) > 0 {
		t.Fatalf("refused, and yet %v", d.order)
	}
	want := []events.Note{
		{Address: "192.0.2.7", Detail: "Unauthorized: POST /admin/v1/revocations"},
		{Address: "2001:db8::7", Detail: "Unauthorized: POST /admin/v1/revocations"},
		{Address: "192.0.2.8", Detail: "Forbidden: POST /admin/v1/more", By: events.Initiator{Name: operators.Bootstrap}},
	}
	if len(d.refusals.taken) != len(want) {
		t.Fatalf("noted %+v", d.refusals.taken)
	}
	for i, n := range d.refusals.taken {
		want[i].Action, want[i].By.Role, want[i].Issuer = "operator.refused", "operator", own
		if n != want[i] {
			t.Errorf("got %+v, want %+v", n, want[i])
		}
	}
	began := time.Now()
	for i := range 1000 {
		d.call(t, "POST", "/admin/v1/revocations", "wrong", fmt.Sprintf("10.0.%d.%d:1", i/250, i%250))
	}
	// The bucket fills again meanwhile.
	atMost := notedInAll + 1 + int(time.Since(began)*notedInAll/time.Minute)
	if n := len(d.refusals.taken); n < notedInAll || n > atMost {
		t.Errorf("%d refusals were noted, want %d to %d", n, notedInAll, atMost)
	}
	// An answer that is no refusal of somebody is none.
	d = newDesk(t)
	if got := d.call(t, "POST", "/admin/v1/revocations?access_token=x", rootToken, "192.0.2.7:1"); got != 400 || len(d.refusals.taken) > 0 {
		t.Errorf("got %d, noted %+v", got, d.refusals.taken)
	}
}
