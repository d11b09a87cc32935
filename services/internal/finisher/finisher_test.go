package finisher_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/finisher"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/password"
	"github.com/revocast/revocast/services/internal/session"
	"github.com/revocast/revocast/services/internal/signing"
)

const (
	realm    = eventstest.Realm
	issuer   = events.Issuer("http://127.0.0.1:8080")
	audience = "https://api.revocast.test"
	client   = events.ClientID("demo-mobile")
	word     = "wonderland-42"
)

// house is one broker with an issuer on it, and operators who speak to the broker
// past every issuer.
type house struct {
	server   *eventstest.Server
	service  *issue.Service
	keys     *signing.Keys
	operator *nats.Conn
	feed     *eventstore.Feed
	js       jetstream.JetStream
}

func newHouse(t *testing.T) house {
	t.Helper()
	s := eventstest.RunServer(t)
	keys, err1 := signing.Open(signing.Config{Dir: filepath.Join(t.TempDir(), "keys"), Issuer: issuer, Audiences: []string{audience}})
	hasher, err2 := password.New(password.Config{Memory: 64, Time: 1})
	conn := s.Connect(t, topology.Issuer)
	journal, err3 := eventstore.NewJournal(conn, realm.JournalStream())
	feed, err4 := eventstore.NewFeed(conn, realm.FeedStream())
	js, err5 := jetstream.New(conn)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	service := issue.New(issue.Config{Realm: realm, Issuer: issuer, MaxAccessTTL: func() time.Duration { return 5 * time.Minute }},
		issue.Deps{Journal: journal, Feed: feed, Passwords: hasher, Keys: keys, Keyer: keys.Keyer(), Root: keys})
	return house{server: s, service: service, keys: keys, operator: s.Connect(t, topology.Operator), feed: feed, js: js}
}

var policy = session.Policy{AccessTTL: 5 * time.Minute, Grace: 10 * time.Second, IdleLimit: time.Hour, OnReplay: session.ReplaySuccessor}

