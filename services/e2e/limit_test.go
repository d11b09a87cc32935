package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/stack"
)

// limited is the mobile client with a limit of sessions a user.
const limited = `clients:
  - id: %s
    type: public
    grants: [refresh_token]
    first_party_login: true
    scopes: [read]
    audiences: ["%s"]
    %s
`

// threeIssuers is a stack with two more issuers.
func threeIssuers(t *testing.T, sidecars int, change ...func(*stack.Config)) (*stack.Stack, []*stack.Server) {
	t.Helper()
	s := start(t, sidecars, change...)
	issuers := []*stack.Server{s.Issuer()}
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		issuer, err := s.AddIssuer(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		issuers = append(issuers, issuer)
	}
	return s, issuers
}

// R11: two hundred logins of one user at the same moment over three issuer processes.
// At no instant that the journal knows do more sessions live than allowed.
func TestDeviceLimitOverThreeProcesses(t *testing.T) {
	for _, c := range []struct {
		policy string
		limit  int
	}{{"max_sessions: 3", 3}, {"single_session: true", 1}} {
		t.Run(c.policy, func(t *testing.T) {
			s, issuers := threeIssuers(t, 0, func(cfg *stack.Config) {
				withClients(t, cfg, fmt.Sprintf(limited, stack.MobileClient, stack.Audience, c.policy))
			})
			journal := follow(t, s)
			logins := size(60, 200)
			var in, displaced atomic.Int64
			work(logins, logins, func(i int) {
				a := logInAt(t, func() *stack.Server { return issuers[i%3] }, stack.AlicePassword)
				switch {
				case a.status == http.StatusOK:
					in.Add(1)
				case a.status == http.StatusConflict && strings.Contains(string(a.body), "ended before it could be used"):
					displaced.Add(1) // the newest logins have the room
				default:
					t.Errorf("login %d: %s", i, a)
				}
			})
			most, now, started := 0, map[events.SessionID]bool{}, 0
			for _, r := range journal() {
				switch e := r.Envelope.Event.(type) {
				case events.SessionStarted:
					now[e.Session.ID] = true
					started++
				case events.SessionRevoked:
					delete(now, e.Session.ID)
				}
				most = max(most, len(now))
			}
			if most != c.limit || len(now) != c.limit {
				t.Errorf("%d sessions lived at once and %d at the end, want %d", most, len(now), c.limit)
			}
			if started != logins || in.Load() == 0 {
				t.Errorf("%d sessions of %d logins, %d of them answered with tokens", started, logins, in.Load())
			}
			t.Logf("%d logins over 3 processes, %d displaced at once: at most %d sessions at once", logins, displaced.Load(), most)
		})
	}
}

// R9, R23: logins with the old password race its reset, over three issuer processes.
// None that was born of the old password outlives it.
func TestPasswordResetRacesLogins(t *testing.T) {
	s, issuers := threeIssuers(t, 1)
	journal := follow(t, s)
	sub := subjectOf(t, loginAt(t, s.Issuer()).Access)
	operator, err := s.AdminToken()
	if err != nil {
		t.Fatal(err)
	}
	logins := size(60, 500)
	var mu sync.Mutex
	var grants []tokens
	var refused atomic.Int64
	some := make(chan struct{})
	var changed answer
	var changing sync.WaitGroup
	changing.Go(func() {
		<-some
		changed = do(t, http.MethodPut, issuers[1].AdminURL()+"/admin/v1/users/"+sub+"/password", "application/json", operator,
			`{"password":"looking-glass-4711"}`)
	})
	body, err := json.Marshal(map[string]string{"username": stack.Alice, "password": stack.AlicePassword, "client_id": stack.MobileClient})
	if err != nil {
		t.Fatal(err)
	}
	work(logins, 48, func(i int) {
		a := insist(t, func() answer {
			return do(t, http.MethodPost, issuers[i%3].URL()+"/v1/login", "application/json", "", string(body))
		})
		switch a.status {
		case http.StatusOK:
			mu.Lock()
			if grants = append(grants, a.tokens(t)); len(grants) == logins/4 {
				close(some)
			}
			mu.Unlock()
		case http.StatusUnauthorized, http.StatusTooManyRequests:
			refused.Add(1)
		default:
			t.Errorf("login %d: %s", i, a)
		}
	})
	changing.Wait()
	if changed.status/100 != 2 {
		t.Fatalf("resetting the password: %s", changed)
	}
	if len(grants) == 0 || refused.Load() == 0 {
		t.Fatalf("%d passed and %d were refused: they did not race", len(grants), refused.Load())
	}
	for i, g := range grants {
		if a := refresh(t, issuers[i%3], g.Refresh, nil); a.status != http.StatusBadRequest {
			t.Errorf("a session of the old password: %s", a)
		}
		firstDenial(t, s.Sidecars()[0], g.Access, time.Now())
	}
	began, late := map[events.SessionID]bool{}, 0
	behind := false
	for _, r := range journal() {
		switch e := r.Envelope.Event.(type) {
		case events.PasswordChanged:
			behind = true
		case events.SessionStarted:
			if behind {
				late++
				began[e.Session.ID] = true
			}
		case events.SessionRevoked:
			delete(began, e.Session.ID)
		}
	}
	if len(began) != 0 {
		t.Errorf("%d sessions began behind the change and live", len(began))
	}
	t.Logf("%d logins with the old password: %d passed and ended with it, %d refused; %d had begun a session behind the change and were ended",
		logins, len(grants), refused.Load(), late)
}

// follow reads the journal as it is written, from now on. What it returns gives all of
// it, in order, once nothing more comes.
func follow(t *testing.T, s *stack.Stack) (all func() []events.Record) {
	t.Helper()
	js, err := jetstream.New(connect(t, s, topology.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	realm := subject.Realm(stack.Realm)
	stream, err := js.Stream(t.Context(), realm.JournalStream())
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var records []events.Record
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			m, err := messages.Next()
			if err != nil {
				return // stopped
			}
			meta, err1 := m.Metadata()
			e, err2 := codec.Decode(m.Data())
			if err1 != nil || err2 != nil {
				t.Errorf("reading the journal: %v, %v", err1, err2)
				return
			}
			mu.Lock()
			records = append(records, events.Record{
				Subject: m.Subject(), Position: events.Position{Sequence: meta.Sequence.Stream}, Time: meta.Timestamp, Envelope: e,
			})
			mu.Unlock()
		}
	})
	t.Cleanup(func() {
		messages.Stop()
		reading.Wait()
	})
	return func() []events.Record {
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var seen []events.Record
		eventually(t, time.Minute, fmt.Sprintf("message %d", info.State.LastSeq), func() bool {
			mu.Lock()
			defer mu.Unlock()
			if n := len(records); n == 0 || records[n-1].Position.Sequence < info.State.LastSeq {
				return false
			}
			seen = append(seen[:0], records...)
			return true
		})
		for i, r := range seen[1:] {
			if r.Position.Sequence <= seen[i].Position.Sequence || !strings.HasPrefix(r.Subject, "revocast.") {
				t.Fatalf("message %d follows %d", r.Position.Sequence, seen[i].Position.Sequence)
			}
		}
		return seen
	}
}
