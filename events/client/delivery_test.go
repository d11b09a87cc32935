package client

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/subject"
)

const realm = subject.Realm("default")

// Every kind of event on every kind of subject: only the feed's own pairs pass.
func TestEventsAreBelievedOnlyWhereTheyBelong(t *testing.T) {
	revoked := func(k events.Kind) events.Event { return events.Revoked{Revocation: events.Revocation{Kind: k}} }
	places := map[string][]string{
		"lift": {realm.FeedLift("i", "t")},
		"keys": {realm.FeedKeys()},
		"none": {
			realm.FeedHeartbeat(), realm.Barrier(), realm.User("0123456789abcdef0123456789abcdef"),
			subject.Realm("other").FeedLift("i", "t"), subject.Realm("other").FeedEntry(events.KindAll, "i", ""),
			"revocast.default.feed.device.0", "revocast.default.feed.token.9", "feed.token.0", "",
		},
	}
	kinds := map[string][]events.Event{
		"lift": {events.Lifted{}},
		"keys": {events.KeyAdded{}, events.KeyRetired{}},
		"never": {
			events.SessionStarted{},
			events.SessionRefreshed{},
			events.SessionRevoked{},
			events.CutsRecorded{},
			events.UserRegistered{},
			events.PasswordChanged{},
			events.BarrierPassed{},
			events.Heartbeat{},
			nil,
		},
		"any": {events.Unknown{Number: 99}},
	}
	for _, k := range events.Kinds() {
		places[k.String()] = []string{realm.FeedEntry(k, "i", "t")}
		kinds[k.String()] = []events.Event{revoked(k)}
	}
	for place, subjects := range places {
		for kind, list := range kinds {
			for _, subj := range subjects {
				for _, e := range list {
					if want := place == kind || kind == "any"; belongs(realm, subj, e) != want {
						t.Errorf("%T on %q: belongs is %v", e, subj, !want)
					}
				}
			}
		}
	}
}

func TestHostileBytesAreErrors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		e, err := read(realm, realm.FeedEntry(events.KindSession, "i", "s"), body)
		_, unknown := e.Event.(events.Unknown)
		if err == nil && !unknown {
			t.Fatalf("read %#v", e)
		}
		if err != nil && !errors.Is(err, codec.ErrMalformed) && !errors.Is(err, codec.ErrInvalid) && !errors.Is(err, ErrMisplaced) {
			t.Fatal(err)
		}
	})
}

func TestRetryGrowsToItsBound(t *testing.T) {
	last := time.Duration(0)
	for n := range uint64(100) {
		wait := retryAfter(n + 1)
		if n == 0 && wait != firstRetry || wait < last || wait > lastRetry {
			t.Fatalf("after %d deliveries: %v, before that %v", n+1, wait, last)
		}
		last = wait
	}
	if last != lastRetry {
		t.Fatalf("ends at %v, not %v", last, lastRetry)
	}
}
