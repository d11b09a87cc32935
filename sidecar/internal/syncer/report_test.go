package syncer_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

// reports are what an issuer hears.
func reports(t *testing.T, server *eventstest.Server) (conn *nats.Conn, next func() events.Report) {
	t.Helper()
	conn = server.Connect(t, topology.Issuer)
	sub, err := conn.SubscribeSync(realm.Reports())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	return conn, func() events.Report {
		t.Helper()
		m, err := sub.NextMsg(time.Until(deadline))
		if err != nil {
			t.Fatal(err)
		}
		r, err := codec.DecodeReport(m.Data)
		if err != nil || m.Subject != realm.Report("sidecar-1") {
			t.Fatalf("%s %x: %v", m.Subject, m.Data, err)
		}
		return r
	}
}

func ask(t *testing.T, conn *nats.Conn, a events.Ask) {
	t.Helper()
	body, err := codec.EncodeAsk(a)
	if err == nil {
		err = conn.Publish(realm.FleetAsk(), body)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A sidecar that joins says so by itself, then speaks when it is asked, of what the
// denylist has taken in and of nothing else, and says good-bye.
func TestReportsWhatItEnforces(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	conn, next := reports(t, server)
	l := newList()
	s, stop := followServer(t, server, l)
	r := next()
	for r.State != events.StateFollowing {
		r = next()
	}
	if r.Sidecar != "sidecar-1" || r.Instance != instance || r.Version != "test" || r.Epoch != s.State().Epoch || r.FreshAsOf.IsZero() {
		t.Fatalf("report %+v", r)
	}

	publisher := newIssuer(t, server)
	id := publisher.revoke(t, nil)
	eventually(t, "applied", func() bool { return l.has(id) })
	applied := s.State().Cursor
	ask(t, conn, events.Ask{Epoch: applied.Epoch, Sequence: applied.Sequence})
	for r.Asked != applied.Sequence {
		r = next()
	}
	if r.Sequence < applied.Sequence || r.Entries != 1 {
		t.Errorf("asked for %d: %+v", applied.Sequence, r)
	}

	// What the denylist does not take is not reported, whatever has arrived.
	l.fail(errors.New("over budget"))
	last := s.State().Sequence
	refused := publisher.revoke(t, nil)
	ask(t, conn, events.Ask{Epoch: applied.Epoch, Sequence: last + 100})
	ask(t, conn, events.Ask{})
	r = next()
	if l.has(refused) || r.Sequence > s.State().Sequence || r.Asked != 0 {
		t.Errorf("without the denylist: %+v", r)
	}
	before := r.Sequence
	l.fail(nil)
	eventually(t, "applied at last", func() bool { return l.has(refused) })
	for r.Sequence <= before {
		ask(t, conn, events.Ask{})
		r = next()
	}

	stop()
	for r.State != events.StateSignedOff {
		r = next()
	}
}

// Garbage on the asks' subject changes nothing.
func TestAsksThatCannotBeRead(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	conn, next := reports(t, server)
	s, _ := followServer(t, server, newList())
	fresh(t, s, time.Time{})
	for _, body := range [][]byte{nil, []byte("\xff\xff"), make([]byte, codec.MaxReport+1)} {
		if err := conn.Publish(realm.FleetAsk(), body); err != nil {
			t.Fatal(err)
		}
	}
	at := s.State().Cursor
	ask(t, conn, events.Ask{Epoch: at.Epoch, Sequence: at.Sequence})
	for next().Asked != at.Sequence {
		continue
	}
}
