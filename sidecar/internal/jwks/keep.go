package jwks

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// keepWithin is how long the end waits for a disk that hangs.
const keepWithin = 5 * time.Second

// keep writes to disk, until ctx ends and once more then, what a start without network
// needs. Nothing else does, so that nothing else waits for a disk.
func (s *Set) keep(ctx context.Context) {
	for failures, ended := 0, false; ; {
		var again <-chan time.Time
		if err := errors.Join(s.saveAnnounced(), s.saveCopy()); err != nil {
			s.seldom.Warn("keys are not saved for a start without network: " + err.Error())
			failures++
			again = time.After(s.next(failures))
		} else {
			failures = 0
		}
		if ended {
			return
		}
		select {
		case <-ctx.Done():
			ended = true
		case <-s.keeping:
		case <-again:
		}
	}
}

// signalKeep says that there is something to write. It does not wait.
func (s *Set) signalKeep() {
	select {
	case s.keeping <- struct{}{}:
	default: // it is known
	}
}

// saveCopy keeps what the issuer published last.
func (s *Set) saveCopy() error {
	text := s.fresh.Swap(nil)
	if text == nil {
		return nil
	}
	if err := s.copy.save(*text); err != nil {
		s.fresh.CompareAndSwap(nil, text) // unless there is a newer one
		return err
	}
	return nil
}

// awaitKept waits for keep to have ended, which a disk that hangs does not let it.
func (s *Set) awaitKept(kept <-chan struct{}) error {
	late := time.NewTimer(keepWithin)
	defer late.Stop()
	select {
	case <-kept:
		return nil
	case <-late.C:
		return fmt.Errorf("saving the keys of %s: the disk has not answered within %s", s.cfg.Issuer, keepWithin)
	}
}
