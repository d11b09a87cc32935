package syncer

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

// Only a heartbeat of the feed names an epoch, and only the server says when it was
// stored.
func TestReadName(t *testing.T) {
	encode := func(e events.Event) []byte {
		b, err := codec.Encode(events.Envelope{ID: "01935f6a-0c00-7000-8000-000000000001", Event: e})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	header := func() nats.Header {
		return nats.Header{"Nats-Stream": {"FEED"}, "Nats-Sequence": {"42"}, "Nats-Time-Stamp": {"2026-01-02T03:04:05Z"}}
	}
	beat := encode(events.Heartbeat{Epoch: "E"})
	epoch, stored, ok := readName(&nats.Msg{Header: header(), Data: beat}, "FEED")
	if !ok || epoch != "E" || !stored.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Fatalf("read %q of %v, %v", epoch, stored, ok)
	}
	forged := header()
	forged["Nats-Time-Stamp"] = append(forged["Nats-Time-Stamp"], "2020-01-02T03:04:05Z")
	for name, m := range map[string]*nats.Msg{
		"no answer":        {Header: nats.Header{"Status": {"404"}}},
		"no heartbeat":     {Header: header(), Data: encode(events.BarrierPassed{})},
		"no event":         {Header: header(), Data: []byte("x")},
		"of another":       {Header: nats.Header{"Nats-Stream": {"X"}, "Nats-Sequence": {"42"}, "Nats-Time-Stamp": {"2026-01-02T03:04:05Z"}}, Data: beat},
		"a time of theirs": {Header: forged, Data: beat},
	} {
		if _, _, ok := readName(m, "FEED"); ok {
			t.Errorf("%s: an epoch was read", name)
		}
	}
}
