package client

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Handler acts on one event. What it returns decides: nil acknowledges the event,
// an error has it delivered again, later and later. It may be called more than once
// for one event, also by several instances at the same time, so it must be
// idempotent or deduplicate by the event's id.
//
// Its context ends when the time to handle one event is over ([AckWait]). It does
// not end with Subscribe's: what has begun may finish.
type Handler func(ctx context.Context, d Delivery) error

// SubscribeOption changes one Subscribe.
type SubscribeOption func(*subscription)

// From says where a durable begins that does not exist yet; without it that is
// [Latest]. An existing durable goes on where it is. The event of the cursor itself
// may be delivered again. If events behind the cursor are gone, Subscribe returns
// [LostError] and leaves no durable behind.
func From(at Cursor) SubscribeOption { return func(s *subscription) { s.from = at } }

// AckWait is how long a handler may take, without it 30 s. After that the broker
// delivers the event again, to whichever instance asks first; this is also how soon
// the event that a killed instance was handling comes again. All instances of a
// durable should say the same.
func AckWait(d time.Duration) SubscribeOption { return func(s *subscription) { s.ackWait = d } }

// InOrder has one event at a time under way to all instances of the durable
// together: nothing is delivered before what came before it has been handled. An
// event whose handler never succeeds then holds up all others.
func InOrder() SubscribeOption { return func(s *subscription) { s.pending = 1 } }

// ForgetAfter is how long the broker remembers a durable that nobody uses, without it
// 30 days. For a durable that belongs to one instance, not to a service, less is
// enough. What is forgotten and comes again is new, see [From].
func ForgetAfter(d time.Duration) SubscribeOption { return func(s *subscription) { s.forget = d } }

// ErrDurable is returned for a durable that cannot be used: its name is not 1 to 64
// letters, digits, '-' or '_', or the broker has one by that name which is no
// subscription.
var ErrDurable = errors.New("durable cannot be used")

const (
	defaultAckWait = 30 * time.Second
	// defaultForget lies far beyond the age of the oldest event that a realm keeps.
	defaultForget = 30 * 24 * time.Hour
	// maxPending is how many events may be under way, or wait after a failure, for
	// all instances of a durable together. When so many fail, the rest waits too.
	maxPending = 1000
	maxDurable = 64
)

// How long until a failed event comes again: the first time, doubled up to the last.
const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = time.Minute
)

// Subscribe hands every event to handle until ctx ends, at least once each. The
// broker keeps the durable's place, also while nobody is there, for as long as the
// realm keeps events (7 days unless configured otherwise). A durable away for longer
// goes on with the oldest event left; a service that has to know what it missed
// uses [Client.Follow].
//
// Events come one at a time and in order, but one that has failed comes again after
// others; see [InOrder]. Any number of instances may share a durable, in as many
// processes or goroutines; each event goes to one of them. An event that cannot be
// read is reported as [PoisonError] and not delivered again.
//
// Broker restarts and lost connections only delay it. Should the durable be deleted
// meanwhile, it is made again from [Beginning]: rather everything twice than
// anything missed. When ctx ends, the handler at work finishes, its event is
// acknowledged, and Subscribe returns nil. Otherwise it returns an error that trying
// again does not mend: [ErrDurable], [LostError], a closed connection, credentials
// that do not suffice.
func (c *Client) Subscribe(ctx context.Context, durable string, handle Handler, opts ...SubscribeOption) error {
	s := &subscription{
		client: c, durable: durable, handle: handle,
		from: Latest, ackWait: defaultAckWait, forget: defaultForget, pending: maxPending,
	}
	for _, o := range opts {
		o(s)
	}
	if !validDurable(durable) {
		return fmt.Errorf("%w: %q is no name for one", ErrDurable, durable)
	}
	if s.ackWait <= 0 || s.forget <= s.ackWait {
		return fmt.Errorf("%w: it waits %v for a handler and is forgotten after %v", ErrDurable, s.ackWait, s.forget)
	}
	return c.persist(ctx, s.session)
}

// subscription is one call of Subscribe.
type subscription struct {
	client  *Client
	durable string
	handle  Handler
	from    Cursor
	ackWait time.Duration
	forget  time.Duration
	pending int
}

