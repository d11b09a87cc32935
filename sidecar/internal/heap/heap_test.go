package heap_test

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/heap"
)

const (
	floor   = 64 << 20
	percent = 25
)

// A small heap may grow to the floor, a large one by its share, and one that has become
// small again to the floor.
func TestPace(t *testing.T) {
	stop := heap.Pace(floor, percent)
	defer stop()
	small := func() error {
		share, goal := read()
		if share <= percent || goal < floor*3/4 || goal > floor*5/4 {
			return fmt.Errorf("grows by %d%%, to %d MB", share, goal>>20)
		}
		return nil
	}
	large := func() error {
		if share, goal := read(); share != percent {
			return fmt.Errorf("grows by %d%%, to %d MB", share, goal>>20)
		}
		return nil
	}
	eventually(t, "small", small)
	kept := make([]byte, 2*floor)
	eventually(t, "large", large)
	runtime.KeepAlive(kept)
	eventually(t, "small again", small)

	stop()
	stop()
	eventually(t, "stopped", func() error {
		if share, _ := read(); share != percent {
			return errors.New("still kept")
		}
		return nil
	})
}

func read() (share, goal uint64) {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/heap/goal:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64(), s[1].Value.Uint64()
}

// eventually collects until something holds: cleanups run some time after.
func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		runtime.GC()
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}
