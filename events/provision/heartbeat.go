package provision

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/topology"
)

// Headers of a scheduled message (ADR-51 of nats-architecture-and-design).
const (
	scheduleHeader       = "Nats-Schedule"
	scheduleTargetHeader = "Nats-Schedule-Target"
	scheduleTTLHeader    = "Nats-Schedule-TTL"
	// schedulerHeader is in a message that a schedule has published.
	schedulerHeader = "Nats-Scheduler"
	ttlHeader       = "Nats-TTL"
)

// schedule makes the server beat with the feed's epoch. A schedule that already
// does is kept; of several issuers that find none, one wins and the others see
// that theirs would have said the same.
func (r *Realm) schedule(ctx context.Context, epoch string) error {
	if epoch == "" {
		return fmt.Errorf("scheduling the heartbeat: stream %s has no %s in its metadata",
			r.options.Realm.FeedStream(), topology.EpochKey)
	}
	for {
		last, err := r.scheduled(ctx)
		if err != nil {
			return err
		}
		if last.epoch == events.Epoch(epoch) {
			return nil
		}
		err = r.publishSchedule(ctx, events.Epoch(epoch), last.sequence)
		if err == nil {
			return nil
		}
		var refused *jetstream.APIError
		if !errors.As(err, &refused) || !conflict(refused.ErrorCode) {
			return fmt.Errorf("scheduling the heartbeat: %w", err)
		}
	}
}

type scheduled struct {
	epoch    events.Epoch
	sequence uint64
}

// scheduled reads the schedule from the leader; zero if there is none. One that
// cannot be read has no epoch, and will be replaced.
func (r *Realm) scheduled(ctx context.Context) (scheduled, error) {
	msg, err := lastMessage(ctx, r.js, r.options.Realm.PulseStream(), r.options.Realm.PulseSchedule())
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return scheduled{}, nil
	}
	if err != nil {
		return scheduled{}, fmt.Errorf("reading the heartbeat's schedule: %w", err)
	}
	s := scheduled{sequence: msg.Sequence}
	if e, err := codec.Decode(msg.Data); err == nil {
		if beat, ok := e.Event.(events.Heartbeat); ok {
			s.epoch = beat.Epoch
		}
	}
	return s, nil
}

func (r *Realm) publishSchedule(ctx context.Context, epoch events.Epoch, after uint64) error {
	msg, err := beat(r.options.Realm.PulseSchedule(), epoch)
	if err != nil {
		return err
	}
	msg.Header.Set(scheduleHeader, "@every "+topology.HeartbeatEvery.String())
	msg.Header.Set(scheduleTargetHeader, r.options.Realm.PulseBeat())
	msg.Header.Set(scheduleTTLHeader, topology.HeartbeatTTL.String())
	msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(after, 10))
	_, err = r.js.PublishMsg(ctx, msg)
	return err
}

// lastMessage reads the last message of a subject from the stream's leader.
func lastMessage(ctx context.Context, js jetstream.JetStream, stream, subject string) (*jetstream.RawStreamMsg, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	return s.GetLastMsgForSubject(ctx, subject)
}

// conflict reports whether somebody else appended first; NATS says it in two ways.
func conflict(c jetstream.ErrorCode) bool {
	return c == jetstream.JSErrCodeStreamWrongLastSequence ||
		c == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

// beat is a heartbeat as a message.
func beat(subject string, epoch events.Epoch) (*nats.Msg, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	msg := nats.NewMsg(subject)
	msg.Data, err = codec.Encode(events.Envelope{
		ID: events.EventID(id.String()), At: time.Now(), Event: events.Heartbeat{Epoch: epoch},
	})
	return msg, err
}
