// Package heap paces the garbage collector of a process whose heap is sometimes small.
//
// The runtime collects whenever there is so and so much garbage for what is kept. A share
// that is right for a large heap makes a small one collect all the time: beside a hundred
// thousand revocations a sidecar keeps 14 MB, and at a quarter of that collected 25 times
// a second, for an eighth of its processor time.
//
// Invariants:
//
//   - After each collection the heap may grow to the floor or by the share, whichever is
//     more, and never beyond both.
//   - A memory limit (GOMEMLIMIT) stands above all this: it is the runtime's own.
package heap

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// Pace lets the heap grow to floor bytes before it is collected, and otherwise by percent
// of what is kept, from the next collection on until stop is called, which restores
// percent alone and may be called more than once. Only one pace can be kept at a time:
// GOGC is the process's.
func Pace(floor uint64, percent int) (stop func()) {
	debug.SetGCPercent(percent)
	p := &pacer{floor: floor, percent: percent, set: percent}
	p.arm()
	return p.stop
}

type pacer struct {
	floor   uint64
	percent int

	mu      sync.Mutex
	set     int // what the runtime was told last
	stopped bool
}

// sentinel is garbage as soon as it is made: its cleanup runs after the next collection.
// It holds a pointer, since small objects without any share a block, and its end.
type sentinel struct{ _ *pacer }

func (p *pacer) arm() { runtime.AddCleanup(&sentinel{}, (*pacer).collected, p) }

// collected runs after every collection.
func (p *pacer) collected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	// Being told stops the world for a moment; what changes little is not worth it.
	if want := p.want(live[0].Value.Uint64()); want < p.set || want > p.set+p.set/8 {
		debug.SetGCPercent(want)
		p.set = want
	}
	p.arm()
}

// want is the share by which a heap that keeps so many bytes may grow. The runtime lets
// every heap grow to that share of 4 MiB, which must not be beyond the floor either.
func (p *pacer) want(live uint64) int {
	const runtimes = 4 << 20
	if live >= p.floor {
		return p.percent
	}
	return max(p.percent, int(100*(p.floor-live)/max(live, runtimes))) //nolint:gosec // floors are not petabytes
}

func (p *pacer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.stopped = true
		debug.SetGCPercent(p.percent)
	}
}
