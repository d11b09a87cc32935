package eventstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

const (
	// readBatch is how many messages are asked for at once, readWithin how long the
	// server may take to send them.
	readBatch  = 500
	readWithin = 5 * time.Second
	// forgottenAfter is when the server drops the consumer of a reader that died.
	forgottenAfter = 30 * time.Second

	sourceHeader = "Nats-Stream-Source"
)

// History is a stream seen by those who read what has happened, from the oldest to
// the newest. It is safe for concurrent use.
type History struct {
	js     jetstream.JetStream
	stream string
}

// NewHistory uses a connection that the caller owns and closes.
func NewHistory(conn *nats.Conn, stream string) (*History, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("using JetStream: %w", err)
	}
	return &History{js: js, stream: stream}, nil
}

// Range says what is read.
type Range struct {
	// Subjects may hold wildcards. None may match what another one does.
	Subjects []string
	// After is the sequence behind which reading begins. If it is zero, Since is the
	// broker's time at which it begins; if both are zero, the oldest message.
	After uint64
	Since time.Time
	// Last leaves out of each subject all but the last message, instead of what lies
	// before a place or a time.
	Last bool
}

// Past is one message of a history.
type Past struct {
	// Record is what was read. After an error in decoding, its envelope is empty.
	events.Record
	// Origin is where the event stands in the stream that this one sourced it from;
	// zero if it was published here.
	Origin events.Position
	// Rollup: it replaced everything before it on its subject, where it came from.
	Rollup bool
}

// Read gives what the range holds, in order, up to what the stream held when the
// reading began, as one replica knows it. An error that matches codec's is about the
// one message that comes with it, and the next one follows; any other ends the
// reading.
func (h *History) Read(ctx context.Context, r Range) iter.Seq2[Past, error] {
	return func(yield func(Past, error) bool) {
		if err := h.read(ctx, r, yield); err != nil {
			yield(Past{}, fmt.Errorf("reading %s: %w: %w", h.stream, events.ErrUnavailable, err))
		}
	}
}

func (h *History) read(ctx context.Context, r Range, yield func(Past, error) bool) error {
	stream, err := h.js.Stream(ctx, h.stream)
	if err != nil {
		return err
	}
	last := stream.CachedInfo().State.LastSeq
	consumer, err := stream.CreateConsumer(ctx, consumerOf(r))
	if err != nil {
		return err
	}
	info := consumer.CachedInfo()
	defer h.forget(ctx, info.Name)
	delivered := uint64(0)
	for pending := info.NumPending; pending > 0; {
		batch, err := consumer.Fetch(int(min(pending, readBatch)), jetstream.FetchMaxWait(readWithin))
		if err != nil {
			return err
		}
		before := delivered
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			if delivered++; meta.Sequence.Consumer != delivered {
				return fmt.Errorf("message %d of the consumer came as its message %d", meta.Sequence.Consumer, delivered)
			}
			if pending = meta.NumPending; meta.Sequence.Stream > last {
				return nil
			}
			p, err := past(m, meta)
			if !yield(p, err) {
				return nil
			}
		}
		if err := errors.Join(ctx.Err(), batch.Error()); err != nil {
			return err
		}
		if delivered == before {
			return fmt.Errorf("%d messages did not come", pending)
		}
	}
	return nil
}

// consumerOf needs no acknowledgements: whoever misses a message reads again.
func consumerOf(r Range) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		FilterSubjects: r.Subjects, AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: forgottenAfter,
	}
	switch {
	case r.Last:
		c.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
	case r.After > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.After+1
	case !r.Since.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.Since
	}
	return c
}

// forget drops a consumer that is read no more. One that stays is dropped by the
// server a little later.
func (h *History) forget(ctx context.Context, consumer string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	_ = h.js.DeleteConsumer(ctx, h.stream, consumer)
}

func past(m jetstream.Msg, meta *jetstream.MsgMetadata) (Past, error) {
	p := Past{
		Record: events.Record{
			Subject: m.Subject(), Position: events.Position{Sequence: meta.Sequence.Stream}, Time: meta.Timestamp,
		},
		Rollup: m.Headers().Get(jetstream.MsgRollup) != "",
	}
	// Stream, sequence and more, separated by spaces. Nobody can publish it.
	if _, rest, ok := strings.Cut(m.Headers().Get(sourceHeader), " "); ok {
		text, _, _ := strings.Cut(rest, " ")
		sequence, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return p, fmt.Errorf("message %d: %w: its origin: %w", meta.Sequence.Stream, codec.ErrMalformed, err)
		}
		p.Origin = events.Position{Sequence: sequence}
	}
	var err error
	if p.Envelope, err = codec.Decode(m.Data()); err != nil {
		return p, fmt.Errorf("decoding message %d: %w", meta.Sequence.Stream, err)
	}
	return p, nil
}

// Reach is the broker's time from which on the stream holds everything that came: when
// it was made, or the oldest message that it still has.
func (h *History) Reach(ctx context.Context) (time.Time, error) {
	stream, err := h.js.Stream(ctx, h.stream)
	if err != nil {
		return time.Time{}, fmt.Errorf("asking how far back %s reaches: %w: %w", h.stream, events.ErrUnavailable, err)
	}
	info := stream.CachedInfo()
	switch {
	case info.State.FirstSeq <= max(info.Config.FirstSeq, 1):
		return info.Created, nil
	case info.State.Msgs == 0:
		return info.TimeStamp, nil // all that came is gone
	}
	return info.State.FirstTime, nil
}
