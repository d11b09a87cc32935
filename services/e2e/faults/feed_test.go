package faults

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/stack"
)

// A feed that is made anew or put back has forgotten what it knew, and nothing but the
// sidecars' own lists remembers it. So these strikes come when every list is complete and
// on disk, and hold them to it: what was revoked stays denied, over restarts too, while
// they follow the new feed. Afterwards the ledger asks for it no more, because a store
// that is damaged later has nowhere to get it from.
var (
	feedRecreated = strike{name: "feed recreated", alone: true, do: func(ctx context.Context, w *world, r *rand.Rand) error {
		return w.losing(ctx, func() error {
			return w.withoutIssuer(ctx, func() error {
				dir, err := w.feedDir()
				if err != nil {
					return err
				}
				return errors.Join(os.RemoveAll(dir), w.restartSome(r))
			})
		})
	}}
	feedRestored = strike{name: "feed put back", alone: true, do: func(ctx context.Context, w *world, r *rand.Rand) error {
		var dir, copied string
		err := w.withoutIssuer(ctx, func() (err error) {
			if dir, err = w.feedDir(); err != nil {
				return err
			}
			copied = filepath.Join(w.t.TempDir(), "feed")
			return os.CopyFS(copied, os.DirFS(dir))
		})
		if err != nil {
			return err
		}
		hold(ctx, r)
		wait(ctx, 2*time.Second) // something has to be newer than the copy
		return w.losing(ctx, func() error {
			return w.withoutIssuer(ctx, func() error {
				return errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(copied)), w.restartSome(r))
			})
		})
	}}
)

// losing does what makes the feed forget, once every sidecar has all on disk, and checks
// them before anything else is done to them.
func (w *world) losing(ctx context.Context, lose func() error) error {
	w.revoking.Lock()
	defer w.revoking.Unlock()
	w.settle(ctx)
	for _, s := range w.sidecars {
		if err := s.written(ctx); err != nil {
			return err
		}
	}
	if err := lose(); err != nil {
		return err
	}
	w.settle(ctx)
	w.sweep(ctx)
	w.lose()
	return nil
}

// written waits until all that s enforces is on its disk.
func (s *sidecar) written(ctx context.Context) error {
	for deadline := time.Now().Add(patience); ; wait(ctx, 20*time.Millisecond) {
		switch st, err := s.state(ctx); {
		case err == nil && st.Store.Queued == 0 && st.Store.Error == "":
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%s has not written all to disk: %+v, %w", s.Name, st, err)
		}
	}
}

// restartSome kills and starts some of the sidecars.
func (w *world) restartSome(r *rand.Rand) error {
	var errs []error
	for _, s := range w.sidecars {
		if r.IntN(2) == 0 {
			errs = append(errs, s.Kill(), s.up())
		}
	}
	return errors.Join(errs...)
}

// feedDir finds where the broker inside the issuer keeps the feed.
func (w *world) feedDir() (dir string, err error) {
	name := subject.Realm(stack.Realm).FeedStream()
	err = filepath.WalkDir(filepath.Dir(w.stack.Dir().AdminToken()), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == name {
			dir = path
			return fs.SkipAll
		}
		return err
	})
	if dir == "" && err == nil {
		err = fmt.Errorf("no directory of stream %s", name)
	}
	return dir, err
}
