package eventstest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

// These tests hold the server to what the design relies on.

func issuerJS(t *testing.T, s *eventstest.Server) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(s.Connect(t, topology.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// publish stores n feed entries, spread over the shards, and returns the last sequence.
func publish(t *testing.T, js jetstream.JetStream, n int) uint64 {
	t.Helper()
	var last uint64
	var acks []jetstream.PubAckFuture
	for i := range n {
		ack, err := js.PublishAsync(realm.FeedEntry(events.KindToken, "i", strconv.Itoa(i)), []byte(strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case ok := <-ack.Ok():
			last = max(last, ok.Sequence)
		case err := <-ack.Err():
			t.Fatal(err)
		case <-time.After(30 * time.Second):
			t.Fatal("no acknowledgement")
		}
	}
	return last
}

// A republished message says its place once, and places follow each other.
func TestLiveMessagesAreContiguous(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	sub, err := s.Connect(t, topology.Sidecar).SubscribeSync(realm.Live())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sub.NextMsg(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	publish(t, issuerJS(t, s), 500)
	var last uint64
	beats := 0
	for seen := 0; beats < 2 || seen < 500; {
		msg, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(msg.Header.Values("Nats-Sequence")); n != 1 {
			t.Fatalf("%d sequences in %v", n, msg.Header)
		}
		sequence, err := strconv.ParseUint(msg.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if last != 0 && sequence != last+1 {
			t.Fatalf("%d follows %d", sequence, last)
		}
		last = sequence
		if _, err := time.Parse(time.RFC3339Nano, msg.Header.Get("Nats-Time-Stamp")); err != nil {
			t.Fatal(err)
		}
		if msg.Subject == realm.LiveHeartbeat() {
			beats++
		} else {
			seen++
		}
	}
}

// A publisher who writes headers of the server's into a message cannot move what a
// follower believes: there are then two, and two count as none.
func TestForgedSequencesShow(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	follower := s.Connect(t, topology.Sidecar)
	sub, err := follower.SubscribeSync("revocast.test.live.token.*")
	if err != nil {
		t.Fatal(err)
	}
	// What is published by another connection before the server knows of this one's
	// interest goes past it.
	if err := follower.Flush(); err != nil {
		t.Fatal(err)
	}
	operator := s.Connect(t, topology.Operator)
	msg := nats.NewMsg(realm.FeedEntry(events.KindToken, "i", "t"))
	msg.Header.Set("Nats-Sequence", "1")
	if _, err := operator.RequestMsg(msg, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	got, err := sub.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Header.Values("Nats-Sequence")); n != 2 {
		t.Errorf("%d sequences in %v, want 2", n, got.Header)
	}
}

// get asks for a batch straight off the inbox, as sidecars do, and returns the
// payloads and the end's headers.
func get(t *testing.T, nc *nats.Conn, request string) (bodies []string, end nats.Header) {
	t.Helper()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sub.Unsubscribe(); err != nil {
			t.Error(err)
		}
	}()
	if err := nc.PublishRequest("$JS.API.DIRECT.GET."+realm.FeedStream(), inbox, []byte(request)); err != nil {
		t.Fatal(err)
	}
	for {
		msg, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatalf("%s: after %d messages: %v", request, len(bodies), err)
		}
		if msg.Header.Get("Status") != "" {
			return bodies, msg.Header
		}
		bodies = append(bodies, string(msg.Data))
	}
}

// A sidecar catches up in batches through the wall between the accounts.
func TestBatchedDirectGet(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	const entries, batch = 2500, 1000
	last := publish(t, issuerJS(t, s), entries)
	nc := s.Connect(t, topology.Sidecar)
	seen := make(map[string]bool)
	for next := uint64(1); next <= last; {
		bodies, end := get(t, nc, fmt.Sprintf(`{"seq":%d,"batch":%d,"no_hdr":true}`, next, batch))
		if end.Get("Status") != "204" {
			t.Fatalf("batch from %d ended with %v", next, end)
		}
		for _, b := range bodies {
			seen[b] = true
		}
		reached, err := strconv.ParseUint(end.Get("Nats-Last-Sequence"), 10, 64)
		if err != nil || reached < next {
			t.Fatalf("batch from %d ended at %v", next, end)
		}
		next = reached + 1
	}
	for i := range entries {
		if !seen[strconv.Itoa(i)] {
			t.Fatalf("entry %d did not arrive", i)
		}
	}
	if _, end := get(t, nc, `{"seq":9007199254740991,"batch":10,"no_hdr":true}`); end.Get("Status") != "404" {
		t.Errorf("beyond the end: %v, want 404", end)
	}
}

// FEED lets go of an entry when its time comes; AUDIT and EVENTS do not.
func TestEntriesExpireFromFeedAlone(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	js := issuerJS(t, s)
	subject := realm.FeedEntry(events.KindSession, "i", "s")
	if _, err := js.Publish(t.Context(), subject, []byte("x"), jetstream.WithMsgTTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	count := func(a topology.Account, stream, subject string) uint64 {
		str, err := admin(t, s, a).Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		info, err := str.Info(t.Context(), jetstream.WithSubjectFilter(subject))
		if err != nil {
			t.Fatal(err)
		}
		var n uint64
		for _, c := range info.State.Subjects {
			n += c
		}
		return n
	}
	eventstest.Eventually(t, func(context.Context) error {
		if n := count(topology.Issuer.Account(), realm.FeedStream(), subject); n != 0 {
			return fmt.Errorf("FEED still holds %d", n)
		}
		return nil
	})
	settle(t, s)
	if n := count(topology.Issuer.Account(), realm.AuditStream(), "revocast.test.audit.feed.session.*"); n != 1 {
		t.Errorf("AUDIT holds %d, want 1", n)
	}
	if n := count(topology.Vault, realm.EventsStream(), subject); n != 1 {
		t.Errorf("EVENTS holds %d, want 1", n)
	}
}

// Compacting a session in JOURNAL, by a roll-up that expires, erases nothing in
// AUDIT: neither of that session nor of another in the same shard.
func TestRollupsStopAtAudit(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	js := issuerJS(t, s)
	const key = "0123456789abcdef0123456789abcdef"
	var last uint64
	for _, sid := range []string{"a", "b", "a", "b"} {
		ack, err := js.Publish(t.Context(), realm.Session(key, events.SessionID(sid)), []byte(sid))
		if err != nil {
			t.Fatal(err)
		}
		if sid == "a" {
			last = ack.Sequence
		}
	}
	audited := func(want uint64) error {
		var n uint64
		for k, c := range look(t, s).messages {
			if strings.HasPrefix(k, "issuer "+realm.AuditStream()) {
				n += c
			}
		}
		if n != want {
			return fmt.Errorf("AUDIT holds %d, want %d", n, want)
		}
		return nil
	}
	// As the finisher does: first AUDIT must have it, then JOURNAL may forget it.
	eventstest.Eventually(t, func(context.Context) error { return audited(4) })
	msg := nats.NewMsg(realm.Session(key, "a"))
	msg.Header.Set("Nats-Rollup", "sub")
	if _, err := js.PublishMsg(t.Context(), msg, jetstream.WithExpectLastSequencePerSubject(last), jetstream.WithMsgTTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	eventstest.Eventually(t, func(context.Context) error {
		if n := look(t, s).messages["issuer "+realm.JournalStream()+" "+realm.Session(key, "a")]; n != 0 {
			return fmt.Errorf("JOURNAL still holds %d of the ended session", n)
		}
		return audited(5)
	})
	settle(t, s)
	if err := audited(5); err != nil {
		t.Error(err)
	}
}

// What JOURNAL and FEED held before AUDIT existed is in AUDIT too, whichever of
// them reaches it first.
func TestAuditBeginsAtTheBeginning(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	before := fill(t, s).messages
	js := admin(t, s, topology.Issuer.Account())
	if err := js.DeleteStream(t.Context(), realm.AuditStream()); err != nil {
		t.Fatal(err)
	}
	if err := admin(t, s, topology.Vault).DeleteStream(t.Context(), realm.EventsStream()); err != nil {
		t.Fatal(err)
	}
	s.Provision(t)
	s.WaitReady(t)
	eventstest.Eventually(t, func(context.Context) error {
		if after := look(t, s).messages; !maps.Equal(after, before) {
			return fmt.Errorf("before %v, after %v", before, after)
		}
		return nil
	})
}

// One request loads a session with everything that may have ended it.
func TestMultiLast(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	js := issuerJS(t, s)
	const key = "0123456789abcdef0123456789abcdef"
	subjects := []string{
		realm.Session(key, "s"), realm.Cut(events.KindSubject, key), realm.Cut(events.KindAll, key), realm.User(key),
	}
	for _, subject := range subjects[:2] {
		if _, err := js.Publish(t.Context(), subject, []byte(subject)); err != nil {
			t.Fatal(err)
		}
	}
	nc := s.Connect(t, topology.Issuer)
	ask := func(list []string) (found []string, end nats.Header) {
		t.Helper()
		sub, err := nc.SubscribeSync(nc.NewInbox())
		if err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(map[string]any{"multi_last": list})
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.PublishRequest("$JS.API.DIRECT.GET."+realm.JournalStream(), sub.Subject, body); err != nil {
			t.Fatal(err)
		}
		for {
			msg, err := sub.NextMsg(10 * time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if msg.Header.Get("Status") != "" {
				return found, msg.Header
			}
			found = append(found, msg.Header.Get("Nats-Subject"))
		}
	}
	found, end := ask(subjects)
	if len(found) != 2 || end.Get("Status") != "204" || end.Get("Nats-UpTo-Sequence") == "" {
		t.Errorf("found %v, end %v", found, end)
	}
	if found, end := ask(subjects[2:]); len(found) != 0 || end.Get("Status") != "404" || end.Get("Description") != "No Results" {
		t.Errorf("found %v, end %v; want 404 No Results", found, end)
	}
}

// A revocation acknowledged is on disk: the server may die the next moment.
func TestKillKeepsWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	s.WaitReady(t)
	last := publish(t, issuerJS(t, s), 200)
	s.Kill(t)
	s.Start(t)
	nc := s.Connect(t, topology.Sidecar)
	var bodies []string
	eventstest.Eventually(t, func(context.Context) error {
		answer, err := nc.Request("$JS.API.DIRECT.GET."+realm.FeedStream(), fmt.Appendf(nil, `{"seq":%d}`, last), time.Second)
		if err != nil {
			return err
		}
		if answer.Header.Get("Status") != "" {
			return errors.New(answer.Header.Get("Description"))
		}
		return nil
	})
	bodies, _ = get(t, nc, `{"seq":1,"batch":1000,"no_hdr":true}`)
	seen := make(map[string]bool)
	for _, b := range bodies {
		seen[b] = true
	}
	for i := range 200 {
		if !seen[strconv.Itoa(i)] {
			t.Errorf("entry %d is lost", i)
		}
	}
	s.WaitReady(t)
	if next := publish(t, issuerJS(t, s), 1); next <= last {
		t.Errorf("sequence %d after %d", next, last)
	}
}

// A subscriber consumes EVENTS, durably, through the wall.
func TestSubscriberConsumes(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	publish(t, issuerJS(t, s), 1500) // more than may be under way to EVENTS at once
	js, err := jetstream.New(s.Connect(t, topology.Subscriber))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for len(seen) < 1500 {
		c, err := js.CreateOrUpdateConsumer(t.Context(), realm.EventsStream(), jetstream.ConsumerConfig{Durable: "svc", AckPolicy: jetstream.AckExplicitPolicy})
		if err != nil {
			t.Fatal(err)
		}
		batch, err := c.Fetch(500, jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for msg := range batch.Messages() {
			if seen[string(msg.Data())] {
				t.Fatalf("%s came again although it was acknowledged", msg.Data())
			}
			seen[string(msg.Data())] = true
			if err := msg.Ack(); err != nil {
				t.Fatal(err)
			}
		}
		if err := batch.Error(); err != nil {
			t.Fatal(err)
		}
	}
}
