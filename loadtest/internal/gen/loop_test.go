package gen

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Every worker is busy all the time, no number is given twice, and nothing waits.
func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &tally{takes: constant(10 * time.Millisecond)}
		began := time.Now()
		Loop{Duration: time.Second, Workers: 3}.Run(t.Context(), began, w)
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %s", took)
		}
		numbers := w.numbers()
		if last := numbers[len(numbers)-1]; len(numbers) != 300 || len(slices.Compact(numbers)) != 300 || last >= 300+3*block {
			t.Errorf("%d arrivals, the last is number %d", len(numbers), last)
		}
		for n, a := range w.done {
			if w.waited[n] != 0 || a.Queued || a.Worker < 0 || a.Worker > 2 {
				t.Errorf("%+v waited %s", a, w.waited[n])
			}
		}
	})
}

func TestLoopIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 95*time.Millisecond)
		defer cancel()
		w := &tally{takes: constant(10 * time.Millisecond)}
		began := time.Now()
		Loop{Duration: time.Hour, Workers: 2}.Run(ctx, began, w)
		if took := time.Since(began); took != 100*time.Millisecond || len(w.done) != 20 {
			t.Errorf("%d arrivals in %s", len(w.done), took)
		}
	})
}
