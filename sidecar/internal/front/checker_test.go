package front_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/fronttest"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/route"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
	"github.com/revocast/revocast/sidecar/verify"
)

// stalled is a store whose reads hang.
type stalled struct {
	denylist.Store
	entered chan struct{}
	letGo   chan struct{}
}

func (s *stalled) Find(k events.Kind, i events.Issuer, name string) ([]events.Revocation, error) {
	s.entered <- struct{}{}
	<-s.letGo
	return s.Store.Find(k, i, name)
}

// A disk that hangs is 503 within the bound, which says nothing against the token.
func TestDiskThatHangs(t *testing.T) {
	store := &stalled{Store: memstore.New(), entered: make(chan struct{}, 1), letGo: make(chan struct{})}
	if err := store.Apply(denylist.Batch{Entries: []events.Revocation{
		{ID: "r-1", Kind: events.KindSession, Issuer: "https://elsewhere.example", Target: "x", Until: time.Now().Add(time.Hour)},
	}}); err != nil {
		t.Fatal(err)
	}
	rig := verifytest.NewOn(t, gate.DefaultPolicy(), store) // whose index nobody fills: every look-up asks the disk
	c, err := front.NewChecker(front.Config{Realm: "orders", Within: 50 * time.Millisecond, MaxInFlight: 1}, rig.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	ask := front.Request{Authorization: []string{"Bearer " + rig.Good(t, nil)}}
	var first sync.WaitGroup
	first.Go(func() {
		if a := c.Check(t.Context(), ask); a.Decision.Status() != 503 || a.Decision.Reason != gate.ReasonLookupFailed || a.Claims.Subject != "" {
			t.Errorf("while the disk hangs: %+v", a.Decision)
		}
	})
	<-store.entered
	first.Wait()
	close(store.letGo)
}

// Beyond the requests that may be under way there is no waiting.
func TestOverload(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	holding := holder{rig: rig, entered: make(chan struct{}), leave: make(chan struct{})}
	c, err := front.NewChecker(front.Config{Realm: "orders", Within: time.Minute, MaxInFlight: 2}, holding)
	if err != nil {
		t.Fatal(err)
	}
	ask := front.Request{Authorization: []string{"Bearer " + rig.Good(t, nil)}}
	var held sync.WaitGroup
	for range 2 {
		held.Go(func() {
			if a := c.Check(t.Context(), ask); !a.Allowed() {
				t.Errorf("held: %+v", a.Decision)
			}
		})
		<-holding.entered
	}
	a := c.Check(t.Context(), ask)
	if a.Allowed() || a.Decision.Status() != 503 || a.Decision.Reason != gate.ReasonOverloaded || a.Decision.RetryAfter() == 0 {
		t.Errorf("the third of two: %+v", a.Decision)
	}
	if a := c.Token(t.Context(), "x"); a.Decision.Reason != gate.ReasonOverloaded {
		t.Errorf("a token beside them: %+v", a.Decision)
	}
	// What was let in is not put out because others come.
	if a := c.Again(t.Context(), ask); !a.Allowed() {
		t.Errorf("what was let in: %+v", a.Decision)
	}
	close(holding.leave)
	held.Wait()
	go func() { <-holding.entered }()
	if a := c.Check(t.Context(), ask); !a.Allowed() {
		t.Errorf("when the others have left: %+v", a.Decision)
	}
}

// holder is the rig's verifier, who takes as long as the test likes.
type holder struct {
	rig            *verifytest.Rig
	entered, leave chan struct{}
}

func (h holder) Judge(ctx context.Context, token string, ask gate.Ask) (verify.Claims, gate.Decision) {
	h.entered <- struct{}{}
	<-h.leave
	return h.rig.Verifier.Judge(ctx, token, ask)
}

func (h holder) Again(ctx context.Context, token string, ask gate.Ask) gate.Decision {
	return h.rig.Verifier.Again(ctx, token, ask)
}
func (h holder) Refuse(o gate.Outcome) gate.Decision { return h.rig.Verifier.Refuse(o) }
func (h holder) Waive() gate.Decision                { return h.rig.Verifier.Waive() }

// What lasts is judged as if it came now, by the same rules, and counted once.
func TestAgain(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	c := rig.Checker(t, route.Rule{Match: []string{"/admin/"}, Ask: gate.Ask{Roles: []string{"root"}}})
	good := []string{"Bearer " + rig.Good(t, nil)}
	judge := func(status int, r front.Request) {
		t.Helper()
		once, again := c.Check(t.Context(), r), c.Again(t.Context(), r)
		if once.Decision.Status() != status || again.Decision != once.Decision || again.Claims.Subject != "" || !slices.Equal(again.Refusal(), once.Refusal()) {
			t.Errorf("%+v, and again %+v, want %d", once.Decision, again.Decision, status)
		}
	}
	here := front.Request{Method: "GET", Host: "a", Target: "/", Authorization: good}
	judge(200, here)
	judge(403, front.Request{Method: "GET", Host: "a", Target: "/admin/", Authorization: good})
	judge(400, front.Request{Method: "GET", Host: "a", Target: "/../", Authorization: good})
	rig.Revoke(t, events.KindSession, "sid-1", time.Now().Add(time.Hour))
	judge(401, here)
	counted := 0
	families, err := rig.Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "revocast_sidecar_decisions_total" && m.GetLabel()[0].GetValue() == "good" {
				counted += int(m.GetCounter().GetValue())
			}
		}
	}
	if counted != 1 {
		t.Errorf("%d good decisions are counted, want 1", counted)
	}
}