// session attaches to the durable and works until something goes wrong.
func (s *subscription) session(ctx context.Context) error {
	consumer, err := s.attach(ctx)
	if err != nil {
		return fmt.Errorf("attaching to durable %s: %w", s.durable, err)
	}
	// From now on the durable exists; if it is gone one day, see Subscribe.
	s.from = Beginning
	// One at a time: what waits here would wait for this instance alone, and its
	// time would run.
	messages, err := open(consumer, 1)
	if err != nil {
		return fmt.Errorf("reading durable %s: %w", s.durable, err)
	}
	defer s.release(ctx, messages)
	for ctx.Err() == nil {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err == nil {
			err = s.work(ctx, msg)
		}
		if err != nil {
			return fmt.Errorf("reading durable %s: %w", s.durable, err)
		}
	}
	return ctx.Err()
}

// work handles one message and answers for it.
func (s *subscription) work(ctx context.Context, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	d, err := s.client.decode(msg, meta)
	if err != nil {
		s.client.report(err)
		return msg.TermWithReason("cannot be read")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.ackWait)
	defer cancel()
	if err := s.handle(ctx, d); err != nil {
		s.client.report(fmt.Errorf("handling event %s, delivery %d, durable %s: %w", d.Event.ID, d.Deliveries, s.durable, err))
		return msg.NakWithDelay(retryAfter(d.Deliveries))
	}
	return msg.Ack()
}

// retryAfter grows with the number of deliveries.
func retryAfter(deliveries uint64) time.Duration {
	wait := firstRetry
	for n := uint64(1); n < deliveries && wait < lastRetry; n++ {
		wait *= 2
	}
	return min(wait, lastRetry)
}

// release stops reading. An event that was on its way goes back at once, for the
// next instance; and what has been acknowledged reaches the broker before
// Subscribe returns.
func (s *subscription) release(ctx context.Context, messages jetstream.MessagesContext) {
	if !s.client.conn.IsConnected() {
		messages.Stop()
		return
	}
	ctx, cancel := afterwards(ctx)
	defer cancel()
	messages.Drain()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			break
		}
		_ = msg.Nak() // else it comes again after AckWait
	}
	_ = s.client.conn.FlushWithContext(ctx) // the same
}

// attach finds the durable or makes it.
func (s *subscription) attach(ctx context.Context) (jetstream.Consumer, error) {
	stream := s.client.realm.EventsStream()
	consumer, err := s.client.js.Consumer(ctx, stream, s.durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return s.create(ctx)
	case errors.Is(err, jetstream.ErrNotPullConsumer):
		return nil, fmt.Errorf("%w: %w", ErrDurable, err)
	case err != nil:
		return nil, err
	}
	have := consumer.CachedInfo().Config
	if have.AckPolicy != jetstream.AckExplicitPolicy || have.FilterSubject != "" || len(have.FilterSubjects) > 0 {
		return nil, fmt.Errorf("%w: it is configured for something else", ErrDurable)
	}
	want := s.configure(have)
	if reflect.DeepEqual(have, want) {
		return consumer, nil
	}
	return s.client.js.UpdateConsumer(ctx, stream, want)
}

// configure sets what every attachment decides anew; where the durable began and
// what the broker added stays.
func (s *subscription) configure(c jetstream.ConsumerConfig) jetstream.ConsumerConfig {
	c.AckWait, c.MaxAckPending, c.InactiveThreshold = s.ackWait, s.pending, s.forget
	c.MaxDeliver, c.BackOff = -1, nil
	return c
}

func (s *subscription) create(ctx context.Context) (jetstream.Consumer, error) {
	config := s.configure(jetstream.ConsumerConfig{Durable: s.durable, AckPolicy: jetstream.AckExplicitPolicy})
	start(&config, s.from)
	consumer, err := s.client.js.CreateConsumer(ctx, s.client.realm.EventsStream(), config)
	if err != nil {
		return nil, err
	}
	if err := held(ctx, consumer, s.from); err != nil {
		s.client.remove(ctx, consumer)
		return nil, err
	}
	return consumer, nil
}

// validDurable accepts what can be one token of a NATS subject.
func validDurable(name string) bool {
	if name == "" || len(name) > maxDurable {
		return false
	}
	for _, c := range []byte(name) {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}
