package syncer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

const (
	// batchSize and batchBytes end a batch, whichever comes first. Two may be
	// under way, so they bound what the inbox holds.
	batchSize  = 5000
	batchBytes = 8 << 20
	// fewEvents is how many an answer has room for at first.
	fewEvents = 64
	// idle is how long an answer may pause before it counts as lost.
	idle = 3 * time.Second
)

// Statuses of direct get.
const (
	statusEnd     = "204" // End Of Batch
	statusNothing = "404" // Message Not Found
)

// errFetch is why a fetch brought nothing, other than that nothing was there.
var errFetch = errors.New("direct get")

// publisher sends a request; *nats.Conn.
type publisher interface {
	PublishRequest(subject, reply string, data []byte) error
}

// fetcher reads stretches of the stream, one at a time. While the owner applies a
// full batch, the next is already under way.
type fetcher struct {
	conn    publisher
	subject string // of direct get
	inbox   string // prefix of the reply subjects, ends with a dot

	// done wakes the owner: take has something.
	done chan struct{}

	mu sync.Mutex
	// asked is what the owner waits for, ahead what it is expected to ask for next.
	asked, ahead *request
	requests     uint64
}

// request is one direct get under way.
type request struct {
	reply string // last token of the reply subject
	id    uint64 // the replica's fetch; zero while ahead
	from  uint64
	// expect is how many events there will be, as far as one can tell.
	expect int
	// finds: it only finds out where to begin, at from at the latest.
	finds bool

	// What has come: how many events, those that are narrow revocations, and all
	// others, nil where they could not be decoded.
	events  int
	entries []events.Revocation
	others  []events.Event
	reader  codec.Reader

	last  uint64
	err   error
	ended bool

	// When progress was last seen, and how far it was.
	touched time.Time
	seen    int
}

func newFetcher(conn publisher, subject, inbox string) *fetcher {
	return &fetcher{conn: conn, subject: subject, inbox: inbox + ".", done: make(chan struct{}, 1)}
}

// ask begins the fetch, in place of one asked for before.
func (f *fetcher) ask(fetch replica.Fetch) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.ahead
	f.asked, f.ahead = nil, nil
	switch {
	case !fetch.Since.IsZero():
		r, err = f.find(fetch.From, fetch.Since)
	case r == nil || r.from != fetch.From || r.err != nil:
		r, err = f.request(fetch.From)
	}
	if err != nil {
		return err
	}
	r.id = fetch.ID
	f.asked = r
	if r.ended {
		f.end()
	}
	return nil
}

// request asks for a batch.
func (f *fetcher) request(from uint64) (*request, error) {
	return f.send(&request{from: from, expect: fewEvents},
		fmt.Appendf(nil, `{"seq":%d,"batch":%d,"max_bytes":%d,"no_hdr":true}`, from, batchSize, batchBytes))
}

// find asks for the first message that is as young as since. What ends the answer
// says its number.
func (f *fetcher) find(from uint64, since time.Time) (*request, error) {
	return f.send(&request{from: from, finds: true},
		fmt.Appendf(nil, `{"start_time":%q,"batch":1,"no_hdr":true}`, since.UTC().Format(time.RFC3339Nano)))
}

func (f *fetcher) send(r *request, body []byte) (*request, error) {
	f.requests++
	r.reply, r.touched = strconv.FormatUint(f.requests, 10), time.Now()
	if err := f.conn.PublishRequest(f.subject, f.inbox+r.reply, body); err != nil {
		return nil, fmt.Errorf("asking for the feed from %d: %w", r.from, err)
	}
	return r, nil
}

// found asks for the batch that begins where an answer to find says.
func (f *fetcher) found(r *request) {
	batch, err := f.request(min(r.from, r.last))
	if err != nil {
		r.err = err
		return
	}
	batch.id = r.id
	f.asked = batch
}

// receive takes in one message of the inbox. NATS calls it for one at a time. It
// decodes while the broker still sends and the owner applies the batch before.
func (f *fetcher) receive(m *nats.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.underWay(strings.TrimPrefix(m.Subject, f.inbox))
	if r == nil || r.ended {
		return
	}
	switch {
	case len(m.Header) > 0:
		r.finish(m.Header)
	case r.events == batchSize:
		r.ended, r.err = true, fmt.Errorf("%w from %d: more than %d events", errFetch, r.from, batchSize)
	default:
		r.take(m.Data)
	}
	if r.ended && r.finds && r.last > 0 && r.err == nil {
		f.found(r)
	}
	if r.ended && r == f.asked {
		f.end()
	}
}

func (f *fetcher) underWay(reply string) *request {
	for _, r := range []*request{f.asked, f.ahead} {
		if r != nil && r.reply == reply {
			return r
		}
	}
	return nil
}

// take decodes one event.
func (r *request) take(payload []byte) {
	r.events++
	switch {
	case r.finds:
		return
	case len(r.entries) == cap(r.entries):
		// Most answers are short, or full and read ahead.
		grown := make([]events.Revocation, len(r.entries), min(batchSize, max(r.expect, 8*cap(r.entries))))
		copy(grown, r.entries)
		r.reader.Grow(cap(grown) - len(grown))
		r.entries = grown
	}
	n := len(r.entries)
	if r.entries = r.entries[:n+1]; r.reader.Revocation(payload, &r.entries[n]) {
		return
	}
	r.entries = r.entries[:n]
	r.others = append(r.others, decode(payload))
}

// finish reads the status that ends an answer.
func (r *request) finish(h nats.Header) {
	r.ended = true
	status, _ := only(h, headerStatus)
	switch {
	case status == statusNothing && r.events == 0:
	case status == statusEnd && r.events > 0:
		last, ok := sequenceOf(h, headerLast)
		if !ok || !r.finds && (last < r.from || last-r.from+1 < uint64(r.events)) {
			r.err = fmt.Errorf("%w from %d: %d events end with number %d", errFetch, r.from, r.events, last)
		}
		r.last = last
	default:
		r.err = fmt.Errorf("%w from %d: status %.3q after %d events", errFetch, r.from, status, r.events)
	}
}

// end wakes the owner for what it asked, and reads ahead if there will be more.
func (f *fetcher) end() {
	select {
	case f.done <- struct{}{}:
	default:
	}
	if f.asked.err == nil && f.asked.events >= batchSize {
		// If it cannot be sent now, ask will say why.
		if f.ahead, _ = f.request(f.asked.last + 1); f.ahead != nil {
			f.ahead.expect = batchSize
		}
	}
}

// answer is how a fetch ended.
type answer struct {
	id      uint64
	entries []events.Revocation
	events  []events.Event
	last    uint64 // zero if nothing was there
	err     error
}

// take gives the answer to what was asked, once there is one. A request that has
// paused for too long ends with an error; for that, take is called now and then.
func (f *fetcher) take(now time.Time) (answer, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked == nil && f.ahead.paused(now) {
		f.ahead = nil // nobody came for it
	}
	r := f.asked
	switch {
	case r == nil:
		return answer{}, false
	case r.ended:
	case r.paused(now):
		r.err = fmt.Errorf("%w from %d: no answer after %d events", errFetch, r.from, r.events)
	default:
		return answer{}, false
	}
	f.asked = nil
	return answer{r.id, r.entries, r.others, r.last, r.err}, true
}

// paused reports whether nothing has come for too long.
func (r *request) paused(now time.Time) bool {
	if r == nil {
		return false
	}
	if r.events > r.seen {
		r.touched, r.seen = now, r.events
	}
	return now.Sub(r.touched) >= idle
}
