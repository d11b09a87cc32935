package gen

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Loop makes work arrive as fast as it is done: a closed loop, which finds out how much
// can be done and not how long it takes. What arrives is never overdue, so the latencies
// of a loop excuse whatever slows it down.
type Loop struct {
	// Duration is how long work arrives.
	Duration time.Duration
	// Workers is how many arrivals are under way at once; at least one.
	Workers int
}

// block is how many numbers a worker takes at a time, lest all of them write to one place
// for each.
const block = 16

// Run makes work arrive from began on and returns when all of it is done. When ctx ends
// first, nothing starts any more and what is under way is waited for. Every arrival is due
// when its worker is free. No two have the same number; of the last ones some are left out.
func (l Loop) Run(ctx context.Context, began time.Time, w Work) {
	end := began.Add(l.Duration)
	var blocks atomic.Uint64
	var workers sync.WaitGroup
	for worker := range l.Workers {
		workers.Go(func() {
			for n := uint64(0); ctx.Err() == nil; n++ {
				if n%block == 0 {
					n = block * (blocks.Add(1) - 1)
				}
				now := time.Now()
				if !now.Before(end) {
					return
				}
				w.Do(Arrival{N: n, Due: now, Worker: worker})
			}
		})
	}
	workers.Wait()
}
