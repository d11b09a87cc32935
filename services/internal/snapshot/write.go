package snapshot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	form "github.com/revocast/revocast/events/snapshot"
)

// write packs the feed and publishes it: all chunks, then the manifest.
func (w *Writer) write(ctx context.Context, feed state, last written) (form.Manifest, error) {
	m := form.Manifest{Epoch: events.Epoch(feed.epoch), AsOf: feed.lastTime}
	packer := &form.Packer{Now: feed.now}
	flush := func() error {
		chunk, n := packer.Chunk()
		if len(m.Chunks) == form.MaxChunks {
			return fmt.Errorf("the feed does not fit into %d chunks", form.MaxChunks)
		}
		ack, err := w.js.Publish(ctx, w.cfg.Realm.SnapshotChunk(len(m.Chunks)), chunk)
		if err != nil {
			return fmt.Errorf("publishing chunk %d: %w", len(m.Chunks), err)
		}
		if m.First == 0 {
			m.First = ack.Sequence
		}
		if ack.Sequence != m.First+uint64(len(m.Chunks)) {
			return errInterrupted
		}
		m.Chunks, m.Events = append(m.Chunks, sha256.Sum256(chunk)), m.Events+uint64(n) //nolint:gosec // a count
		return nil
	}
	for m.Sequence < feed.last {
		payloads, end, err := w.read(ctx, m.Sequence+1)
		if err != nil {
			return form.Manifest{}, err
		}
		for _, payload := range payloads {
			if packer.Add(payload) {
				if err := flush(); err != nil {
					return form.Manifest{}, err
				}
			}
		}
		m.Sequence = end
	}
	if err := flush(); err != nil {
		return form.Manifest{}, err
	}
	// What was read is one feed's only if it is still that one.
	if now, err := w.look(ctx); err != nil {
		return form.Manifest{}, err
	} else if now.epoch != feed.epoch || now.last < m.Sequence {
		return form.Manifest{}, errors.New("the feed was made anew or put back meanwhile")
	}
	sealed, err := m.Seal(w.root, w.cfg.Realm)
	if err != nil {
		return form.Manifest{}, fmt.Errorf("signing the manifest: %w", err)
	}
	_, err = w.js.Publish(ctx, w.cfg.Realm.SnapshotManifest(), sealed, jetstream.WithExpectLastSequencePerSubject(last.sequence))
	if err != nil {
		return form.Manifest{}, fmt.Errorf("publishing the manifest: %w", err)
	}
	return m, nil
}

const (
	readBatch, readBytes = 5000, 8 << 20
	// readIdle is how long an answer may pause, and lagging how long a replica whose
	// copy ends too early is asked again.
	readIdle, lagging, askAgain = 5 * time.Second, time.Minute, 200 * time.Millisecond
)

var errRead = errors.New("direct get")

// read gives the feed from a sequence on, one whole batch, and where that ends. Which
// replica answers is not known, and it may lag.
func (w *Writer) read(ctx context.Context, from uint64) (payloads [][]byte, end uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, lagging)
	defer cancel()
	for {
		payloads, end, err = w.batch(ctx, from)
		if err != nil || end > 0 {
			return payloads, end, err
		}
		timer := time.NewTimer(askAgain)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, 0, fmt.Errorf("reading the feed from %d: %w", from, ctx.Err())
		case <-timer.C:
		}
	}
}

// batch is one answer; it ends at zero if nothing was there.
func (w *Writer) batch(ctx context.Context, from uint64) (payloads [][]byte, end uint64, err error) {
	inbox := w.conn.NewInbox()
	sub, err := w.conn.SubscribeSync(inbox)
	if err != nil {
		return nil, 0, fmt.Errorf("subscribing to %s: %w", inbox, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only once the connection is closed
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, 0, fmt.Errorf("setting the limits of %s: %w", inbox, err)
	}
	body := fmt.Appendf(nil, `{"seq":%d,"batch":%d,"max_bytes":%d,"no_hdr":true}`, from, readBatch, readBytes)
	if err := w.conn.PublishRequest("$JS.API.DIRECT.GET."+w.cfg.Realm.FeedStream(), inbox, body); err != nil {
		return nil, 0, fmt.Errorf("asking for the feed from %d: %w", from, err)
	}
	for {
		m, err := next(ctx, sub)
		if err != nil {
			return nil, 0, fmt.Errorf("%w from %d: no answer after %d events: %w", errRead, from, len(payloads), err)
		}
		if len(m.Header) == 0 {
			payloads = append(payloads, m.Data)
			continue
		}
		switch status := m.Header.Get("Status"); {
		case status == "404" && len(payloads) == 0:
			return nil, 0, nil
		case status == "204" && len(payloads) > 0:
			end, err := strconv.ParseUint(m.Header.Get("Nats-Last-Sequence"), 10, 64)
			if err != nil || end < from || end-from+1 < uint64(len(payloads)) {
				return nil, 0, fmt.Errorf("%w from %d: %d events end with number %d", errRead, from, len(payloads), end)
			}
			return payloads, end, nil
		default:
			return nil, 0, fmt.Errorf("%w from %d: status %.3q after %d events", errRead, from, status, len(payloads))
		}
	}
}

func next(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, readIdle)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}
