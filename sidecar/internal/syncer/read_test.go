package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

// A stretch ends exactly where it should, though the messages carry no numbers and
// heartbeats lie between them; and one that the feed cannot have is an error.
func TestReadStretches(t *testing.T) {
	s := eventstest.RunServer(t)
	conn := s.Connect(t, topology.Issuer)
	var at []uint64 // where each entry lies
	for n := range 25 {
		r := events.Revocation{
			ID: events.RevocationID(fmt.Sprintf("01935f6a-0c00-7000-8000-%012x", n)), Kind: events.KindSession, Issuer: "https://id.example",
			Target: fmt.Sprint("s-", n), Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator"}, Until: time.Unix(4102444800, 0),
		}
		body, err := codec.Encode(events.Envelope{ID: events.EventID(r.ID), At: time.Unix(1, 0), Event: events.Revoked{Revocation: r}})
		if err != nil {
			t.Fatal(err)
		}
		ack, err := conn.RequestWithContext(t.Context(), eventstest.Realm.FeedEntry(r.Kind, r.Issuer, r.Target), body)
		if err != nil {
			t.Fatal(err)
		}
		var stored struct {
			Sequence uint64 `json:"seq"`
		}
		if err := json.Unmarshal(ack.Data, &stored); err != nil || stored.Sequence == 0 {
			t.Fatalf("%s: %v", ack.Data, err)
		}
		at = append(at, stored.Sequence)
	}
	r, err := NewReader(Config{Realm: eventstest.Realm, URL: s.URL(), Options: s.Options(topology.Sidecar)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	count := func(from, to uint64) (entries int) {
		t.Helper()
		last := from
		for b, err := range r.Read(t.Context(), from, to) {
			if err != nil {
				t.Fatalf("%d to %d: %v", from, to, err)
			}
			if b.Last < last || to > 0 && b.Last > to {
				t.Errorf("%d to %d: a batch ends at %d after %d", from, to, b.Last, last)
			}
			last = b.Last
			for _, e := range b.Events {
				if _, is := e.(events.Revoked); is {
					entries++
				}
			}
		}
		return entries
	}
	for first := range at {
		for last := first; last < len(at); last += 3 {
			if n := count(at[first], at[last]); n != last-first+1 {
				t.Errorf("%d entries from the %d. to the %d.", n, first, last)
			}
		}
	}
	if n := count(1, at[7]); n != 8 {
		t.Errorf("%d entries from before the beginning to the 7.", n)
	}
	if n := count(at[7]+1, 0); n != len(at)-8 {
		t.Errorf("%d entries behind the 7.", n)
	}
	if n := count(at[7], at[6]); n != 0 {
		t.Errorf("%d entries from an end to a beginning", n)
	}

	r.patience = 0
	for _, err = range r.Read(t.Context(), 1, events.MaxSequence) {
		if err != nil {
			break
		}
	}
	if !errors.Is(err, ErrBehind) {
		t.Errorf("beyond the end: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err = range r.Read(ended, 1, 0) {
		break
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if _, err := NewReader(Config{Realm: eventstest.Realm, URL: "nats://127.0.0.1:1"}); err == nil {
		t.Error("no broker, and no error")
	}
}
