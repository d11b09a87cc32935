package fleet_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/fleet"
)

const (
	realm    = eventstest.Realm
	patience = 30 * time.Second
)

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for !is() {
		select {
		case <-deadline.C:
			t.Fatalf("still not: %s", what)
		case <-poll.C:
		}
	}
}

// listen runs a fleet until the test ends.
func listen(t testing.TB, server *eventstest.Server, lifetime time.Duration) (*fleet.Fleet, *prometheus.Registry) {
	t.Helper()
	metrics := prometheus.NewRegistry()
	f, err := fleet.New(fleet.Config{Realm: realm, Lifetime: func() time.Duration { return lifetime }}, fleet.Deps{
		Conn: server.Connect(t, topology.Issuer), Log: zap.NewNop(), Metrics: metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return f, metrics
}

// sidecar answers asks for what it has, as one that follows the feed does.
type sidecar struct {
	conn *nats.Conn
	name string

	mu     sync.Mutex
	report events.Report
	mute   bool
	asks   []events.Ask
}

func join(t testing.TB, server *eventstest.Server, name string, at events.Position, epoch events.Epoch) *sidecar {
	t.Helper()
	s := &sidecar{conn: server.Connect(t, topology.Sidecar), name: name, report: events.Report{
		Sidecar: name, Instance: uuid.NewString(), State: events.StateFollowing, Epoch: epoch, Sequence: at.Sequence, Version: "test",
	}}
	if _, err := s.conn.Subscribe(realm.FleetAsk(), func(m *nats.Msg) {
		a, err := codec.DecodeAsk(m.Data)
		if err != nil {
			t.Errorf("an ask that cannot be read: %v", err)
			return
		}
		s.mu.Lock()
		s.asks = append(s.asks, a)
		s.mu.Unlock()
		s.tell(t)
	}); err != nil {
		t.Fatal(err)
	}
	s.tell(t)
	if err := s.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return s
}

// tell reports if it is not mute and has what was asked for last.
func (s *sidecar) tell(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.asks); s.mute || n > 0 && s.asks[n-1].Sequence > s.report.Sequence {
		return
	}
	body, err := codec.EncodeReport(s.report)
	if err == nil {
		err = s.conn.Publish(realm.Report(s.name), body)
	}
	if err != nil {
		t.Error(err)
	}
}

func (s *sidecar) change(t testing.TB, f func(*sidecar)) {
	t.Helper()
	s.mu.Lock()
	f(s)
	s.mu.Unlock()
	s.tell(t)
}

func (s *sidecar) reaches(t testing.TB, sequence uint64) {
	t.Helper()
	s.change(t, func(s *sidecar) { s.report.Sequence = sequence })
}

// total sums a counter, over one value of its label or all.
func total(t testing.TB, metrics *prometheus.Registry, name string, of ...string) (sum float64) {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (len(of) == 0 || m.GetLabel()[0].GetValue() == of[0]) {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// feedEpoch waits until the fleet knows the feed.
func feedEpoch(t testing.TB, f *fleet.Fleet) (events.Epoch, uint64) {
	t.Helper()
	eventually(t, "a heartbeat", func() bool { return f.Latest() > 0 })
	s := f.Members(t.Context())
	return s.Epoch, s.Latest
}

// From "nobody is known" over "some do not answer" to "everywhere", and back.
func TestConfirm(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	f, metrics := listen(t, server, time.Minute)
	epoch, at := feedEpoch(t, f)
	if e := f.Confirm(t.Context(), at, patience); e.Everywhere() || e.Incomplete == "" || e.Live != 0 {
		t.Errorf("an empty fleet: %+v", e)
	}
	a := join(t, server, "a", events.Position{Sequence: at}, epoch)
	b := join(t, server, "b", events.Position{Sequence: at}, epoch)
	eventually(t, "both", func() bool { return len(f.Members(t.Context()).Members) == 2 })
	if e := f.Confirm(t.Context(), at, patience); !e.Everywhere() || e.Live != 2 {
		t.Errorf("both are there already: %+v", e)
	}

	// One has it, the other not: it is named, and the wait ends with its time.
	next := at + 10
	f.Announced(next, time.Now())
	a.reaches(t, next)
	e := f.Confirm(t.Context(), next, 300*time.Millisecond)
	if e.Everywhere() || e.Confirmed != 1 || e.Sidecars[0].Sidecar != "b" || e.Sidecars[0].Confirmed || !e.Sidecars[1].Confirmed {
		t.Errorf("one is behind: %+v", e)
	}
	// It comes while somebody waits.
	done := make(chan fleet.Enforcement, 1)
	go func() { done <- f.Confirm(t.Context(), next, patience) }()
	eventually(t, "asked", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.asks) > 0 && b.asks[len(b.asks)-1].Sequence == next
	})
	b.reaches(t, next)
	if e := <-done; !e.Everywhere() || e.Confirmed != 2 {
		t.Errorf("the other came: %+v", e)
	}

	// A sequence of another life of the feed says nothing of this one.
	b.change(t, func(b *sidecar) { b.report.Epoch, b.report.Sequence = "another", next+100 })
	if e := f.Confirm(t.Context(), next+5, 200*time.Millisecond); e.Confirmed != 0 {
		t.Errorf("another epoch counts: %+v", e)
	}
	// Whoever says good-bye is not expected; who is mute is missing and shows as silent.
	b.change(t, func(b *sidecar) { b.report.Epoch, b.report.State = epoch, events.StateSignedOff })
	eventually(t, "one is left", func() bool { return len(f.Members(t.Context()).Members) == 1 })
	a.change(t, func(a *sidecar) { a.mute = true })
	eventually(t, "silence", func() bool {
		m := f.Members(t.Context()).Members
		return len(m) == 1 && m[0].Silent
	})
	if e := f.Confirm(t.Context(), next+1, 100*time.Millisecond); e.Everywhere() || e.Live != 1 {
		t.Errorf("a mute one: %+v", e)
	}
	if n := testutil.CollectAndCount(metrics, "revocast_fleet_sidecars"); n != 4 {
		t.Errorf("%d series of sidecars by state", n)
	}
}

// Whoever was there before this issuer is asked, and until there was time for an answer
// nothing is called enforced everywhere.
func TestNewIssuer(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	old, _ := listen(t, server, time.Minute)
	epoch, at := feedEpoch(t, old)
	s := join(t, server, "a", events.Position{Sequence: at}, epoch)
	s.change(t, func(s *sidecar) { s.mute = true }) // until it is asked by the new one
	f, _ := listen(t, server, time.Minute)
	done := make(chan fleet.Enforcement, 1)
	go func() { done <- f.Confirm(t.Context(), at, patience) }()
	eventually(t, "asked", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.asks) > 0
	})
	s.change(t, func(s *sidecar) { s.mute = false })
	if e := <-done; !e.Everywhere() || e.Live != 1 || e.WatchedSince.IsZero() {
		t.Errorf("a new issuer: %+v", e)
	}
	if e := func() fleet.Enforcement {
		f, _ := listen(t, server, time.Minute)
		return f.Confirm(t.Context(), at, 50*time.Millisecond)
	}(); e.Everywhere() || e.Incomplete == "" {
		t.Errorf("an issuer that has just begun: %+v", e)
	}
}

