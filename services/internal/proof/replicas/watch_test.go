package replicas

import (
	"context"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

// watcher reads the whole journal in order of sequence, as it is written: later a
// roll-up may have taken some of it away.
type watcher struct {
	messages jetstream.MessagesContext
	reading  sync.WaitGroup

	mu      sync.Mutex
	grown   *sync.Cond
	records []events.Record
	err     error
}

// watch begins before anything that matters is written.
func watch(t *testing.T, conn *nats.Conn) *watcher {
	t.Helper()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(t.Context(), realm.JournalStream(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{}
	w.grown = sync.NewCond(&w.mu)
	if w.messages, err = consumer.Messages(); err != nil {
		t.Fatal(err)
	}
	w.reading.Go(w.read)
	t.Cleanup(func() {
		w.messages.Stop()
		w.reading.Wait()
	})
	return w
}

func (w *watcher) read() {
	for {
		m, err := w.messages.Next()
		if err == nil {
			err = w.take(m)
		}
		if err != nil {
			w.mu.Lock()
			w.err = err
			w.mu.Unlock()
			w.grown.Broadcast()
			return
		}
	}
}

func (w *watcher) take(m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	e, err := codec.Decode(m.Data())
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, events.Record{
		Subject: m.Subject(), Position: events.Position{Sequence: meta.Sequence.Stream}, Time: meta.Timestamp, Envelope: e,
	})
	w.grown.Broadcast()
	return nil
}

// upTo gives everything up to a sequence, once it is there.
func (w *watcher) upTo(ctx context.Context, t *testing.T, sequence uint64) []events.Record {
	t.Helper()
	stop := context.AfterFunc(ctx, w.grown.Broadcast)
	defer stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if n := len(w.records); n > 0 && w.records[n-1].Position.Sequence >= sequence {
			return append([]events.Record(nil), w.records...)
		}
		if w.err != nil || ctx.Err() != nil {
			t.Fatalf("reading the journal up to %d: %v, %v", sequence, w.err, ctx.Err())
		}
		w.grown.Wait()
	}
}
