package cli

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/revocast/revocast/loadtest/internal/cores"
	"github.com/revocast/revocast/loadtest/internal/front"
	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/scenario"
)

// verifying is one run of the command: cases one after the other, each one front at one
// rate.
type verifying struct {
	*verifyCommand
	running
	pins *cores.Pins
	verified
}

// asked is a front that can be asked.
type asked struct {
	front.Front
	// name is what rows and errors call it.
	name string
	// pid is the server's process; 0 if that is another machine's, or this one.
	pid int
	// reference is beside what is measured, to compare with; nothing of it is judged.
	reference bool
}

// of is the case of a front at a rate.
func (r *verifying) of(a asked, at rate, length time.Duration) scenario.Verify {
	workers := r.Connections
	if _, inside := a.Front.(*front.InProcess); inside && at == atMost {
		// What never waits for anybody gains nothing from more of them.
		workers = min(workers, processors())
	}
	return scenario.Verify{
		Front: a.Front, Name: a.name, Pass: r.Expect, Bound: r.MaxExposure, Rate: float64(at),
		Workers: workers, Patience: r.Timeout, Seed: r.Seed, WarmUp: r.WarmUp, Duration: length,
	}
}

// send sends the load of a case and keeps what came of it. What goes on beside it does so
// while it is measured.
func (r *verifying) send(ctx context.Context, a asked, v scenario.Verify, beside func(ctx context.Context, began time.Time)) error {
	row := a.name + ", " + rate(v.Rate).String()
	r.note("%s", row)
	began := time.Now()
	measured := began.Add(v.WarmUp)
	recorder := measure.New(measured)
	var tally scenario.Tally
	var used meters
	var errMeters error
	p := report.Progress{Began: began, WarmUp: v.WarmUp, Length: v.WarmUp + v.Duration}
	r.watch(ctx, p, recorder, func() {
		measuring, stop := context.WithCancel(ctx)
		var others sync.WaitGroup
		others.Go(func() {
			if !until(measuring, measured) {
				return
			}
			used, errMeters = watchAll(a.pid)
			if beside != nil {
				beside(measuring, time.Now())
			}
		})
		tally = v.Run(ctx, began, recorder)
		stop()
		others.Wait()
	})
	used.end()
	r.keep(kept{
		asked: a, row: row, rate: rate(v.Rate), summary: recorder.Summary(), tally: tally, meters: used,
		seconds: max(0, time.Since(measured).Seconds()),
	})
	return errMeters
}

// until waits for a moment, and reports whether it has come before ctx ended.
func until(ctx context.Context, moment time.Time) bool {
	timer := time.NewTimer(time.Until(moment))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// meters are what processes take while a case is measured. The zero meters have measured
// nothing.
type meters struct {
	client, server       measure.Process
	clientCPU, serverCPU time.Duration
	busy                 float64 // processors, of the client
	memory               int64   // of the server, in bytes
	running, served      bool
}

func watchAll(server int) (m meters, err error) {
	if m.client, err = measure.Watch(os.Getpid()); err != nil {
		return meters{}, err
	}
	m.running = true
	if server != 0 {
		if m.server, err = measure.Watch(server); err != nil {
			return meters{}, err
		}
		m.served = true
	}
	return m, nil
}

// end reads the meters. What cannot be read is not told.
func (m *meters) end() {
	if m.running {
		m.busy = m.client.Busy()
		m.clientCPU, _ = m.client.CPU()
	}
	if m.served {
		var errCPU, errMemory error
		m.serverCPU, errCPU = m.server.CPU()
		m.memory, errMemory = m.server.Memory()
		m.served = errors.Join(errCPU, errMemory) == nil
	}
}
