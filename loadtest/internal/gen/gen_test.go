package gen

import (
	"context"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// tally is work that takes some time and remembers what it was asked.
type tally struct {
	takes func(Arrival) time.Duration

	mu        sync.Mutex
	done      []Arrival
	waited    []time.Duration // from due to started
	latencies []time.Duration // from due to done
	abandoned []Arrival
}

func (w *tally) Do(a Arrival) {
	started := time.Now()
	time.Sleep(w.takes(a)) // the bubble's time
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, a)
	w.waited = append(w.waited, started.Sub(a.Due))
	w.latencies = append(w.latencies, time.Since(a.Due))
}

func (w *tally) Abandon(a Arrival, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at.Before(a.Due) {
		panic("abandoned before it was due")
	}
	w.abandoned = append(w.abandoned, a)
}

func (w *tally) numbers() []uint64 {
	var n []uint64
	for _, a := range slices.Concat(w.done, w.abandoned) {
		n = append(n, a.N)
	}
	slices.Sort(n)
	return n
}

func constant(d time.Duration) func(Arrival) time.Duration {
	return func(Arrival) time.Duration { return d }
}

// bubble runs a plan in virtual time and gives how long it took.
func bubble(t *testing.T, p Plan, w *tally, within time.Duration) (took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		began := time.Now()
		p.run(ctx, began, w, newTimerAlarm)
		took = time.Since(began)
	})
	return took
}

// all is every arrival of a plan.
func all(p Plan) []Arrival {
	w := &tally{}
	p.Workers = 0 // nobody does anything, and all is abandoned
	p.run(context.Background(), time.Now().Add(-p.Duration), w, newTimerAlarm)
	return w.abandoned
}

// Whatever the plan, the work and the moment of an interruption: each arrival that
// came due is handed over once, and the end does not depend on how slow the work is.
func TestEveryArrivalOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := Plan{
			Rate:     rapid.Float64Range(1, 2000).Draw(rt, "rate"),
			Duration: time.Duration(rapid.IntRange(1, 2000).Draw(rt, "ms")) * time.Millisecond,
			Workers:  rapid.IntRange(1, 20).Draw(rt, "workers"),
			Patience: time.Duration(rapid.IntRange(0, 500).Draw(rt, "patience")) * time.Millisecond,
			Seed:     rapid.Uint64().Draw(rt, "seed"),
		}
		takes := time.Duration(rapid.IntRange(0, 200).Draw(rt, "takes")) * time.Millisecond
		within := time.Duration(rapid.IntRange(1, 4000).Draw(rt, "within")) * time.Millisecond
		w := &tally{takes: constant(takes)}
		took := bubble(t, p, w, within)

		if most := min(within, p.Duration+p.Patience) + takes; took > most {
			rt.Fatalf("took %s, at most %s", took, most)
		}
		got := w.numbers()
		for i, n := range got {
			if n != uint64(i) {
				rt.Fatalf("arrivals %v", got)
			}
		}
		if due := len(all(p)); within > p.Duration && len(got) != due {
			rt.Fatalf("%d of %d arrivals", len(got), due)
		}
		for i, a := range w.done {
			if w.waited[i] < 0 || a.Queued != (w.waited[i] > 0) || a.Worker < 0 || a.Worker >= p.Workers {
				rt.Fatalf("arrival %d started %s after it was due, by worker %d, queued: %t", a.N, w.waited[i], a.Worker, a.Queued)
			}
		}
	})
}

// A server that stalls once is slow for everyone who came meanwhile, not for one.
func TestStallCountsForAllWhoWait(t *testing.T) {
	const stall = time.Second
	p := Plan{Rate: 100, Duration: 10 * time.Second, Workers: 1, Patience: time.Minute, Seed: 1}
	w := &tally{takes: func(a Arrival) time.Duration {
		if a.N == 200 {
			return stall
		}
		return 0
	}}
	bubble(t, p, w, time.Hour)
	slow := 0
	for _, d := range w.latencies {
		if d > stall/2 {
			slow++
		}
	}
	// About fifty arrive in the first half of the stall; a closed loop would see one.
	if slow < 25 || slow > 100 {
		t.Errorf("%d latencies are longer than half the stall", slow)
	}
}

func TestArrivalsArePoisson(t *testing.T) {
	p := Plan{Rate: 1000, Duration: 20 * time.Second, Seed: 7}
	arrivals := all(p)
	expected := p.Rate * p.Duration.Seconds()
	if sigma := math.Sqrt(expected); math.Abs(float64(len(arrivals))-expected) > 5*sigma {
		t.Errorf("%d arrivals, want %.0f give or take %.0f", len(arrivals), expected, 5*sigma)
	}
	// Memoryless: the share of gaps above the mean is 1/e, whatever the mean.
	long := 0
	for i := 1; i < len(arrivals); i++ {
		if arrivals[i].Due.Sub(arrivals[i-1].Due) > time.Millisecond {
			long++
		}
	}
	if share := float64(long) / float64(len(arrivals)); math.Abs(share-1/math.E) > 0.02 {
		t.Errorf("%.3f of the gaps are longer than the mean, want %.3f", share, 1/math.E)
	}
}

func TestSeeds(t *testing.T) {
	gaps := func(seed uint64) (gaps []time.Duration) {
		arrivals := all(Plan{Rate: 100, Duration: time.Second, Seed: seed})
		for i := 1; i < len(arrivals); i++ {
			gaps = append(gaps, arrivals[i].Due.Sub(arrivals[i-1].Due))
		}
		return gaps
	}
	if !slices.Equal(gaps(1), gaps(1)) {
		t.Error("one seed, two series")
	}
	if slices.Equal(gaps(1), gaps(2)) {
		t.Error("two seeds, one series")
	}
}

// The alarm of this system, in real time.
func TestAlarm(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := newAlarm(ctx)
	defer a.close()
	for _, d := range []time.Duration{1, time.Microsecond, 3 * time.Millisecond} {
		began := time.Now()
		if !a.wait(d) {
			t.Fatalf("waiting for %s ended early", d)
		}
		if took := time.Since(began); took < d {
			t.Errorf("waited %s for %s", took, d)
		}
	}
	woken := make(chan bool)
	go func() { woken <- a.wait(time.Hour) }()
	cancel()
	if <-woken {
		t.Error("an hour has passed")
	}
	if a.wait(time.Hour) {
		t.Error("another hour has passed")
	}
}
