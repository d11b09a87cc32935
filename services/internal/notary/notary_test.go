package notary_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/notary"
)

func note(session int) events.Note {
	return events.Note{
		Action: events.ActionStepUpRequired, By: events.Initiator{Role: "client", Name: "demo"}, Issuer: "https://id.example",
		Subject: "u-7", Session: events.SessionID(fmt.Sprint(session)), Client: "demo", Detail: "device",
	}
}

func counted(t *testing.T, metrics *prometheus.Registry, outcome string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "outcome" && l.GetValue() == outcome {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

// What was noted stands in AUDIT once the notary has ended, also if it was noted last.
func TestNotesReachTheAudit(t *testing.T) {
	server := eventstest.RunServer(t)
	conn := server.Connect(t, topology.Issuer)
	stream, err := eventstore.NewNotes(conn, eventstest.Realm.AuditStream())
	if err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	n, err := notary.New(eventstest.Realm, stream, zap.NewNop(), metrics)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	const notes = 50
	for i := range notes {
		n.Note(note(i))
	}
	stop()
	if err := n.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got := counted(t, metrics, "written"); got != notes {
		t.Errorf("%v counted as written", got)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := js.OrderedConsumer(t.Context(), eventstest.Realm.AuditStream(), jetstream.OrderedConsumerConfig{FilterSubjects: []string{eventstest.Realm.Notes()}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range notes {
		m, err := reader.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		e, err := codec.Decode(m.Data())
		if err != nil || e.Event != (events.Noted{Note: note(i)}) || m.Subject() != eventstest.Realm.Note("https://id.example", "u-7") {
			t.Fatalf("on %s: %+v, %v", m.Subject(), e, err)
		}
	}
}

// stuck is an AUDIT that answers when it is told to.
type stuck struct {
	mu    sync.Mutex
	err   error
	until chan struct{}
	taken int
}

func (s *stuck) Note(ctx context.Context, _ string, _ events.Envelope) error {
	select {
	case <-s.until:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
	return s.err
}

// Taking notes waits for nothing, whatever AUDIT does, and nothing is lost in silence.
func TestNothingIsLostInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stuck{until: make(chan struct{}), err: errors.New("no quorum")}
		seen, logged := observer.New(zap.WarnLevel)
		metrics := prometheus.NewRegistry()
		n, err := notary.New(eventstest.Realm, s, zap.New(seen), metrics)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.Run(ctx) }()
		before := time.Now()
		const notes = 1500
		for i := range notes {
			n.Note(note(i))
			synctest.Wait()
		}
		if waited := time.Since(before); waited != 0 {
			t.Errorf("taking notes took %s", waited)
		}
		// One is being written and 1,024 wait.
		if got := counted(t, metrics, "dropped"); got != notes-1025 {
			t.Errorf("%v counted as dropped", got)
		}
		close(s.until)
		synctest.Wait()
		if got := counted(t, metrics, "failed"); got != 1025 || logged.Len() != 1025 {
			t.Errorf("%v counted as failed, %d logged", got, logged.Len())
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// An AUDIT that does not answer holds the end up for two seconds.
func TestEndIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stuck{until: make(chan struct{})}
		metrics := prometheus.NewRegistry()
		n, err := notary.New(eventstest.Realm, s, zap.NewNop(), metrics)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			n.Note(note(i))
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.Run(ctx) }()
		synctest.Wait()
		before := time.Now()
		stop()
		if err := <-ended; err != nil || time.Since(before) != 2*time.Second {
			t.Errorf("ended after %s, %v", time.Since(before), err)
		}
		if got := counted(t, metrics, "failed"); got != 10 {
			t.Errorf("%v counted as failed", got)
		}
	})
}

// The same again is one note a minute, whatever a request says of itself.
func TestTheSameAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stuck{until: make(chan struct{})}
		close(s.until)
		metrics := prometheus.NewRegistry()
		n, err := notary.New(eventstest.Realm, s, zap.NewNop(), metrics)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.Run(ctx) }()
		want := 0
		take := func(again bool, change func(*events.Note)) {
			t.Helper()
			one := note(1)
			change(&one)
			n.Note(one)
			synctest.Wait()
			if !again {
				want++
			}
			if s.taken != want {
				t.Fatalf("%d notes, want %d", s.taken, want)
			}
		}
		take(false, func(*events.Note) {})
		take(true, func(*events.Note) {})
		take(true, func(n *events.Note) { n.DeviceID, n.DeviceName, n.Address = "x", "y", "192.0.2.1" })
		take(false, func(n *events.Note) { n.Session = "2" })
		take(false, func(n *events.Note) { n.Detail = "network" })
		take(false, func(n *events.Note) { n.Action = events.ActionProofMissing })
		time.Sleep(time.Minute)
		take(false, func(*events.Note) {})
		if got := counted(t, metrics, "repeated"); got != 2 {
			t.Errorf("%v counted as repeated", got)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	metrics := prometheus.NewRegistry()
	for i := range 2 {
		if _, err := notary.New(eventstest.Realm, &stuck{}, zap.NewNop(), metrics); (err != nil) != (i == 1) {
			t.Errorf("notary %d: %v", i+1, err)
		}
	}
	if n, err := testutil.GatherAndCount(metrics); err != nil || n != 0 {
		t.Errorf("%d series before any note, %v", n, err)
	}
}
