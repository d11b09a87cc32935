package front

import (
	"context"
	"sync"
	"time"
)

// patience is a context that ends once somebody has waited by it for a time. Almost no
// answer waits for anything, and a timer and its place among its parent's children are
// made for those that do.
type patience struct {
	context.Context //nolint:containedctx // it is a context itself

	within time.Duration

	mu      sync.Mutex
	waiting context.Context //nolint:containedctx // so is this
	end     context.CancelFunc
	over    bool
}

func newPatience(ctx context.Context, within time.Duration) *patience {
	return &patience{Context: ctx, within: within}
}

// wait is the context of those who wait; the first of them starts the clock.
func (p *patience) wait() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == nil {
		p.waiting, p.end = context.WithTimeout(p.Context, p.within)
		if p.over {
			p.end()
		}
	}
	return p.waiting
}

// Deadline implements [context.Context].
func (p *patience) Deadline() (time.Time, bool) { return p.wait().Deadline() }

// Done implements [context.Context].
func (p *patience) Done() <-chan struct{} { return p.wait().Done() }

// Err implements [context.Context].
func (p *patience) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.waiting != nil:
		return p.waiting.Err()
	case p.over:
		return context.Canceled
	}
	return p.Context.Err()
}

// close ends it for those who still wait. It must be called.
func (p *patience) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	if p.end != nil {
		p.end()
	}
}
