package syncer_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/snapshot"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/sidecar/internal/syncer"
)

// What it costs to begin with the same feed in two ways, reading it from its beginning
// or a snapshot of it: from nothing to ready, with a heartbeat to wait for (half a
// second on average), and the processor time of a broker in another process.
func BenchmarkBegin(b *testing.B) {
	for _, size := range []int{100_000, 1_000_000} {
		if testing.Short() && size > 100_000 {
			continue
		}
		broker := startBroker(b, size)
		for name, root := range map[string]ed25519.PublicKey{"replay": nil, "snapshot": broker.Root} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				cfg := syncer.Config{
					Realm: realm, URL: broker.URL, Options: []nats.Option{nats.UserCredentials(broker.Creds)},
					ID: "sidecar-1", Instance: instance, Root: root,
				}
				before, began := broker.processorTime(b), time.Now()
				for b.Loop() {
					begin(b, cfg, size, root != nil)
				}
				// Loading the feed was long ago; heartbeats cost next to nothing.
				spent := broker.processorTime(b) - before
				b.ReportMetric(spent.Seconds()/float64(b.N)*1e6/float64(size), "broker-cpu-s/million")
				b.ReportMetric(time.Since(began).Seconds()/float64(b.N), "s/begin")
			})
		}
	}
}

// process is a broker in another process.
type process struct {
	URL, Creds string
	Root       ed25519.PublicKey
	pid        int
}

const brokerSize = "REVOCAST_TEST_BROKER_SIZE"

func startBroker(b *testing.B, size int) process {
	b.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(b.Context()), os.Args[0], "-test.run", "^TestBrokerProcess$", "-test.v") // #nosec G204 -- this test again
	cmd.Env = append(os.Environ(), brokerSize+"="+strconv.Itoa(size))
	stop, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stop.Close() // it ends with its input
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if text, is := strings.CutPrefix(lines.Text(), "broker "); is {
			p := process{pid: cmd.Process.Pid}
			if err := json.Unmarshal([]byte(text), &p); err != nil {
				b.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, out) }() // so that it can go on writing
			return p
		}
	}
	b.Fatal("the broker did not start")
	return process{}
}

// TestBrokerProcess is the other process.
func TestBrokerProcess(t *testing.T) {
	size, err := strconv.Atoi(os.Getenv(brokerSize))
	if err != nil {
		t.Skip("for BenchmarkBegin")
	}
	server := eventstest.RunServer(t, eventstest.Lazy())
	server.Announce(t, size, revocation)
	p, root := newPublisher(t, server)
	p.seal(t, p.pack(t, size))
	line, err := json.Marshal(process{URL: server.URL(), Creds: server.Credentials(topology.Sidecar), Root: root})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\nbroker %s\n", line)
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // until whoever started it is done
}

// processorTime is what a process has used, of Linux' /proc: hundredths of a second.
func (p process) processorTime(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		b.Skip(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks int64
	for _, text := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// pack writes a snapshot of what was announced, without reading it back one by one.
func (p publisher) pack(t *testing.T, size int) snapshot.Manifest {
	t.Helper()
	stream, err := p.js.Stream(t.Context(), realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	info := stream.CachedInfo()
	m := snapshot.Manifest{
		Epoch: events.Epoch(info.Config.Metadata[topology.EpochKey]), Sequence: info.State.LastSeq, AsOf: info.State.LastTime,
	}
	packer := &snapshot.Packer{Now: info.TimeStamp}
	flush := func() {
		chunk, n := packer.Chunk()
		sequence := p.publish(t, realm.SnapshotChunk(len(m.Chunks)), chunk)
		if m.First == 0 {
			m.First = sequence
		}
		m.Chunks, m.Events = append(m.Chunks, sha256.Sum256(chunk)), m.Events+uint64(n)
	}
	for i := range size {
		if packer.Add(encode(t, i, events.Revoked{Revocation: revocation(i)})) {
			flush()
		}
	}
	flush()
	return m
}

func begin(b *testing.B, cfg syncer.Config, size int, loads bool) {
	b.Helper()
	c := &count{}
	s, err := syncer.New(cfg, syncer.Deps{
		Denylist: c, Entries: func() int { return int(c.entries.Load()) }, Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	eventually(b, "ready", func() bool { return s.State().CaughtUp })
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	if n := c.entries.Load(); n < int64(size) || (s.State().Snapshots == 1) != loads {
		b.Fatalf("ready with %d of %d entries, begun with a snapshot: %t", n, size, !loads)
	}
}
