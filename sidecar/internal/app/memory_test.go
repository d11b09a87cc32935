package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/sidecar/internal/adminapi"
	"github.com/revocast/revocast/sidecar/internal/config"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
	"github.com/revocast/revocast/sidecar/internal/replica"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// Over its budget a sidecar forgets nothing; it says so and asks to be left alone.
func TestOverBudget(t *testing.T) {
	t.Parallel()
	const size = 10_000
	empty, err := denylist.New(denylist.Config{}, memstore.New())
	if err != nil {
		t.Fatal(err)
	}
	budget := int64(empty.Status().MemoryBytes) + 10_000 // one byte an entry is too little
	s := eventstest.RunServer(t, eventstest.Lazy())
	i := newIssuance(t, s)
	r := startSidecar(t, s, i.public(), t.TempDir(), func(c *config.Config) { c.BudgetBytes = budget })
	signer, key := newKey(t, "k-1", unreachable)
	i.announce(t, events.KeyAdded{Key: codec.SignKey(i.root, eventstest.Realm, key)})
	good := tokenOf(t, signer, unreachable)
	r.becomes(t, good, http.StatusOK)
	if err := r.unready(); err != nil {
		t.Fatalf("before: %v", err)
	}
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	s.Announce(t, size, func(n int) events.Revocation {
		e := revocation(events.KindSession, uuid.NewString())
		if n == 0 {
			e.Target = "first"
		}
		e.Until = until
		return e
	})
	eventstest.Eventually(t, func(context.Context) error {
		if list := r.denylist.Status(); list.Narrow < size*999/1000 || list.Queued > 0 {
			return fmt.Errorf("%d entries, %d queued", list.Narrow, list.Queued)
		}
		return nil
	})
	if err := r.unready(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("more than the %d of the budget", budget)) {
		t.Errorf("over budget: %v", err)
	}
	var st adminapi.Status
	r.ask(t, http.MethodGet, "/v1/status", "", &st)
	if !st.Memory.OverBudget || st.Ready || st.Reason == "" || int64(st.Memory.DenylistBytes) <= budget || st.Memory.Budget != budget {
		t.Errorf("status: %+v", st)
	}
	if got := gauge(t, r, "revocast_sidecar_memory_over_budget"); got != 1 {
		t.Errorf("the metric says %v", got)
	}
	if got := gauge(t, r, "revocast_sidecar_ready"); got != 0 {
		t.Errorf("ready, by the metric: %v", got)
	}
	// It goes on answering, and nothing was forgotten.
	if got := r.judge(t, tokenWith(t, signer, "first")); got != http.StatusUnauthorized {
		t.Errorf("the first of them: %d", got)
	}
	if got := r.judge(t, good); got != http.StatusOK {
		t.Errorf("a good token: %d", got)
	}
}

// A hundred thousand revocations cost memory and disk, and not one goroutine: what runs
// is what ran before, once all of it is written. It is not parallel, since it counts
// those of the whole process.
func TestNoGoroutinePerEntry(t *testing.T) {
	const size, step = 100_000, 5_000
	trust, err := token.ParseTrust("issuer=" + unreachable + ",audience=" + tokentest.Audience)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(config.Config{
		NATSURL: "nats://127.0.0.1:1", Realm: string(eventstest.Realm), ID: "many", DataDir: t.TempDir(), Trusts: []token.Trust{trust},
		StaleAfter: 30 * time.Second, WhenStale: "deny", Enforce: true,
		OriginalHeaders: "x-forwarded", AnswerWithin: time.Second, MaxInFlight: 100,
	}, "test", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan error)
	go func() { written <- a.denylist.Run(ctx) }()
	in := &sink{denylist: a.denylist, log: zap.NewNop()}
	take := func(from, n int) {
		t.Helper()
		entries := make([]events.Revocation, n)
		for i := range entries {
			entries[i] = revocation(events.KindSession, uuid.NewString())
		}
		if err := in.Apply(replica.Apply{Entries: entries, Cursor: replica.Cursor{Epoch: "e", Sequence: uint64(from + n)}}); err != nil {
			t.Fatal(err)
		}
	}
	settled := func() {
		t.Helper()
		eventstest.Eventually(t, func(context.Context) error {
			if list := a.denylist.Status(); list.Queued > 0 {
				return fmt.Errorf("%d queued", list.Queued)
			}
			return nil
		})
	}
	take(0, 1)
	settled()
	before, most := runtime.NumGoroutine(), 0
	for from := 1; from < size; from += step {
		take(from, step)
		most = max(most, runtime.NumGoroutine())
	}
	settled()
	if n := a.denylist.Status().Narrow; n < size*999/1000 {
		t.Fatalf("%d entries of %d", n, size)
	}
	// Badger merges tables beside us now and then.
	eventstest.Eventually(t, func(context.Context) error {
		if now := runtime.NumGoroutine(); now > before {
			return fmt.Errorf("%d goroutines, %d before", now, before)
		}
		return nil
	})
	if most > before+20 {
		t.Errorf("%d goroutines at the most, %d before", most, before)
	}
	stop()
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// gauge reads one metric without labels.
func gauge(t *testing.T, r *running, name string) float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal(errors.New("no metric " + name))
	return 0
}
