package app

import (
	"context"

	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/snapshot"
)

// openSnapshots makes this issuer one of those that pack the feed, unless it is told
// not to.
func (a *App) openSnapshots(context.Context) (err error) {
	if a.cfg.SnapshotInterval == 0 {
		return nil
	}
	cfg := snapshot.Config{Realm: subject.Realm(a.cfg.Realm), Interval: a.cfg.SnapshotInterval}
	a.snapshots, err = snapshot.New(cfg, a.conn, a.keys.Root(), a.log, a.metrics)
	return err
}

// writeSnapshots returns nil when ctx ends.
func (a *App) writeSnapshots(ctx context.Context) error {
	if a.snapshots == nil {
		return nil
	}
	return a.snapshots.Run(ctx)
}
