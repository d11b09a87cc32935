package syncer

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/sidecar/internal/replica"
)

// wire takes down the requests that a fetcher sends.
type wire struct {
	replies []string
	from    []uint64 // zero where it asked for a time
	since   time.Time
	err     error
}

func (w *wire) PublishRequest(subject, reply string, data []byte) error {
	if w.err != nil {
		return w.err
	}
	var body struct {
		Seq      uint64    `json:"seq"`
		Batch    int       `json:"batch"`
		MaxBytes int       `json:"max_bytes"`
		NoHdr    bool      `json:"no_hdr"`
		Start    time.Time `json:"start_time"`
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return err
	}
	if w.since = body.Start; !w.since.IsZero() && subject == "get" && body.Batch == 1 && body.NoHdr {
		w.replies, w.from = append(w.replies, reply), append(w.from, body.Seq)
		return nil
	}
	if subject != "get" || body.Batch != batchSize || body.MaxBytes != batchBytes || !body.NoHdr {
		return errors.New("not the request expected: " + string(data))
	}
	w.replies, w.from = append(w.replies, reply), append(w.from, body.Seq)
	return nil
}

// send answers the n-th request with so many events and a header to end with.
func (w *wire) send(f *fetcher, n, events int, end nats.Header) {
	for range events {
		f.receive(&nats.Msg{Subject: w.replies[n], Data: []byte("event")})
	}
	if end != nil {
		f.receive(&nats.Msg{Subject: w.replies[n], Header: end})
	}
}

func endsAt(sequence uint64) nats.Header {
	return nats.Header{
		"Status": {"204"}, "Description": {"EOB"},
		"Nats-Num-Pending": {"0"}, "Nats-Last-Sequence": {strconv.FormatUint(sequence, 10)},
	}
}

func status(code string) nats.Header { return nats.Header{"Status": {code}} }

func TestHowAFetchEnds(t *testing.T) {
	for name, c := range map[string]struct {
		events int
		end    nats.Header
		last   uint64
		fault  string
	}{
		"all there":                   {3, endsAt(12), 12, ""},
		"sparse":                      {3, endsAt(900), 900, ""},
		"nothing":                     {0, status("404"), 0, ""},
		"nothing after something":     {2, status("404"), 0, "status"},
		"an end without events":       {0, endsAt(12), 0, "status"},
		"nobody answers":              {0, status("503"), 0, "status"},
		"refused":                     {0, status("408"), 0, "status"},
		"no status":                   {1, nats.Header{"X": {"y"}}, 0, "status"},
		"two statuses":                {1, nats.Header{"Status": {"204", "404"}, "Nats-Last-Sequence": {"10"}}, 0, "status"},
		"no last number":              {1, status("204"), 0, "end with"},
		"two last numbers":            {1, nats.Header{"Status": {"204"}, "Nats-Last-Sequence": {"10", "11"}}, 0, "end with"},
		"no number":                   {1, nats.Header{"Status": {"204"}, "Nats-Last-Sequence": {"+10"}}, 0, "end with"},
		"ends before it began":        {1, endsAt(9), 0, "end with"},
		"more events than numbers":    {3, endsAt(11), 0, "end with"},
		"more events than asked for":  {batchSize + 1, nil, 0, "more than"},
		"a full batch":                {batchSize, endsAt(10 + batchSize), 10 + batchSize, ""},
		"does not end":                {2, nil, 0, "no answer"},
		"does not even begin":         {0, nil, 0, "no answer"},
		"number beyond all sequences": {1, endsAt(1 << 54), 0, "end with"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &wire{}
			f := newFetcher(w, "get", "inbox")
			if err := f.ask(replica.Fetch{ID: 7, From: 10}); err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			if _, ok := f.take(now); ok {
				t.Fatal("there was an answer before there was one")
			}
			w.send(f, 0, c.events, c.end)
			a, ok := f.take(now)
			if !ok {
				f.take(now.Add(idle / 2))
				if a, ok = f.take(now.Add(3 * idle)); !ok {
					t.Fatal("waits for ever")
				}
			}
			if a.id != 7 {
				t.Errorf("answers %d", a.id)
			}
			if c.fault != "" {
				if a.err == nil || !strings.Contains(a.err.Error(), c.fault) || !errors.Is(a.err, errFetch) {
					t.Errorf("error %v, want one about %q", a.err, c.fault)
				}
				return
			}
			if a.err != nil || a.last != c.last || len(a.events) != c.events {
				t.Errorf("%d events to %d, %v; want %d to %d", len(a.events), a.last, a.err, c.events, c.last)
			}
			if _, ok := f.take(now); ok {
				t.Error("answered twice")
			}
		})
	}
}

