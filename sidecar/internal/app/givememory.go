package app

import (
	"context"
	"runtime/debug"
	"time"
)

// giveMemoryBack returns to the system what a start took and nothing needs any more,
// once everything has been read and written. Left to itself the runtime takes minutes.
func (a *App) giveMemoryBack(ctx context.Context) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if list := a.node.Denylist.Status(); list.Complete && list.Queued == 0 && a.node.Syncer.State().CaughtUp {
			debug.FreeOSMemory()
			return nil
		}
	}
}
