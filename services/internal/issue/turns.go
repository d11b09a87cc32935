package issue

import (
	"context"
	"fmt"
	"sync"

	"github.com/revocast/revocast/events"
)

// turns lets the logins of one user through one after the other, since each would
// spoil the others' appends. Only speed depends on it: another issuer has turns of its
// own. The zero turns are ready.
type turns struct {
	mu    sync.Mutex
	queue map[events.SubjectKey]*queue // of users with a login under way
}

type queue struct {
	turn   chan struct{} // holds one element while somebody has the turn
	length int
}

// take waits for the turn, which the caller gives back by calling done.
func (t *turns) take(ctx context.Context, k events.SubjectKey) (done func(), err error) {
	t.mu.Lock()
	q := t.queue[k]
	if q == nil {
		q = &queue{turn: make(chan struct{}, 1)}
		if t.queue == nil {
			t.queue = map[events.SubjectKey]*queue{}
		}
		t.queue[k] = q
	}
	q.length++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if q.length--; q.length == 0 {
			delete(t.queue, k)
		}
	}
	select {
	case q.turn <- struct{}{}:
		return func() {
			<-q.turn
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, fmt.Errorf("waiting for another login: %w: %w", events.ErrUnavailable, ctx.Err())
	}
}
