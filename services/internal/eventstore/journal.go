package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

const (
	// attemptTimeout bounds one publish; an election takes longer than one and
	// shorter than a few.
	attemptTimeout = 2 * time.Second
	// giveUpAfter bounds an append whose caller sets no deadline. It lies far
	// below the lifetime of any session: after a subject has expired away, a
	// late retry would succeed as if it were the first.
	giveUpAfter = 8 * time.Second
	retryPause  = 50 * time.Millisecond
)

// JetStream error codes that mean something here.
const (
	codeNoMessage          jetstream.ErrorCode = 10037
	codeDuplicateInProcess jetstream.ErrorCode = 10158
)

// Journal is one JOURNAL stream. It is safe for concurrent use and holds nothing
// but its connection and one subscription on it.
type Journal struct {
	conn   *nats.Conn
	js     jetstream.JetStream
	loads  *exchange
	stream string
}

// NewJournal uses a connection that the caller owns and closes. It should send
// nothing late (nats.ReconnectBufSize(-1)): what a caller was told is unavailable
// would otherwise happen when the broker returns.
func NewJournal(conn *nats.Conn, stream string) (*Journal, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("using JetStream: %w", err)
	}
	loads, err := newExchange(conn)
	if err != nil {
		return nil, err
	}
	return &Journal{conn: conn, js: js, loads: loads, stream: stream}, nil
}

// Append writes one event if its expectation holds, and returns where. A lost
// answer is asked for again under the same event id until the context or eight
// seconds end it. Errors match [events.ErrConflict], [events.ErrUnavailable] or
// codec's.
func (j *Journal) Append(ctx context.Context, a events.Append) (events.Position, error) {
	msg, err := j.message(a)
	if err != nil {
		return events.Position{}, fmt.Errorf("appending to %s: %w", a.Subject, err)
	}
	sequence, err := publish(ctx, j.js, msg)
	if wrongLastSequence(err) {
		sequence, err = j.resolve(ctx, a)
	}
	if err != nil {
		return events.Position{}, fmt.Errorf("appending to %s: %w", a.Subject, err)
	}
	return events.Position{Sequence: sequence}, nil
}

func (j *Journal) message(a events.Append) (*nats.Msg, error) {
	if a.Unguarded && (a.After != 0 || a.Guard != "") {
		return nil, errors.New("an unguarded append has no expectation")
	}
	data, err := codec.Encode(a.Envelope)
	if err != nil {
		return nil, err
	}
	m := nats.NewMsg(a.Subject)
	m.Data = data
	m.Header.Set(jetstream.MsgIDHeader, string(a.Envelope.ID))
	m.Header.Set(jetstream.ExpectedStreamHeader, j.stream)
	if !a.Unguarded {
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, fmt.Sprint(a.After))
		if a.Guard != "" {
			m.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, a.Guard)
		}
	}
	setTTL(m, a.TTL)
	if a.Rollup {
		m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	}
	return m, nil
}

// longestTTL is more than anything here needs. The server adds a TTL to a time in
// nanoseconds: what lasts beyond the year 2262 overflows, and is gone at once.
const longestTTL = 100 * 366 * 24 * time.Hour

// setTTL rounds up to the seconds that the server counts in.
func setTTL(m *nats.Msg, ttl time.Duration) {
	if ttl > 0 {
		m.Header.Set(jetstream.MsgTTLHeader, fmt.Sprintf("%ds", (min(ttl, longestTTL)+time.Second-1)/time.Second))
	}
}

// publish sends until the outcome is known.
func publish(ctx context.Context, js jetstream.JetStream, msg *nats.Msg) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, giveUpAfter)
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, attemptTimeout)
		ack, err := js.PublishMsg(attempt, msg, jetstream.WithRetryAttempts(0))
		done()
		if err == nil {
			return ack.Sequence, nil
		}
		if wrongLastSequence(err) {
			return 0, err
		}
		if !worthRepeating(err) || pause(ctx) != nil {
			return 0, fmt.Errorf("%w: %w", events.ErrUnavailable, err)
		}
	}
}

// worthRepeating tells answers that settle nothing (silence, no leader, another
// copy still being processed) from those that do.
func worthRepeating(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return !errors.Is(err, nats.ErrMaxPayload) && !errors.Is(err, nats.ErrConnectionClosed)
	}
	return api.ErrorCode == codeDuplicateInProcess || api.Code >= 500
}

// wrongLastSequence covers both codes of a failed expectation: 10071 names the
// sequence found, 10164 is its replicated form and does not.
func wrongLastSequence(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// resolve tells a conflict with somebody else from one with ourselves: a publish
// whose answer was lost and that was sent again fails its own expectation. If it
// happened, it is what came first on the subject after what it expected, whatever
// may have followed since. Only a roll-up may have removed it; then it is a conflict
// with that.
func (j *Journal) resolve(ctx context.Context, a events.Append) (uint64, error) {
	next, err := j.leaderNext(ctx, a.Subject, a.After)
	if err != nil {
		return 0, err
	}
	if next != nil && next.Envelope.ID == a.Envelope.ID {
		return next.Position.Sequence, nil
	}
	return 0, events.ErrConflict
}

// leaderNext reads the first message of a subject beyond a sequence from the stream's
// leader, which a direct get would not; nil if there is none.
func (j *Journal) leaderNext(ctx context.Context, subject string, after uint64) (*events.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, giveUpAfter)
	defer cancel()
	request, err := json.Marshal(map[string]any{"seq": after + 1, "next_by_subj": subject})
	if err != nil {
		return nil, err
	}
	for {
		next, err := j.askLeader(ctx, request)
		if err == nil {
			return next, nil
		}
		if !worthRepeating(err) || pause(ctx) != nil {
			return nil, fmt.Errorf("%w: %w", events.ErrUnavailable, err)
		}
	}
}

func (j *Journal) askLeader(ctx context.Context, request []byte) (*events.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	reply, err := j.conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+j.stream, request)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return nil, err
	}
	if answer.Error != nil {
		if answer.Error.ErrorCode == codeNoMessage {
			return nil, nil //nolint:nilnil // no message is an answer, not an error
		}
		return nil, answer.Error
	}
	e, err := codec.Decode(answer.Message.Data)
	if err != nil {
		return nil, fmt.Errorf("decoding message %d: %w", answer.Message.Sequence, err)
	}
	return &events.Record{
		Subject: answer.Message.Subject, Position: events.Position{Sequence: answer.Message.Sequence},
		Time: answer.Message.Time, Envelope: e,
	}, nil
}

// pause waits a moment before the next attempt; it returns the context's error.
func pause(ctx context.Context) error {
	t := time.NewTimer(retryPause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
