package replicas

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/session"
)

// R6, INV-7: a session that is refreshed ten thousand times costs what one costs that
// is refreshed a few times, and a token from its very beginning is still known for
// what it is.
func TestTenThousandRotations(t *testing.T) {
	s := eventstest.RunServer(t)
	h := newHouse(t)
	a, b := h.issuer(t, s.Connect(t, topology.Issuer)), h.issuer(t, s.Connect(t, topology.Issuer))
	sub := h.register(t, a, alice)
	js, err := jetstream.New(s.Connect(t, topology.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	p := policy()
	p.Grace = 0 // nobody refreshes so fast; what it costs to remember is tested elsewhere
	first, err := a.Login(t.Context(), login(alice, word, p))
	if err != nil {
		t.Fatal(err)
	}
	token := first.RefreshToken
	var second string
	rotate := func(times int) {
		for i := range times {
			g, err := []*issue.Service{a, b}[i%2].Refresh(t.Context(), use(token, p))
			if err != nil {
				t.Fatalf("rotation %d: %v", i, err)
			}
			token = g.RefreshToken
			if second == "" {
				second = token
			}
		}
	}
	rotate(20)
	before := measure(t, js)
	rotations := size(1_500, 10_000)
	began := time.Now()
	rotate(rotations)
	after := measure(t, js)
	t.Logf("%10s %14s %14s %16s", "rotations", "messages", "bytes", "heap of all, kB")
	t.Logf("%10d %14d %14d %16d", 20, before.messages, before.bytes, before.heap>>10)
	t.Logf("%10d %14d %14d %16d", 20+rotations, after.messages, after.bytes, after.heap>>10)
	t.Logf("in %s", time.Since(began).Round(time.Millisecond))
	if rotations > 5_000 {
		// What is left is mostly message ids, which the server knows again for a while.
		deadline := time.Now().Add(topology.DuplicateWindow + time.Minute)
		for later := after; later.heap > before.heap+(after.heap-before.heap)/2; later = measure(t, js) {
			if time.Now().After(deadline) {
				t.Errorf("memory stays at %d bytes", later.heap)
				break
			}
			wait(t, time.Second)
		}
		t.Logf("%10s %14s %14s %16d", "and later", "", "", measure(t, js).heap>>10)
	}
	if after.messages > before.messages || after.bytes > before.bytes+4096 {
		t.Errorf("the journal has grown from %+v to %+v", before, after)
	}
	// The server keeps what it writes for a while before it goes to disk.
	if grown := int64(after.heap) - int64(before.heap); grown > 32<<20 {
		t.Errorf("memory has grown by %d bytes", grown)
	}
	// Generation 1, superseded ten thousand rotations ago.
	if _, err := b.Refresh(t.Context(), use(second, p)); !errors.Is(err, session.ErrReuse) {
		t.Errorf("generation 1: %v", err)
	}
	if _, err := a.Refresh(t.Context(), use(token, p)); !errors.Is(err, session.ErrOver) {
		t.Errorf("the current generation after the reuse: %v", err)
	}
	if living, err := a.Sessions(t.Context(), sub); err != nil || len(living) != 0 {
		t.Errorf("%d sessions live, %v", len(living), err)
	}
}

// wait yields for a while between two looks at something that takes its time.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// cost is what the journal holds, and what the process holds that is issuers and
// broker in one.
type cost struct {
	messages, bytes, heap uint64
}

func measure(t *testing.T, js jetstream.JetStream) cost {
	t.Helper()
	stream, err := js.Stream(t.Context(), realm.JournalStream())
	if err != nil {
		t.Fatal(err)
	}
	state := stream.CachedInfo().State
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return cost{state.Msgs, state.Bytes, m.HeapAlloc}
}
