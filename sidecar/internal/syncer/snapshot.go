package syncer

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events/snapshot"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// chunksAhead is how many chunks one request asks for. Two such may be under way.
const chunksAhead = 4

var (
	errNoSnapshot = errors.New("there is no snapshot")
	errUnwanted   = errors.New("the snapshot is not wanted any more")
)

// loader loads the snapshots that the machine asks for, one at a time, until ctx ends.
// Whatever is wrong with one, the feed has it all.
func (r *run) loader(ctx context.Context) {
	for {
		var l replica.Load
		select {
		case <-ctx.Done():
			return
		case l = <-r.loads:
		}
		m, err := r.loadSnapshot(ctx, l)
		if err != nil {
			r.log.Info("the feed is read from its beginning", zap.NamedError("because", err))
			r.hand(func(machine *replica.Machine) replica.Effects { return machine.NotLoaded(l.ID) })
			continue
		}
		r.log.Info("the feed is read on from a snapshot",
			zap.Uint64("sequence", m.Sequence), zap.Time("as_of", m.AsOf), zap.Uint64("events", m.Events))
		r.hand(func(machine *replica.Machine) replica.Effects { return machine.Loaded(l.ID, m.Sequence, m.AsOf) })
	}
}

// wantSnapshot gives the loader something to do, in place of what it has not begun.
func (r *run) wantSnapshot(l replica.Load) {
	select {
	case <-r.loads:
	default:
	}
	r.loads <- l
}

// gets reads messages of the stream of snapshots.
type gets struct {
	conn     *nats.Conn
	answers  *nats.Subscription
	subject  string
	inbox    string
	requests int
}

func (r *run) loadSnapshot(ctx context.Context, l replica.Load) (m snapshot.Manifest, err error) {
	g := &gets{conn: r.conn, subject: "$JS.API.DIRECT.GET." + r.cfg.Realm.SnapshotStream(), inbox: r.conn.NewInbox() + "."}
	if g.answers, err = r.conn.SubscribeSync(g.inbox + "*"); err != nil {
		return m, fmt.Errorf("subscribing to %s: %w", g.inbox, err)
	}
	defer func() { _ = g.answers.Unsubscribe() }() // fails only once the connection is closed
	sealed, err := g.last(ctx, r.cfg.Realm.SnapshotManifest())
	if err != nil {
		return m, err
	}
	if m, err = snapshot.Open(r.cfg.Root, r.cfg.Realm, sealed); err != nil {
		return m, err
	}
	if m.Epoch != l.Epoch {
		return m, fmt.Errorf("%w of this epoch", errNoSnapshot)
	}
	return m, r.loadChunks(ctx, g, l, m)
}

// loadChunks applies one chunk after another, while the next are on their way.
func (r *run) loadChunks(ctx context.Context, g *gets, l replica.Load, m snapshot.Manifest) error {
	var asked []string
	ask := func(from int) (err error) {
		if from < len(m.Chunks) {
			var inbox string
			inbox, err = g.request(fmt.Sprintf(`{"seq":%d,"batch":%d,"no_hdr":true}`,
				m.First+uint64(from), min(chunksAhead, len(m.Chunks)-from))) //nolint:gosec // an index
			asked = append(asked, inbox)
		}
		return err
	}
	if err := ask(0); err != nil {
		return err
	}
	events := uint64(0)
	for i := range m.Chunks {
		if i%chunksAhead == 0 {
			if err := ask(i + chunksAhead); err != nil {
				return err
			}
		}
		chunk, err := g.next(ctx, asked[i/chunksAhead])
		if err != nil {
			return fmt.Errorf("reading chunk %d of %d: %w", i, len(m.Chunks), err)
		}
		if !m.Holds(i, chunk) {
			return fmt.Errorf("%w: chunk %d of %d is not the one that was signed", snapshot.ErrInvalid, i, len(m.Chunks))
		}
		contents, err := snapshot.Unpack(chunk)
		if err != nil {
			return fmt.Errorf("reading chunk %d of %d: %w", i, len(m.Chunks), err)
		}
		events += uint64(len(contents.Entries) + len(contents.Others))
		if !r.part(l.ID, contents) {
			return errUnwanted
		}
	}
	if events != m.Events {
		return fmt.Errorf("%w: %d events, not %d", snapshot.ErrInvalid, events, m.Events)
	}
	return nil
}

// part has the owner apply one chunk, and reports whether that is still wanted. It
// waits, so that no more than a few chunks are in memory.
func (r *run) part(id uint64, c snapshot.Contents) bool {
	wanted := make(chan bool, 1)
	r.hand(func(m *replica.Machine) replica.Effects {
		e := m.Part(id, c.Entries, c.Others)
		wanted <- e.Apply != nil
		return e
	})
	select {
	case is := <-wanted:
		return is
	case <-r.stop:
		return false
	}
}

// request asks for something; the answer comes to the inbox returned.
func (g *gets) request(body string) (inbox string, err error) {
	g.requests++
	inbox = g.inbox + strconv.Itoa(g.requests)
	if err := g.conn.PublishRequest(g.subject, inbox, []byte(body)); err != nil {
		return "", fmt.Errorf("asking for the snapshot: %w", err)
	}
	return inbox, nil
}

// last reads the last message of a subject.
func (g *gets) last(ctx context.Context, subject string) ([]byte, error) {
	inbox, err := g.request(fmt.Sprintf(`{"last_by_subj":%q,"no_hdr":true}`, subject))
	if err != nil {
		return nil, err
	}
	return g.next(ctx, inbox)
}

// next gives the next message of one answer. Statuses that end an earlier one are
// passed over.
func (g *gets) next(ctx context.Context, inbox string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, idle)
	defer cancel()
	for {
		m, err := g.answers.NextMsgWithContext(ctx)
		status, ended := "", false
		if err == nil {
			status, ended = only(m.Header, headerStatus)
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("waiting for the snapshot: %w", err)
		case ended && status == statusEnd:
		case m.Subject != inbox || ended:
			return nil, fmt.Errorf("%w: status %.3q", errNoSnapshot, status)
		default:
			return m.Data, nil
		}
	}
}
