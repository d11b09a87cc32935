package faults

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// strike is one kind of fault. It returns when what it did is undone; what it did may
// take longer to recover from.
type strike struct {
	name string
	// alone: nothing else may happen in the same round.
	alone bool
	do    func(ctx context.Context, w *world, r *rand.Rand) error
}

// struck is a strike at some sidecar that has what it takes.
func struck(name string, can func(*sidecar) bool, do func(ctx context.Context, s *sidecar, r *rand.Rand) error) strike {
	return strike{name: name, do: func(ctx context.Context, w *world, r *rand.Rand) error {
		var able []*sidecar
		for _, s := range w.sidecars {
			if can(s) {
				able = append(able, s)
			}
		}
		if len(able) == 0 {
			return errUnable
		}
		s := able[r.IntN(len(able))]
		s.troubled.Add(1)
		defer s.troubled.Add(-1)
		s.fault.Lock()
		defer s.fault.Unlock()
		return do(ctx, s, r)
	}}
}

// errUnable: there is nobody whom this could strike here.
var errUnable = errors.New("nothing here that it could strike")

func anyone(*sidecar) bool { return true }

// hold lets a fault last.
func hold(ctx context.Context, r *rand.Rand) {
	wait(ctx, size(500*time.Millisecond, time.Second)+time.Duration(r.Int64N(int64(size(1500*time.Millisecond, 4*time.Second)))))
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

var (
	sidecarKilled = struck("sidecar killed", anyone, func(ctx context.Context, s *sidecar, r *rand.Rand) error {
		if err := s.Kill(); err != nil {
			return err
		}
		hold(ctx, r)
		return s.up()
	})
	sidecarSuspended = struck("sidecar suspended", anyone, func(ctx context.Context, s *sidecar, _ *rand.Rand) error {
		return suspend(ctx, s)
	})
	partition = struck("partition", func(s *sidecar) bool { return s.cut != nil }, func(ctx context.Context, s *sidecar, r *rand.Rand) error {
		if err := s.cut(); err != nil {
			return err
		}
		if r.IntN(3) == 0 {
			// Longer than a view stays fresh.
			wait(ctx, size(time.Second, staleAfter+2*time.Second))
		} else {
			hold(ctx, r)
		}
		return s.heal()
	})
	connectionsLost = struck("connections lost", func(s *sidecar) bool { return s.drop != nil }, func(ctx context.Context, s *sidecar, r *rand.Rand) error {
		for range 1 + r.IntN(4) {
			if err := s.drop(); err != nil {
				return err
			}
			wait(ctx, time.Duration(r.IntN(500))*time.Millisecond)
		}
		return nil
	})
	storeTruncated = struck("store truncated", anyone, func(_ context.Context, s *sidecar, r *rand.Rand) error {
		if err := s.Kill(); err != nil {
			return err
		}
		if err := truncate(filepath.Join(s.data, "denylist"), r); err != nil {
			return err
		}
		return s.up()
	})
	diskFull = struck("disk full", func(s *sidecar) bool { return s.disk != nil }, func(ctx context.Context, s *sidecar, r *rand.Rand) error {
		if err := s.disk.fill(); err != nil {
			return err
		}
		hold(ctx, r)
		return s.disk.free()
	})
	clockJumps = struck("clock jumps", anyone, func(ctx context.Context, s *sidecar, r *rand.Rand) error {
		by := time.Duration(3+r.IntN(600)) * time.Second
		if r.IntN(2) == 0 {
			by = -by
		}
		if err := s.shift(by); err != nil {
			return err
		}
		hold(ctx, r)
		if r.IntN(3) == 0 {
			// It starts with a clock that is wrong.
			if err := errors.Join(s.Kill(), s.up()); err != nil {
				return err
			}
			hold(ctx, r)
		}
		return s.shift(0)
	})
	issuerKilled = strike{name: "issuer and broker killed", do: func(ctx context.Context, w *world, r *rand.Rand) error {
		return w.withoutIssuer(ctx, func() error { hold(ctx, r); return nil })
	}}
	issuerSuspended = strike{name: "issuer and broker suspended", do: func(ctx context.Context, w *world, _ *rand.Rand) error {
		w.fault.Lock()
		defer w.fault.Unlock()
		return suspend(ctx, w.stack.Issuer())
	}}
)

// suspend stops a process with SIGSTOP for a while.
func suspend(ctx context.Context, p interface{ Signal(s os.Signal) error }) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	wait(ctx, size(2*time.Second, 10*time.Second))
	return p.Signal(syscall.SIGCONT)
}

// withoutIssuer kills the issuer, and the broker if that is inside, does something, and
// brings it back.
func (w *world) withoutIssuer(ctx context.Context, do func() error) error {
	w.fault.Lock()
	defer w.fault.Unlock()
	w.issuerDown.Store(true)
	defer w.issuerDown.Store(false)
	if err := w.stack.Issuer().Kill(); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return w.stack.Issuer().Up(ctx)
}

// truncate cuts a random file off at a random byte.
func truncate(dir string, r *rand.Rand) error {
	type file struct {
		path string
		size int64
	}
	var all []file
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 0 {
			all = append(all, file{path, info.Size()})
		}
		return err
	})
	if err != nil || len(all) == 0 {
		return err
	}
	f := all[r.IntN(len(all))]
	at := r.Int64N(f.size)
	if strings.HasSuffix(f.path, ".mem") || strings.HasSuffix(f.path, ".vlog") {
		at = r.Int64N(min(f.size, 64<<10)) // behind that they are empty, mostly
	}
	if err := os.Truncate(f.path, at); err != nil {
		return fmt.Errorf("truncating: %w", err)
	}
	return nil
}