// What does not name its sender, or is no report, changes nothing but a counter.
func TestHostileReports(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	f, metrics := listen(t, server, time.Minute)
	epoch, at := feedEpoch(t, f)
	s := join(t, server, "a", events.Position{Sequence: at}, epoch)
	eventually(t, "it", func() bool { return len(f.Members(t.Context()).Members) == 1 })
	forged := s.report
	forged.State = events.StateSignedOff
	body, err := codec.EncodeReport(forged)
	if err != nil {
		t.Fatal(err)
	}
	for subject, body := range map[string][]byte{
		realm.Report("b"): body,
		realm.Report("c"): []byte("garbage"),
		realm.Report("d"): make([]byte, codec.MaxReport+1),
	} {
		if err := s.conn.Publish(subject, body); err != nil {
			t.Fatal(err)
		}
	}
	count := func(outcome string) float64 { return total(t, metrics, "revocast_fleet_reports_total", outcome) }
	eventually(t, "counted", func() bool { return count("misplaced") == 1 && count("malformed") == 2 })
	if m := f.Members(t.Context()).Members; len(m) != 1 || m[0].Sidecar != "a" {
		t.Errorf("after hostile reports: %+v", m)
	}
}

// However often somebody announces, asks are rare.
func TestAsksAreRare(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	f, _ := listen(t, server, time.Minute)
	epoch, at := feedEpoch(t, f)
	s := join(t, server, "a", events.Position{Sequence: at}, epoch)
	eventually(t, "it", func() bool { return len(f.Members(t.Context()).Members) == 1 })
	began := time.Now()
	for i := range uint64(10_000) {
		f.Announced(at+i, time.Now())
	}
	s.reaches(t, at+20_000)
	if e := f.Confirm(t.Context(), at+9_999, patience); !e.Everywhere() {
		t.Errorf("at last: %+v", e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if most := 6 + 2*int(time.Since(began)/time.Second); len(s.asks) > most {
		t.Errorf("asked %d times, at most %d", len(s.asks), most)
	}
}

// Nothing is heard twice by name: a sidecar that came back on the same store takes the
// place of the one that was killed.
func TestReplaced(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	f, _ := listen(t, server, time.Minute)
	epoch, at := feedEpoch(t, f)
	first := join(t, server, "a", events.Position{Sequence: at}, epoch)
	eventually(t, "it", func() bool { return len(f.Members(t.Context()).Members) == 1 })
	first.conn.Close()
	second := join(t, server, "a", events.Position{Sequence: at}, epoch)
	eventually(t, "both", func() bool { return len(f.Members(t.Context()).Members) == 2 })
	second.change(t, func(s *sidecar) { s.report.Replaces = first.report.Instance })
	eventually(t, "the second alone", func() bool {
		m := f.Members(t.Context()).Members
		return len(m) == 1 && m[0].Instance == second.report.Instance
	})
	if e := f.Confirm(t.Context(), 0, patience); e.Live != 1 {
		t.Errorf("what stands: %+v", e)
	}
}
