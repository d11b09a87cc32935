// Package gen makes work arrive as independent users make it arrive: at moments
// drawn beforehand, whether or not the answers keep up. This is an open-loop Poisson
// process. A closed loop, which sends the next request when the last one is answered,
// slows down together with what it measures and then reports the few requests it
// still dared to send (coordinated omission).
//
// Invariants:
//
//   - When an arrival is due depends on the plan alone, never on the answers.
//   - Every arrival that came due before the run was over or interrupted is handed to
//     the work exactly once, to be done or to be abandoned. None is left out because
//     there was no time for it.
//   - The same plan gives the same arrivals.
package gen

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Plan says when work arrives and how much of it may be under way.
type Plan struct {
	// Rate is the mean number of arrivals a second; more than zero.
	Rate float64
	// Duration is how long work arrives.
	Duration time.Duration
	// Workers is how many arrivals may be under way at once; at least one.
	Workers int
	// Patience is how long after Duration an arrival that is overdue may still
	// start. What has not started by then is abandoned.
	Patience time.Duration
	// Seed picks one of the possible series of arrivals.
	Seed uint64
}

// Arrival is one piece of work.
type Arrival struct {
	// N counts the arrivals of a plan from zero, in the order they are due.
	N uint64
	// Due is when the work should start. What it costs its user counts from here.
	Due time.Time
	// Queued says that every worker was busy when it was due.
	Queued bool
	// Worker is who does it, counted from zero; none does two at a time.
	Worker int
}

// Work is what arrivals ask for. Both methods are called by many goroutines.
type Work interface {
	// Do does the work of an arrival and returns when it is done.
	Do(a Arrival)
	// Abandon is told, at the moment given, that an arrival will never start.
	Abandon(a Arrival, at time.Time)
}

// Run makes the plan's work arrive from began on and returns when all of it is done
// or abandoned. When ctx ends first, nothing starts any more, what is under way is
// waited for, and what was due by then but had not started is abandoned.
func (p Plan) Run(ctx context.Context, began time.Time, w Work) {
	p.run(ctx, began, w, newAlarm)
}

func (p Plan) run(ctx context.Context, began time.Time, w Work, newAlarm func(context.Context) alarm) {
	s := &schedule{
		// The second word only keeps this series apart from others of the seed.
		random: rand.New(rand.NewPCG(p.Seed, 0x6172726976616c73)), //nolint:gosec // repeatable is the point
		rate:   p.Rate, due: began, end: began.Add(p.Duration),
	}
	deadline := s.end.Add(p.Patience)
	interrupted := make(chan time.Time, 1)
	disarm := context.AfterFunc(ctx, func() { interrupted <- time.Now() })
	var workers sync.WaitGroup
	for n := range p.Workers {
		workers.Go(func() {
			alarm := newAlarm(ctx)
			defer alarm.close()
			serve(ctx, s, n, deadline, w, alarm)
		})
	}
	workers.Wait()
	stopped := time.Now()
	if !disarm() {
		stopped = <-interrupted
	}
	s.rest(stopped, func(a Arrival) { w.Abandon(a, stopped) })
}

// serve is the n-th worker.
func serve(ctx context.Context, s *schedule, n int, deadline time.Time, w Work, alarm alarm) {
	for ctx.Err() == nil {
		a, ok := s.next()
		if !ok {
			return
		}
		a.Worker = n
		now := time.Now()
		switch {
		case now.Before(a.Due):
			if !alarm.wait(a.Due.Sub(now)) {
				s.giveBack(a)
				return
			}
		case now.After(deadline):
			w.Abandon(a, now)
			return
		default:
			a.Queued = true
		}
		w.Do(a)
	}
}

// schedule draws arrivals one by one. Safe for concurrent use.
type schedule struct {
	mu     sync.Mutex
	random *rand.Rand
	rate   float64
	n      uint64
	due    time.Time
	end    time.Time
	back   []Arrival
}

// next gives the next arrival, and false once they are all given.
func (s *schedule) next() (Arrival, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The gaps of a Poisson process are exponentially distributed.
	s.due = s.due.Add(time.Duration(s.random.ExpFloat64() / s.rate * float64(time.Second)))
	if !s.due.Before(s.end) {
		return Arrival{}, false
	}
	a := Arrival{N: s.n, Due: s.due}
	s.n++
	return a, true
}

// giveBack takes an arrival that was not waited for.
func (s *schedule) giveBack(a Arrival) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.back = append(s.back, a)
}

// rest gives all arrivals that were due by the moment given and that nobody has.
func (s *schedule) rest(until time.Time, f func(Arrival)) {
	for _, a := range s.back {
		if !a.Due.After(until) {
			f(a)
		}
	}
	for a, ok := s.next(); ok && !a.Due.After(until); a, ok = s.next() {
		f(a)
	}
}
