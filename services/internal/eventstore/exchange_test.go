package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/eventstest/logsuite"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
)

// answering answers direct gets of a stream that is none, and gives a journal that
// asks it.
func answering(t *testing.T, s *eventstest.Server, name string, answer func(*nats.Msg)) *eventstore.Journal {
	t.Helper()
	conn := s.Superuser(t, topology.Issuer.Account())
	if _, err := conn.Subscribe("$JS.API.DIRECT.GET."+name, answer); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	j, err := eventstore.NewJournal(conn, name) // no role may ask it
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// answerTo is what the server says to a load, message by message.
func answerTo(t *testing.T, s *eventstest.Server, request string) []*nats.Msg {
	t.Helper()
	conn := s.Superuser(t, topology.Issuer.Account())
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.PublishRequest("$JS.API.DIRECT.GET."+stream, inbox, []byte(request)); err != nil {
		t.Fatal(err)
	}
	var all []*nats.Msg
	for {
		m, err := sub.NextMsgWithContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
		if m.Header.Get("Status") != "" {
			return all
		}
	}
}

// A load from whose answer a message is missing is no load: the one that is missing
// may be the cut that denies.
func TestNothingIsMissing(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	direct := open(t, s)
	var places []string
	for range 4 {
		place, _ := logsuite.Place()
		if _, err := direct.Append(t.Context(), logsuite.Write(place, 0)); err != nil {
			t.Fatal(err)
		}
		places = append(places, place)
	}
	whole := answerTo(t, s, fmt.Sprintf(`{"multi_last":[%q,%q,%q,%q]}`, places[0], places[1], places[2], places[3]))
	if len(whole) != 5 {
		t.Fatalf("%d messages", len(whole))
	}
	for missing := range 6 {
		name := fmt.Sprintf("WITHOUT_%d", missing)
		j := answering(t, s, name, func(asked *nats.Msg) {
			for i, m := range whole {
				if i != missing {
					_ = asked.RespondMsg(&nats.Msg{Header: m.Header, Data: m.Data})
				}
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		records, err := j.Load(ctx, events.Position{}, places...)
		cancel()
		if missing < len(whole) && !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("without message %d: %d records, %v", missing, len(records), err)
		}
		if missing == len(whole) && (err != nil || len(records) != 4) {
			t.Errorf("the whole answer: %d records, %v", len(records), err)
		}
	}
}

// An answer that does not end takes no more memory than the longest that may.
func TestAnswersEnd(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	sent := make(chan int, 64)
	j := answering(t, s, "ENDLESS", func(asked *nats.Msg) {
		for range 3 * events.MaxLoad {
			_ = asked.Respond([]byte("more"))
		}
		sent <- 3 * events.MaxLoad
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if records, err := j.Load(ctx, events.Position{}, "a"); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("%d records, %v", len(records), err)
	}
	if len(sent) == 0 {
		t.Error("nobody was asked")
	}
}

// Answers to many at once reach who asked, and one that comes after its asker has
// left reaches nobody else.
func TestAnswersReachWhoAsked(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	j := open(t, s)
	var places []string
	var written []events.Append
	for range 20 {
		place, _ := logsuite.Place()
		a := logsuite.Write(place, 0)
		if _, err := j.Append(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		places, written = append(places, place), append(written, a)
	}
	var group sync.WaitGroup
	for i := range 200 {
		group.Go(func() {
			ctx := t.Context()
			if i%5 == 4 {
				gone, cancel := context.WithTimeout(ctx, time.Duration(i)*time.Microsecond)
				defer cancel()
				ctx = gone
			}
			n := i % len(places)
			records, err := j.Load(ctx, events.Position{}, places[n], places[(n+1)%len(places)])
			if i%5 == 4 && errors.Is(err, events.ErrUnavailable) {
				return
			}
			if err != nil || len(records) != 2 || !slices.ContainsFunc(records, func(r events.Record) bool { return r.Envelope.ID == written[n].Envelope.ID }) {
				t.Errorf("load %d: %d records, %v", i, len(records), err)
			}
		})
	}
	group.Wait()
}