// login registers a user of this name, if need be, and logs in.
func (h house) login(t *testing.T, name string) (issue.Grant, issue.Caller) {
	t.Helper()
	hasher, err := password.New(password.Config{Memory: 64, Time: 1})
	if err != nil {
		t.Fatal(err)
	}
	hash, err := hasher.Hash(t.Context(), word)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.service.Register(t.Context(), name, hash, nil); err != nil && !errors.Is(err, issue.ErrExists) {
		t.Fatal(err)
	}
	g, err := h.service.Login(t.Context(), issue.Login{Username: name, Password: word, Client: client, Policy: policy, Audience: []string{audience}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.service.Authenticate(t.Context(), g.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	return g, c
}

func (h house) refresh(ctx context.Context, g issue.Grant) error {
	_, err := h.service.Refresh(ctx, issue.Refresh{Token: g.RefreshToken, Policy: policy, Proof: session.Proof{Client: client}})
	return err
}

// finish runs a finisher until the test ends, and gives its log and its metrics.
func (h house) finish(t *testing.T) (log *observer.ObservedLogs, metrics *prometheus.Registry) {
	t.Helper()
	core, log := observer.New(zap.DebugLevel)
	metrics = prometheus.NewRegistry()
	f, err := finisher.New(h.server.Connect(t, topology.Issuer), realm, h.service, zap.New(core), metrics)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return log, metrics
}

// count is how many events had the outcome.
func count(t *testing.T, metrics *prometheus.Registry, outcome string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var n float64
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if m.GetLabel()[0].GetValue() == outcome {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

var errAccepted = errors.New("accepted")

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// entry is a revocation as operators write it by hand: without a cut.
func entry(kind events.Kind, target string) events.Revocation {
	return events.Revocation{
		ID: events.RevocationID(newID()), Kind: kind, Issuer: issuer, Target: target, Reason: "stolen",
		By: events.Initiator{Role: "operator", Name: "nats"}, Until: time.Now().Add(time.Minute),
	}
}

// announce publishes on the feed as an operator, past every issuer.
func (h house) announce(t *testing.T, r events.Revocation) {
	t.Helper()
	body, err := codec.Encode(events.Envelope{ID: events.EventID(newID()), At: time.Now(), Event: events.Revoked{Revocation: r}})
	if err != nil {
		t.Fatal(err)
	}
	h.announceBytes(t, r.Kind, r.Target, body)
}

func (h house) announceBytes(t *testing.T, kind events.Kind, target string, body []byte) {
	t.Helper()
	m := nats.NewMsg(realm.FeedEntry(kind, issuer, target))
	m.Data = body
	m.Header.Set("Nats-TTL", "1s")
	ack, err := h.operator.RequestMsg(m, 5*time.Second)
	if err != nil || strings.Contains(string(ack.Data), "error") {
		t.Fatalf("announcing: %v %s", err, ack.Data)
	}
}

// future is an event of a kind that this version does not know.
func future(t *testing.T) []byte {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	body := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), id[:])
	body = protowire.AppendBytes(protowire.AppendTag(body, 999, protowire.BytesType), []byte("from the future"))
	if e, err := codec.Decode(body); err != nil {
		t.Fatal(err)
	} else if _, ok := e.Event.(events.Unknown); !ok {
		t.Fatalf("decoded as %T", e.Event)
	}
	return body
}

// held is how many messages a stream holds on the subjects that match.
func (h house) held(ctx context.Context, stream, filter string) (uint64, error) {
	s, err := h.js.Stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return 0, err
	}
	var n uint64
	for _, count := range info.State.Subjects {
		n += count
	}
	return n, nil
}

// INV-1: what was only announced, while no issuer was there, is recorded by the
// first that comes, after the feed itself has forgotten it; and neither rubbish nor
// what a later version wrote stands in its way. Of two, one does it.
func TestFinishesWhatWasOnlyAnnounced(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bySession, _ := h.login(t, "alice")
	bystander, _ := h.login(t, "alice")
	bySubject, bob := h.login(t, "bob")
	byToken, carol := h.login(t, "carol")
	elsewhere, dave := h.login(t, "dave")

	for range 3 {
		h.announceBytes(t, events.KindSession, "rubbish", []byte("\xff\xff rubbish"))
	}
	h.announceBytes(t, events.KindSession, "future", future(t))
	other := entry(events.KindSubject, string(dave.Subject))
	other.Issuer = "https://other.example"
	for _, r := range []events.Revocation{
		entry(events.KindSession, newID()), // of nobody's
		entry(events.KindSession, string(bySession.Session)),
		entry(events.KindSubject, string(bob.Subject)),
		entry(events.KindToken, carol.Claims.ID),
		other,
	} {
		h.announce(t, r)
	}
	eventstest.Eventually(t, func(ctx context.Context) error {
		var left uint64
		for _, kind := range []events.Kind{events.KindSession, events.KindSubject, events.KindToken} {
			n, err := h.held(ctx, realm.FeedStream(), "revocast.test.feed."+kind.String()+".*")
			if err != nil {
				return err
			}
			left += n
		}
		if left > 0 {
			return fmt.Errorf("the feed still holds %d entries", left)
		}
		return nil
	})
	for _, g := range []issue.Grant{bySession, bySubject} {
		if err := h.refresh(t.Context(), g); err != nil {
			t.Fatalf("before anyone finished: %v", err)
		}
	}

	log1, metrics1 := h.finish(t)
	log2, metrics2 := h.finish(t)
	for name, g := range map[string]issue.Grant{"session": bySession, "subject": bySubject} {
		eventstest.Eventually(t, func(ctx context.Context) error {
			if err := h.refresh(ctx, g); !errors.Is(err, issue.ErrGrant) {
				return fmt.Errorf("by %s: refreshing gave %w", name, errors.Join(errAccepted, err))
			}
			return nil
		})
	}
	eventstest.Eventually(t, func(ctx context.Context) error {
		if _, err := h.service.Authenticate(ctx, byToken.AccessToken, true); !errors.Is(err, issue.ErrToken) {
			return fmt.Errorf("the revoked token: %w", errors.Join(errAccepted, err))
		}
		if n := count(t, metrics1, "parked") + count(t, metrics2, "parked"); n != 3 {
			return fmt.Errorf("%v events parked, want the 3 that were rubbish", n)
		}
		return nil
	})
	for name, g := range map[string]issue.Grant{"bystander": bystander, "token": byToken, "another issuer's": elsewhere} {
		if err := h.refresh(t.Context(), g); err != nil {
			t.Errorf("%s: its session ended: %v", name, err)
		}
	}
	for _, log := range []*observer.ObservedLogs{log1, log2} {
		for _, line := range log.All() {
			if strings.Contains(fmt.Sprint(line.Message, line.ContextMap()), "rubbish") {
				t.Errorf("the log repeats what came: %v", line)
			}
		}
	}
	// Recorded once: one record of the cut, and a session that ended one time.
	for _, filter := range []string{"revocast.test.journal.cut.subject.*", "revocast.test.journal.cut.token.*"} {
		if n, err := h.held(t.Context(), realm.JournalStream(), filter); err != nil || n != 1 {
			t.Errorf("%s: %d records, %v", filter, n, err)
		}
	}
	// What is recorded late is announced again, for what was minted until then: the
	// subject's with a cut, in the place of one that denied every login.
	for filter, want := range map[string]uint64{
		"revocast.test.feed.session.*": 1, "revocast.test.feed.token.*": 1, "revocast.test.feed.subject.*": 1, "revocast.test.feed.lift.*": 1,
	} {
		if n, err := h.held(t.Context(), realm.FeedStream(), filter); err != nil || n != want {
			t.Errorf("%s: %d were announced, %v; want %d", filter, n, err, want)
		}
	}
	// A login after all this is a login.
	if g, _ := h.login(t, "bob"); h.refresh(t.Context(), g) != nil {
		t.Error("bob cannot come back")
	}
}

// An ended session's history shrinks to one message that soon expires. A living one's
// does not.
func TestCompactsWhatHasEnded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.finish(t)
	g, c := h.login(t, "alice")
	living, _ := h.login(t, "alice")
	token := g
	for range 5 {
		next, err := h.service.Refresh(t.Context(), issue.Refresh{Token: token.RefreshToken, Policy: policy, Proof: session.Proof{Client: client}})
		if err != nil {
			t.Fatal(err)
		}
		token = next
	}
	if err := h.refresh(t.Context(), living); err != nil {
		t.Fatal(err)
	}
	if err := h.service.EndOwn(t.Context(), c, g.Session); err != nil {
		t.Fatal(err)
	}
	mine := realm.SessionByID(g.Session)
	if n, err := h.held(t.Context(), realm.JournalStream(), mine); err != nil || n != 7 {
		t.Fatalf("%d messages before, %v; want 7", n, err)
	}
	eventstest.Eventually(t, func(ctx context.Context) error {
		n, err := h.held(ctx, realm.JournalStream(), mine)
		if err == nil && n != 1 {
			err = fmt.Errorf("%d messages", n)
		}
		return err
	})
	journal, err := h.js.Stream(t.Context(), realm.JournalStream())
	if err != nil {
		t.Fatal(err)
	}
	m, err := journal.GetLastMsgForSubject(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	ttl, err := time.ParseDuration(m.Header.Get("Nats-TTL"))
	if err != nil || ttl < 5*time.Minute || ttl > 15*time.Minute {
		t.Errorf("it lives %s, %v", ttl, err)
	}
	if e, err := codec.Decode(m.Data); err != nil {
		t.Error(err)
	} else if _, ok := e.Event.(events.SessionRevoked); !ok {
		t.Errorf("what is left is %T", e.Event)
	}
	if err := h.refresh(t.Context(), token); !errors.Is(err, session.ErrOver) {
		t.Errorf("refreshing gave %v", err)
	}
	if n, err := h.held(t.Context(), realm.JournalStream(), realm.SessionByID(living.Session)); err != nil || n != 2 {
		t.Errorf("the living session has %d messages, %v", n, err)
	}
}

// A broker that goes away for a while is followed again.
func TestFollowsThroughOutages(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.finish(t)
	g, c := h.login(t, "alice")
	h.server.Stop()
	h.server.Start(t)
	eventstest.Eventually(t, func(ctx context.Context) error { return h.service.EndOwn(ctx, c, g.Session) })
	eventstest.Eventually(t, func(ctx context.Context) error {
		n, err := h.held(ctx, realm.JournalStream(), realm.SessionByID(g.Session))
		if err == nil && n != 1 {
			err = fmt.Errorf("%d messages", n)
		}
		return err
	})
}
