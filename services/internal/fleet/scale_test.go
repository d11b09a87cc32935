//go:build unix

package fleet_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

// What the simulated fleet is told by its environment.
const (
	simulated = "REVOCAST_TEST_SIDECARS"
	brokerURL = "REVOCAST_TEST_BROKER"
	credsFile = "REVOCAST_TEST_CREDS"
	feedState = "REVOCAST_TEST_EPOCH"
	// each connection carries so many sidecars.
	perConnection = 20
	// signOfLife is the mean time between two reports that nobody asks for. Each time is
	// drawn below it, so that a stretch just after an ask is like any other.
	signOfLife = 52 * time.Second
)

// What 10,000 sidecars cost the broker and an issuer (ADR-0017): a fleet in a process of
// its own reports by the same rules as sidecars do, to a broker and an issuer in this
// one, whose processor time is measured. Without PROOF=full there are few of them.
func TestScale(t *testing.T) {
	if os.Getenv(simulated) != "" {
		t.Skip("this process is the fleet")
	}
	n, watch := 300, 500*time.Millisecond
	if os.Getenv("PROOF") == "full" {
		n, watch = 10_000, 30*time.Second
	}
	server := eventstest.RunServer(t, eventstest.Lazy())
	f, metrics := listen(t, server, time.Minute)
	epoch, at := feedEpoch(t, f)

	quiet := cpuOver(watch)
	heap := heapInUse()
	run := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSimulatedFleet$")
	run.Env = append(os.Environ(), simulated+"="+strconv.Itoa(n), brokerURL+"="+server.URL(),
		credsFile+"="+server.Credentials(topology.Sidecar), feedState+"="+string(epoch))
	run.Stderr = os.Stderr
	stop, err := run.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	says, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stop.Close(); _ = run.Wait() })
	if _, err := bufio.NewReader(says).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the whole fleet", func() bool { return len(f.Members(t.Context()).Members) == n })
	t.Logf("%d sidecars: heap of broker and issuer %+.1f kB a sidecar", n, (heapInUse()-heap)/float64(n)/1000)

	reports := func() float64 { return total(t, metrics, "revocast_fleet_reports_total") }
	before := reports()
	idle := cpuOver(watch)
	t.Logf("idle: %.0f reports a second, %.4f CPU seconds a second beyond the %.4f of an empty fleet",
		(reports()-before)/watch.Seconds(), idle-quiet, quiet)

	const rounds = 5
	for i := range rounds {
		cpu, began := processCPU(), time.Now()
		f.Announced(at+uint64(i), began)
		e := f.Confirm(t.Context(), at+uint64(i), patience)
		if !e.Everywhere() || e.Live != n {
			t.Fatalf("%d of %d confirmed: %s", e.Confirmed, e.Live, e.Incomplete)
		}
		t.Logf("confirmed by %d after %s, for %.3f CPU seconds; the median took %s, the slowest %s", e.Confirmed,
			time.Since(began).Round(time.Millisecond), processCPU()-cpu, e.Sidecars[n/2].Took, e.Sidecars[0].Took)
	}
}

// TestSimulatedFleet is the fleet of TestScale, in its process.
func TestSimulatedFleet(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv(simulated))
	if err != nil {
		t.Skip("started by TestScale")
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until TestScale closes it or ends
		close(ended)
	}()
	var reporting sync.WaitGroup
	for c := range (n + perConnection - 1) / perConnection {
		conn, err := nats.Connect(os.Getenv(brokerURL), nats.UserCredentials(os.Getenv(credsFile)),
			nats.CustomInboxPrefix(topology.Sidecar.InboxPrefix()), nats.Timeout(patience))
		if err != nil {
			t.Fatal(err)
		}
		for i := range min(perConnection, n-c*perConnection) {
			r := events.Report{
				Sidecar: fmt.Sprintf("checkout-7d9f8b6c5-%05d", c*perConnection+i), Instance: uuid.NewString(), Version: "v1.0.0",
				State: events.StateFollowing, Epoch: events.Epoch(os.Getenv(feedState)), Sequence: 1,
				Entries: 1000, FreshAsOf: time.Now(),
			}
			asks := make(chan events.Ask, 16)
			if _, err := conn.Subscribe(realm.FleetAsk(), func(m *nats.Msg) {
				if a, err := codec.DecodeAsk(m.Data); err == nil {
					asks <- a
				}
			}); err != nil {
				t.Fatal(err)
			}
			reporting.Go(func() { simulate(conn, r, asks, ended) })
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Println("up")
	reporting.Wait()
}

// simulate reports as package syncer's schedule does.
func simulate(conn *nats.Conn, r events.Report, asks <-chan events.Ask, ended <-chan struct{}) {
	due := time.NewTimer(0)
	answering := time.Time{}
	for {
		select {
		case <-ended:
			return
		case a := <-asks:
			r.Asked, r.Sequence = max(r.Asked, a.Sequence), max(r.Sequence, a.Sequence)
			if answering.IsZero() {
				answering = time.Now()
				due.Reset(rand.N(a.Spread + 1))
			}
		case <-due.C:
			if r.Asked > 0 {
				r.Held = time.Since(answering)
			}
			body, err := codec.EncodeReport(r)
			if err == nil {
				err = conn.Publish(realm.Report(r.Sidecar), body)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			r.Asked, r.Held, answering = 0, 0, time.Time{}
			due.Reset(rand.N(signOfLife))
		}
	}
}

// cpuOver is the processor time of this process, in seconds a second.
func cpuOver(d time.Duration) float64 {
	before := processCPU()
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
	return (processCPU() - before) / d.Seconds()
}

func processCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

func heapInUse() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
