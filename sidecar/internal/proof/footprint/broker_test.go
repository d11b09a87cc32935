//go:build linux

package footprint

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

// How the broker's process is told what to hold.
const (
	brokerEntries = "FOOTPRINT_BROKER_ENTRIES"
	brokerIssuer  = "FOOTPRINT_BROKER_ISSUER"
)

// broker is a process with a NATS server that holds a filled feed.
type broker struct {
	URL    string        `json:"url"`
	Creds  string        `json:"creds"`  // of a sidecar
	Issuer string        `json:"issuer"` // an issuer's
	Took   time.Duration `json:"took"`
}

// startBroker runs one until the test ends, and returns when its feed holds so many
// revoked sessions of the issuer and nothing is left to be copied.
func startBroker(t *testing.T, entries int, issuer events.Issuer) (b broker) {
	t.Helper()
	// It is to end by itself, and clean up; the test's context would kill it before.
	child := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], "-test.run=^TestBrokerProcess$", "-test.timeout=0")
	child.Env = append(os.Environ(), brokerEntries+"="+strconv.Itoa(entries), brokerIssuer+"="+string(issuer))
	child.Stderr = os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	says, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	hold, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = hold.Close() // which tells it to end
		_ = child.Wait() // it may have been killed
	})
	line, err := bufio.NewReader(says).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the broker's process ended: %v", err)
	}
	if err := json.Unmarshal(line, &b); err != nil {
		t.Fatalf("the broker's process says %q: %v", line, err)
	}
	return b
}

// filling is how many revocations are published before the streams that copy the feed
// are waited for.
const filling = 250_000

// TestBrokerProcess is the other process.
func TestBrokerProcess(t *testing.T) {
	entries, err := strconv.Atoi(os.Getenv(brokerEntries))
	if err != nil {
		t.Skip("not a broker's process")
	}
	began := time.Now()
	s := eventstest.RunServer(t, eventstest.Lazy())
	until := began.Add(24 * time.Hour)
	copied := copies(t, s)
	for done := 0; done < entries; {
		n := min(filling, entries-done)
		s.Announce(t, n, func(i int) events.Revocation {
			return events.Revocation{
				ID: events.RevocationID(id('r', done+i)), Kind: events.KindSession, Issuer: events.Issuer(os.Getenv(brokerIssuer)),
				Target: session(done + i), Reason: events.ReasonLogout, By: events.Initiator{Role: "user"}, Until: until,
			}
		})
		done += n
		copied(done)
	}
	b := broker{URL: s.URL(), Creds: s.Credentials(topology.Sidecar), Issuer: s.Credentials(topology.Issuer), Took: time.Since(began)}
	if err := json.NewEncoder(os.Stdout).Encode(b); err != nil {
		t.Fatal(err)
	}
	_, _ = os.Stdin.Read(make([]byte, 1)) // until it is closed
}

// copies waits until AUDIT and EVENTS have so many.
func copies(t *testing.T, s *eventstest.Server) func(n int) {
	t.Helper()
	conn := s.Connect(t, topology.Issuer)
	own, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	vault, err := jetstream.NewWithAPIPrefix(conn, s.Topology().EventsAPI())
	if err != nil {
		t.Fatal(err)
	}
	wait := func(js jetstream.JetStream, name string, n int) {
		eventstest.Eventually(t, func(ctx context.Context) error {
			stream, err := js.Stream(ctx, name)
			if err != nil {
				return err
			}
			if have := stream.CachedInfo().State.Msgs; have < uint64(n) {
				return fmt.Errorf("%s has %d of %d", name, have, n)
			}
			return nil
		})
	}
	return func(n int) {
		wait(own, eventstest.Realm.AuditStream(), n)
		wait(vault, eventstest.Realm.EventsStream(), n)
	}
}

// session is the i-th that has been revoked: ids as issuers make them, in no order,
// since nobody logs out in the order of logging in.
func session(i int) string { return id('s', i) }

// id draws a UUIDv7 (RFC 9562 section 5.7), always the same for the same i.
func id(space byte, i int) string {
	r := rand.New(rand.NewPCG(uint64(space), uint64(i)))
	var u uuid.UUID
	const month = 30 * 24 * 3600 * 1000
	at := 1_795_000_000_000 + r.Uint64N(month)
	for b := range 6 {
		u[b] = byte(at >> (40 - 8*b))
	}
	low, high := r.Uint64(), r.Uint64()
	for b := range 8 {
		u[8+b] = byte(low >> (8 * b))
	}
	u[6], u[7] = 0x70|byte(high&0x0f), byte(high>>8)
	u[8] = 0x80 | u[8]&0x3f
	return u.String()
}
