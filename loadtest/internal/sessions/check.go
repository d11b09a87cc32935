package sessions

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/revocast/revocast/loadtest/internal/issuer"
)

// Steps that open a crowd and, after a load, judge it. Each is done as fast as it is
// answered, so many at a time, and gives how many requests were answered; when ctx ends,
// it stops early.

// Open has the users log in until there are n sessions more. Its error is the first that
// a login came to; no more are tried then.
func (c *Crowd) Open(ctx context.Context, n, atATime int) (done int64, _ error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	work(ctx, n, atATime, func(i int) {
		user := c.user(uint64(i)) //nolint:gosec // a count
		g, err := c.issuer(uint64(i)).LogIn(ctx, user)
		if err != nil {
			stop(err)
			return
		}
		c.opened(user, g)
		atomic.AddInt64(&done, 1)
	})
	return done, context.Cause(ctx)
}

// Use refreshes every living session once: its last token must be good for that.
func (c *Crowd) Use(ctx context.Context, atATime int) int64 {
	return c.each(ctx, atATime, func(n uint64, h held) (held, int64) {
		g, err := c.refreshed(ctx, n, h)
		if !c.judge(err) {
			return held{}, answered(err)
		}
		h.refresh = g.Refresh
		return h, 1
	})
}

// Repeat refreshes every living session, and again with the same token, which must not
// give a second successor.
func (c *Crowd) Repeat(ctx context.Context, atATime int) int64 {
	return c.each(ctx, atATime, func(n uint64, h held) (held, int64) {
		first, err := c.refreshed(ctx, n, h)
		if !c.judge(err) {
			return held{}, answered(err)
		}
		again, err := c.refreshed(ctx, n+1, h)
		if err == nil && again.Refresh != "" && again.Refresh != first.Refresh {
			c.count(func(t *Tally) { t.Forked++ })
			return held{}, 2
		}
		if refused, ok := errors.AsType[*issuer.RefusedError](err); ok && refused.Outcome == "reuse" {
			c.count(func(t *Tally) { t.LoggedOut++ })
			return held{}, 2
		}
		h.refresh = first.Refresh
		return h, 1 + answered(err)
	})
}

// End revokes every living session.
func (c *Crowd) End(ctx context.Context, atATime int) int64 {
	return c.each(ctx, atATime, func(n uint64, h held) (held, int64) {
		if err := c.patiently(ctx, func() error { return c.revoke(ctx, n, h) }); err != nil {
			c.count(func(t *Tally) { t.Unchecked++ })
			return held{}, answered(err)
		}
		c.end(h)
		return held{}, 1
	})
}

// Ended refreshes every session that was revoked, which must be refused.
func (c *Crowd) Ended(ctx context.Context, atATime int) (done int64) {
	c.mu.Lock()
	all := c.ended
	c.ended = nil
	c.mu.Unlock()
	var judged atomic.Int64
	work(ctx, len(all), atATime, func(i int) {
		_, err := c.refreshed(ctx, uint64(i), all[i]) //nolint:gosec // a count
		refused, ok := errors.AsType[*issuer.RefusedError](err)
		switch {
		case err == nil:
			c.count(func(t *Tally) { t.Resurrected++ })
		case !ok || !refused.Over():
			return
		}
		judged.Add(1)
	})
	c.count(func(t *Tally) { t.Unchecked += int64(len(all)) - judged.Load() })
	return judged.Load()
}

// each has every living session handled by f, which gives what it is from then on: the
// zero one is gone. f also says how many requests were answered.
func (c *Crowd) each(ctx context.Context, atATime int, f func(n uint64, h held) (held, int64)) int64 {
	c.mu.Lock()
	all := c.living
	c.living = nil
	c.mu.Unlock()
	var done atomic.Int64
	handled := work(ctx, len(all), atATime, func(i int) {
		h, n := f(uint64(i), all[i]) //nolint:gosec // a count
		if h != (held{}) {
			c.put(h)
		}
		done.Add(n)
	})
	c.count(func(t *Tally) { t.Unchecked += int64(len(all) - handled) })
	return done.Load()
}

// judge takes the answer to a token that must be good.
func (c *Crowd) judge(err error) bool {
	if err == nil {
		return true
	}
	refused, ok := errors.AsType[*issuer.RefusedError](err)
	c.count(func(t *Tally) {
		if ok && refused.Over() {
			t.LoggedOut++
		} else {
			t.Unchecked++
		}
	})
	return false
}

// answered is 1 for an answer of whatever status.
func answered(err error) int64 {
	if _, ok := errors.AsType[*issuer.RefusedError](err); err == nil || ok {
		return 1
	}
	return 0
}

// refreshed uses a token until that is decided.
func (c *Crowd) refreshed(ctx context.Context, n uint64, h held) (g issuer.Grant, err error) {
	err = c.patiently(ctx, func() error {
		g, err = c.issuer(n).Refresh(ctx, h.client, h.refresh)
		return err
	})
	return g, err
}

// tries and pause bound how often something is asked that the issuer does not decide.
const (
	tries = 5
	pause = 200 * time.Millisecond
)

// patiently asks again while there is no answer, or one that decides nothing. What is
// asked may be repeated.
func (c *Crowd) patiently(ctx context.Context, ask func() error) (err error) {
	for range tries {
		err = ask()
		if refused, ok := errors.AsType[*issuer.RefusedError](err); err == nil || ok && refused.Decided() {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
	return err
}

// work does n things, so many at a time, and gives how many it began.
func work(ctx context.Context, n, atATime int, do func(i int)) int {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(atATime, n) {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				do(i)
			}
		})
	}
	workers.Wait()
	return min(int(next.Load()), n)
}