// A slow answer is no lost answer.
func TestProgressIsNoPause(t *testing.T) {
	w := &wire{}
	f := newFetcher(w, "get", "inbox")
	if err := f.ask(replica.Fetch{ID: 1, From: 10}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for range 5 {
		w.send(f, 0, 1, nil)
		now = now.Add(idle - time.Millisecond)
		if a, ok := f.take(now); ok {
			t.Fatalf("given up: %v", a.err)
		}
	}
}

func TestReadsAhead(t *testing.T) {
	w := &wire{}
	f := newFetcher(w, "get", "inbox")
	ask := func(id, from uint64) {
		t.Helper()
		if err := f.ask(replica.Fetch{ID: id, From: from}); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	answered := func(id, last uint64) {
		t.Helper()
		select {
		case <-f.done:
		default:
			t.Fatal("nobody was woken")
		}
		if a, ok := f.take(now); !ok || a.err != nil || a.id != id || a.last != last {
			t.Fatalf("answer %+v %v, want %d to %d", a, ok, id, last)
		}
	}

	ask(1, 10)
	w.send(f, 0, batchSize, endsAt(9000))
	answered(1, 9000)
	// The next is under way, and done before it is asked for.
	w.send(f, 1, batchSize, endsAt(20000))
	ask(2, 9001)
	answered(2, 20000)
	// This one is asked for while it is under way; late messages of the first do
	// not mix with it.
	w.send(f, 2, 5, nil)
	ask(3, 20001)
	w.send(f, 0, 1, endsAt(9001))
	w.send(f, 2, 5, endsAt(20010))
	answered(3, 20010)
	// It was not full, so nothing was read ahead.
	if want := []uint64{10, 9001, 20001}; !slices.Equal(w.from, want) {
		t.Fatalf("asked from %d, want %d", w.from, want)
	}

	// What was read ahead is not what is asked for: after a new epoch, say.
	ask(4, 20011)
	w.send(f, 3, batchSize, endsAt(30000))
	answered(4, 30000)
	ask(5, 1)
	w.send(f, 4, batchSize, endsAt(40000))
	if _, ok := f.take(now); ok {
		t.Fatal("what was read ahead answered another fetch")
	}
	w.send(f, 5, 1, endsAt(1))
	answered(5, 1)

	// What nobody comes for is let go; what failed is asked for again.
	ask(6, 2)
	w.send(f, 6, batchSize, endsAt(50000))
	answered(6, 50000)
	w.send(f, 7, 3, endsAt(50003))
	f.take(now)
	f.take(now.Add(idle))
	ask(7, 50001)
	w.send(f, 8, batchSize, endsAt(60000))
	answered(7, 60000)
	w.send(f, 9, 0, status("503"))
	ask(8, 60001)
	if want := []uint64{10, 9001, 20001, 20011, 30001, 1, 2, 50001, 50001, 60001, 60001}; !slices.Equal(w.from, want) {
		t.Fatalf("asked from %d, want %d", w.from, want)
	}
}

// A fetch since some time finds out first where that is.
func TestFetchesSince(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for name, c := range map[string]struct {
		found, begins uint64
	}{
		"what is young has old numbers": {7, 7},
		"there is a gap before it":      {12, 10},
	} {
		t.Run(name, func(t *testing.T) {
			w := &wire{}
			f := newFetcher(w, "get", "inbox")
			if err := f.ask(replica.Fetch{ID: 3, From: 10, Since: since}); err != nil {
				t.Fatal(err)
			}
			if !w.since.Equal(since) {
				t.Fatalf("asked since %v", w.since)
			}
			w.send(f, 0, 1, endsAt(c.found))
			if _, ok := f.take(time.Now()); ok {
				t.Fatal("answered by where it begins")
			}
			w.send(f, 1, 3, endsAt(20))
			a, ok := f.take(time.Now())
			if !ok || a.err != nil || a.id != 3 || a.last != 20 || len(a.events) != 3 {
				t.Fatalf("answer %+v %v", a, ok)
			}
			if want := []uint64{0, c.begins}; !slices.Equal(w.from, want) {
				t.Fatalf("asked from %d, want %d", w.from, want)
			}
		})
	}
	for name, end := range map[string]nats.Header{"nothing is young": status("404"), "it failed": status("503")} {
		t.Run(name, func(t *testing.T) {
			w := &wire{}
			f := newFetcher(w, "get", "inbox")
			if err := f.ask(replica.Fetch{ID: 3, From: 10, Since: since}); err != nil {
				t.Fatal(err)
			}
			w.send(f, 0, 0, end)
			if a, ok := f.take(time.Now()); !ok || a.last != 0 || (a.err != nil) != (name == "it failed") {
				t.Fatalf("answer %+v %v", a, ok)
			}
		})
	}
}

func TestCannotAsk(t *testing.T) {
	w := &wire{err: nats.ErrReconnectBufExceeded}
	f := newFetcher(w, "get", "inbox")
	if err := f.ask(replica.Fetch{ID: 1, From: 10}); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Fatalf("error %v", err)
	}
	if _, ok := f.take(time.Now().Add(time.Hour)); ok {
		t.Fatal("an answer to what was not asked")
	}
}
