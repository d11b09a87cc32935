//go:build linux

package fronts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// caller sends one request after another over a connection of its own, and says
// whether the token passed.
type caller interface {
	call(token string) (passes bool, err error)
	close() error
}

// side is a server under measurement.
type side struct {
	name string
	pid  int
	dial func() (caller, error)
	// open are its connections, which stay from one measurement to the next, as a proxy's
	// do.
	open []caller
}

// load is what one side carried.
type load struct {
	perSecond float64
	// cpu is the server's own time for a request, in microseconds: its inverse is what
	// one core carries, also where the client could not ask for more.
	cpu      float64
	p50, p99 time.Duration
	// waits are what p50 and p99 are of, in order.
	waits []time.Duration
	// client is the share of its core that the client took.
	client float64
}

// connections that a proxy would keep to a sidecar.
const connections = 16

// connect opens the connections and asks over each of them once, so that none of the
// requests that count waits for one.
func (s *side) connect(token string) error {
	for range connections {
		c, err := s.dial()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		s.open = append(s.open, c)
		if _, err := c.call(token); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// disconnect closes them.
func (s *side) disconnect() error {
	var errs []error
	for _, c := range s.open {
		errs = append(errs, c.close())
	}
	s.open = nil
	return errors.Join(errs...)
}

// saturate asks as fast as answers come.
func saturate(t *testing.T, s *side, tokens []string, d time.Duration) load {
	t.Helper()
	return drive(t, s, tokens, d, func(int) func(time.Time) time.Time {
		return func(now time.Time) time.Time { return now }
	})
}

// pace asks at a rate, whatever the answers do: what is late waits in the client, and
// counts as waiting.
func pace(t *testing.T, s *side, tokens []string, d time.Duration, perSecond float64) load {
	t.Helper()
	gap := time.Duration(float64(time.Second) * connections / perSecond)
	began := time.Now()
	return drive(t, s, tokens, d, func(n int) func(time.Time) time.Time {
		next := began.Add(gap * time.Duration(n) / connections)
		return func(time.Time) time.Time {
			due := next
			next = next.Add(gap)
			return due
		}
	})
}

// drive keeps every connection busy until d is over. When gives the moments at which
// the n-th connection's requests are due.
func drive(t *testing.T, s *side, tokens []string, d time.Duration, when func(n int) func(now time.Time) time.Time) load {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	waits := make([][]time.Duration, connections)
	var wrong atomic.Int64
	var all sync.WaitGroup
	server, client, began := cpuTime(t, s.pid), cpuTime(t, os.Getpid()), time.Now()
	for n, c := range s.open {
		all.Go(func() {
			due := when(n)
			for k := n; ctx.Err() == nil; k += connections {
				at := due(time.Now())
				wait(at)
				passes, err := c.call(tokens[k%len(tokens)])
				if err != nil {
					t.Errorf("%s: %v", s.name, err)
					break
				}
				if !passes {
					wrong.Add(1)
				}
				waits[n] = append(waits[n], time.Since(at))
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	list := slices.Sorted(func(yield func(time.Duration) bool) {
		for _, w := range waits {
			for _, d := range w {
				if !yield(d) {
					return
				}
			}
		}
	})
	if len(list) == 0 || wrong.Load() > 0 {
		t.Fatalf("%s: %d answers, %d of them wrong", s.name, len(list), wrong.Load())
	}
	return load{
		perSecond: float64(len(list)) / took.Seconds(),
		cpu:       float64((cpuTime(t, s.pid) - server).Microseconds()) / float64(len(list)),
		p50:       list[len(list)/2], p99: list[len(list)*99/100], waits: list,
		client: (cpuTime(t, os.Getpid()) - client).Seconds() / took.Seconds(),
	}
}

// wait is time.Sleep by the kernel's clock: the runtime's rounds up to milliseconds when
// there is nothing else to do, which is longer than most answers take.
func wait(until time.Time) {
	if d := time.Until(until); d > 0 {
		ts := unix.NsecToTimespec(int64(d))
		_ = unix.Nanosleep(&ts, nil) // earlier by a signal, it is late for the next
	}
}

// tick is the unit of /proc/PID/stat: sysconf(_SC_CLK_TCK) is 100 on Linux.
const tick = 10 * time.Millisecond

// cpuTime is what a process has taken of processors, in user and kernel mode.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// Names may hold anything, so fields are counted from the last bracket on.
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	total := time.Duration(0)
	for _, n := range []int{11, 12} { // utime, stime
		v, err := strconv.ParseInt(fields[n], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		total += time.Duration(v) * tick
	}
	return total
}
