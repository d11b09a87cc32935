package syncer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

const (
	// lagging is how long a server whose copy of the feed ends too early is asked
	// again, and how often.
	lagging, askAgain = 10 * time.Second, 200 * time.Millisecond
	// connectWithin bounds one attempt to connect.
	connectWithin = 5 * time.Second
)

// ErrBehind is returned where the server that answers does not have what the feed is
// known to hold: it lags behind the others, or the feed was rolled back.
var ErrBehind = errors.New("the server's copy of the feed ends too early")

// Reader reads stretches of the feed as they are stored, by the direct gets that a
// [Syncer] catches up with, over a connection of its own. It is for whoever compares
// and follows nothing. It is not safe for concurrent use.
type Reader struct {
	conn     *nats.Conn
	answers  *nats.Subscription
	subject  string
	inbox    string
	requests uint64
	patience time.Duration
}

// NewReader connects as cfg says; of it only Realm, URL and Options count.
func NewReader(cfg Config) (*Reader, error) {
	options := append(slices.Clone(cfg.Options),
		nats.Name("revocast-sidecar fsck"), nats.CustomInboxPrefix(topology.Sidecar.InboxPrefix()),
		nats.Timeout(connectWithin), nats.NoReconnect())
	conn, err := nats.Connect(cfg.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the broker: %w", err)
	}
	r := &Reader{conn: conn, subject: "$JS.API.DIRECT.GET." + cfg.Realm.FeedStream(), inbox: conn.NewInbox() + ".", patience: lagging}
	if r.answers, err = conn.SubscribeSync(r.inbox + "*"); err == nil {
		err = r.answers.SetPendingLimits(-1, -1) // what is dropped would look as if it were not stored
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("subscribing to %s: %w", r.inbox, err)
	}
	return r, nil
}

// Close closes the connection.
func (r *Reader) Close() { r.conn.Close() }

// Read gives what the feed holds from one sequence to another, both included, in
// order; to is zero for whatever there is. Events that cannot be decoded are nil. It
// ends with [ErrBehind] if the server has nothing as late as to, for some seconds.
func (r *Reader) Read(ctx context.Context, from, to uint64) iter.Seq2[replica.Batch, error] {
	return func(yield func(replica.Batch, error) bool) {
		end := to
		if to == 0 {
			end = math.MaxUint64
		}
		size, until := batchSize, time.Now().Add(r.patience)
		for from <= end {
			a, err := r.ask(ctx, from, size)
			switch {
			case err != nil:
				yield(replica.Batch{}, err)
				return
			case a.last == 0 && to == 0:
				return
			case a.last == 0:
				if err := pause(ctx, until); err != nil {
					yield(replica.Batch{}, fmt.Errorf("%w: it has nothing from %d on, and %d is known", err, from, to))
					return
				}
				continue
			case a.last > end && size == 1:
				return // the next one there is lies beyond
			case a.last > end:
				// Where among them the end is cannot be seen: they carry no numbers.
				size = max(1, len(a.payloads)/2)
				continue
			}
			b := replica.Batch{Last: a.last, Events: make([]events.Event, len(a.payloads))}
			for i, payload := range a.payloads {
				b.Events[i] = decode(payload)
			}
			if !yield(b, nil) {
				return
			}
			from, until = a.last+1, time.Now().Add(r.patience)
		}
	}
}

// pause waits before the same is asked again, until the time given.
func pause(ctx context.Context, until time.Time) error {
	if time.Now().After(until) {
		return ErrBehind
	}
	timer := time.NewTimer(askAgain)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// stretch is an answer as it was stored.
type stretch struct {
	payloads [][]byte
	last     uint64 // zero if nothing was there
}

// ask makes one request and waits for the whole answer.
func (r *Reader) ask(ctx context.Context, from uint64, size int) (stretch, error) {
	if err := ctx.Err(); err != nil {
		return stretch{}, err
	}
	r.requests++
	q := &request{reply: strconv.FormatUint(r.requests, 10), from: from}
	body := fmt.Appendf(nil, `{"seq":%d,"batch":%d,"max_bytes":%d,"no_hdr":true}`, from, size, batchBytes)
	if err := r.conn.PublishRequest(r.subject, r.inbox+q.reply, body); err != nil {
		return stretch{}, fmt.Errorf("asking for the feed from %d: %w", from, err)
	}
	var payloads [][]byte
	for !q.ended {
		m, err := r.answers.NextMsg(idle)
		switch {
		case err != nil:
			return stretch{}, fmt.Errorf("%w from %d: no answer after %d events: %w", errFetch, from, q.events, err)
		case strings.TrimPrefix(m.Subject, r.inbox) != q.reply:
		case len(m.Header) > 0:
			q.finish(m.Header)
		case q.events == size:
			return stretch{}, fmt.Errorf("%w from %d: more than %d events", errFetch, from, size)
		default:
			q.events++
			payloads = append(payloads, m.Data)
		}
	}
	return stretch{payloads, q.last}, q.err
}
