package app

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/sidecar/internal/adminapi"
	"github.com/revocast/revocast/sidecar/internal/config"
	"github.com/revocast/revocast/sidecar/internal/denylist/badgerstore"
	"github.com/revocast/revocast/sidecar/internal/fsck"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/node"
	"github.com/revocast/revocast/sidecar/internal/syncer"
)

// api is the admin API of this sidecar.
func (a *App) api() *adminapi.API {
	return adminapi.New(adminapi.Parts{
		Verifier: a.verifier, Denylist: a.node.Denylist, Feed: a.node.Syncer, Checker: a, Ready: a.node.Unready,
		ID: a.cfg.ID, Instance: a.node.Instance, Version: a.version, Policy: a.policy,
		Limits: adminapi.Limits{Budget: a.cfg.BudgetBytes, Cache: a.cfg.CacheBytes},
	})
}

// Check compares the store with the feed while the sidecar goes on working.
func (a *App) Check(ctx context.Context, progress func(fsck.Progress)) (fsck.Report, error) {
	return check(ctx, a.cfg, fsck.Parts{Store: a.node.Store, Lookups: a.node.Denylist}, progress)
}

// Fsck compares the store of a sidecar that does not run with the feed. It looks at a
// copy in the system's temporary directory, since to open a store is to write to it.
func Fsck(ctx context.Context, cfg config.Config, progress func(fsck.Progress)) (_ fsck.Report, err error) {
	dir, err := os.MkdirTemp("", "revocast-fsck-")
	if err != nil {
		return fsck.Report{}, fmt.Errorf("making room for a copy: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := badgerstore.Copy(node.StoreDir(cfg.DataDir), dir); err != nil {
		return fsck.Report{}, err
	}
	store, err := badgerstore.Open(badgerstore.Config{Dir: dir})
	if err != nil {
		return fsck.Report{}, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := errors.Join(store.Damage(), store.Unusable()); err != nil {
		return fsck.Report{}, err
	}
	return check(ctx, cfg, fsck.Parts{Store: store}, progress)
}

func check(ctx context.Context, cfg config.Config, p fsck.Parts, progress func(fsck.Progress)) (fsck.Report, error) {
	// It connects once, and says by itself what keeps it from that.
	reader, err := syncer.NewReader(nodeConfig(cfg, gate.Policy{}, "").Feed(func(error) {}))
	if err != nil {
		return fsck.Report{}, err
	}
	defer reader.Close()
	p.Feed = reader
	p.VerifyLift = func(l events.Lift) bool { return codec.VerifyLift(cfg.Root, subject.Realm(cfg.Realm), l) }
	return fsck.Run(ctx, p, progress)
}
