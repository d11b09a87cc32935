package syncer

import (
	"maps"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestReadLive(t *testing.T) {
	arrived := time.Now()
	good := nats.Header{
		"Nats-Stream": {"FEED"}, "Nats-Subject": {"revocast.test.feed.token.1"}, "Nats-Sequence": {"42"},
		"Nats-Time-Stamp": {"2026-01-02T03:04:05.000000006Z"}, "Nats-Last-Sequence": {"7"}, "Nats-Msg-Id": {"x"},
	}
	m, ok := readLive(&nats.Msg{Header: good, Data: []byte("no event")}, "FEED", arrived, time.Second)
	stored := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	if !ok || m.Sequence != 42 || !m.Stored.Equal(stored) || m.Arrived != arrived || m.Elapsed != time.Second || m.Size != 8 || m.Event != nil {
		t.Fatalf("read as %+v %v", m, ok)
	}
	for name, change := range map[string]nats.Header{
		"no stream":             {"Nats-Stream": nil},
		"another stream":        {"Nats-Stream": {"JOURNAL"}},
		"two streams":           {"Nats-Stream": {"FEED", "FEED"}},
		"no sequence":           {"Nats-Sequence": {}},
		"two sequences":         {"Nats-Sequence": {"42", "42"}},
		"sequence zero":         {"Nats-Sequence": {"0"}},
		"a sign":                {"Nats-Sequence": {"-1"}},
		"a word":                {"Nats-Sequence": {"many"}},
		"beyond all sequences":  {"Nats-Sequence": {"9007199254740992"}},
		"beyond all numbers":    {"Nats-Sequence": {"18446744073709551616"}},
		"no time":               {"Nats-Time-Stamp": nil},
		"two times":             {"Nats-Time-Stamp": {good["Nats-Time-Stamp"][0], good["Nats-Time-Stamp"][0]}},
		"no such time":          {"Nats-Time-Stamp": {"2026-01-32T03:04:05Z"}},
		"a time of other shape": {"Nats-Time-Stamp": {"1767323045"}},
	} {
		header := maps.Clone(good)
		maps.Copy(header, change)
		if m, ok := readLive(&nats.Msg{Header: header}, "FEED", arrived, time.Second); ok {
			t.Errorf("%s: read as %+v", name, m)
		}
	}
	if _, ok := readLive(&nats.Msg{}, "FEED", arrived, time.Second); ok {
		t.Error("a message without headers was read")
	}
}

func TestDelaysAreSpreadAndBounded(t *testing.T) {
	for attempt := range 100 {
		d := reconnectDelay(attempt)
		if d < 50*time.Millisecond || d > slowestReconnect {
			t.Fatalf("attempt %d after %v", attempt, d)
		}
		if attempt > 10 && d < slowestReconnect/2 {
			t.Fatalf("attempt %d after %v", attempt, d)
		}
	}
}
