package eventstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
)

// errConversation is an answer of more messages than any load may have.
var errConversation = errors.New("the answer does not end")

// exchange asks for what is answered by several messages. All requests of a
// connection share one subscription and are told apart by the last token of their
// inbox: a subscription for each would cost half a megabyte of channel and two
// round trips to the server's subject tree, more than all else that a load does.
type exchange struct {
	conn   *nats.Conn
	prefix string

	mu      sync.Mutex
	asked   uint64
	waiting map[string]*answer
}

// answer is filled under the exchange's lock until done is closed.
type answer struct {
	messages []*nats.Msg
	err      error
	done     chan struct{}
}

// newExchange subscribes for as long as the connection lives.
func newExchange(conn *nats.Conn) (*exchange, error) {
	x := &exchange{conn: conn, prefix: conn.NewInbox() + ".", waiting: map[string]*answer{}}
	sub, err := conn.Subscribe(x.prefix+"*", x.take)
	if err != nil {
		return nil, fmt.Errorf("subscribing to answers: %w", err)
	}
	// Whoever waits bounds what may arrive, and nothing waits in take.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("subscribing to answers: %w", err)
	}
	return x, nil
}

// take hands a message to whoever waits for it. What comes too late is nobody's.
func (x *exchange) take(m *nats.Msg) {
	x.mu.Lock()
	defer x.mu.Unlock()
	token := strings.TrimPrefix(m.Subject, x.prefix)
	a, ok := x.waiting[token]
	if !ok {
		return
	}
	a.messages = append(a.messages, m)
	if len(a.messages) > events.MaxLoad+1 {
		a.err = errConversation
	}
	if a.err != nil || m.Header.Get("Status") != "" {
		delete(x.waiting, token)
		close(a.done)
	}
}

// ask sends a request and returns all messages of its answer; the last is the one
// that ends it.
func (x *exchange) ask(ctx context.Context, subject string, request []byte) ([]*nats.Msg, error) {
	a := &answer{done: make(chan struct{})}
	x.mu.Lock()
	x.asked++
	token := strconv.FormatUint(x.asked, 36)
	x.waiting[token] = a
	x.mu.Unlock()
	if err := x.conn.PublishRequest(subject, x.prefix+token, request); err != nil {
		x.forget(token)
		return nil, err
	}
	select {
	case <-a.done:
		return a.messages, a.err
	case <-ctx.Done():
		x.forget(token)
		return nil, context.Cause(ctx)
	}
}

func (x *exchange) forget(token string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.waiting, token)
}