func TestNewChecker(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	_, err := front.NewChecker(front.Config{Realm: "a\r\nSet-Cookie: x"}, rig.Verifier)
	if err == nil {
		t.Fatal("a checker of faults")
	}
	for _, want := range []string{"realm", "bound of an answer", "under way"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name the %s", err, want)
		}
	}
}

func TestIsIdentity(t *testing.T) {
	for name, want := range map[string]bool{
		"X-Auth-Subject": true, "x-auth-subject": true, "X_Auth_Subject": true, "x_AUTH-roles": true, "X-Auth-": true, "X-Auth-Anything": true,
		"X.Auth.Subject": true, "X-Auth.Subject": true, "x.auth_subject": true, "X!Auth#Roles": true, "X~auth`subject": true,
		"X-Auth": false, "XxAuth-Subject": false, "X0Auth-Subject": false, "X--Auth-Subject": false, "Authorization": false, "X-Authority": false, "": false, "X-Author-Name": false,
	} {
		if front.IsIdentity(name) != want {
			t.Errorf("%q: want %t", name, want)
		}
	}
}

// Whatever may stand in a name besides letters and digits (RFC 9110 section 5.6.2) may be
// read as a hyphen, and nothing else.
func TestBegins(t *testing.T) {
	for c := range 256 {
		name := "x" + string([]byte{byte(c)}) + "AUTH-subject"
		letter := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if front.IsIdentity(name) == letter {
			t.Errorf("%q: identity %t", name, !letter)
		}
	}
	var found bool
	n := testing.AllocsPerRun(100, func() {
		found = front.IsIdentity("Accept-Encoding") || !front.IsIdentity("X.Auth.Subject") || !front.IsOverride("X-Http-Method")
	})
	if n != 0 || found {
		t.Errorf("%v allocations", n)
	}
}

func TestIsOverride(t *testing.T) {
	for name, want := range map[string]bool{
		"X-Http-Method-Override": true, "x-http-method-override": true, "X.HTTP_Method!Override": true, "X-Http-Method": true, "X-Method": true, "X-Method-Override": true,
		"X-Original-Url": true, "X-Rewrite-Url": true, "X-Override-Url": true, "X-HTTP-DestinationURL": true, "X_Original_Uri": true, "X-Original-Method": true,
		"X-Methods": false, "X-Http": false, "": false, "Method": false, "X-Forwarded-For": false, "X-Original-Host": false,
	} {
		if front.IsOverride(name) != want {
			t.Errorf("%q: want %t", name, want)
		}
	}
}

// The checker refuses by itself what it is told, also what no transport would carry.
func TestAttacks(t *testing.T) { fronttest.Attacks(t, fronttest.Direct) }
