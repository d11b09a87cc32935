package syncer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// batchSize and batchBytes end a batch, whichever comes first. Two may be
	// under way, so they bound what the inbox holds.
	batchSize  = 5000
	batchBytes = 8 << 20
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

	payloads [][]byte
	last     uint64
	err      error
	ended    bool

	// When progress was last seen, and how far it was.
	touched time.Time
	seen    int
}

func newFetcher(conn publisher, subject, inbox string) *fetcher {
	return &fetcher{conn: conn, subject: subject, inbox: inbox + ".", done: make(chan struct{}, 1)}
}

// ask begins the fetch, in place of one asked for before.
func (f *fetcher) ask(id, from uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	ahead := f.ahead
	f.asked, f.ahead = nil, nil
	if ahead == nil || ahead.from != from || ahead.err != nil {
		var err error
		if ahead, err = f.request(from); err != nil {
			return err
		}
	}
	ahead.id = id
	f.asked = ahead
	if ahead.ended {
		f.end()
	}
	return nil
}

func (f *fetcher) request(from uint64) (*request, error) {
	f.requests++
	r := &request{reply: strconv.FormatUint(f.requests, 10), from: from, touched: time.Now()}
	body := fmt.Appendf(nil, `{"seq":%d,"batch":%d,"max_bytes":%d,"no_hdr":true}`, from, batchSize, batchBytes)
	if err := f.conn.PublishRequest(f.subject, f.inbox+r.reply, body); err != nil {
		return nil, fmt.Errorf("asking for the feed from %d: %w", from, err)
	}
	return r, nil
}

// receive takes in one message of the inbox. NATS calls it for one at a time. It
// decodes nothing, so that the next batch is asked for as soon as one has ended.
func (f *fetcher) receive(m *nats.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.find(strings.TrimPrefix(m.Subject, f.inbox))
	if r == nil || r.ended {
		return
	}
	switch {
	case len(m.Header) > 0:
		r.finish(m.Header)
	case len(r.payloads) == batchSize:
		r.ended, r.err = true, fmt.Errorf("%w from %d: more than %d events", errFetch, r.from, batchSize)
	default:
		r.payloads = append(r.payloads, m.Data)
	}
	if r.ended && r == f.asked {
		f.end()
	}
}

func (f *fetcher) find(reply string) *request {
	for _, r := range []*request{f.asked, f.ahead} {
		if r != nil && r.reply == reply {
			return r
		}
	}
	return nil
}

// finish reads the status that ends an answer.
func (r *request) finish(h nats.Header) {
	r.ended = true
	status, _ := only(h, headerStatus)
	switch {
	case status == statusNothing && len(r.payloads) == 0:
	case status == statusEnd && len(r.payloads) > 0:
		last, ok := sequenceOf(h, headerLast)
		if !ok || last < r.from || last-r.from+1 < uint64(len(r.payloads)) {
			r.err = fmt.Errorf("%w from %d: %d events end with number %d", errFetch, r.from, len(r.payloads), last)
		}
		r.last = last
	default:
		r.err = fmt.Errorf("%w from %d: status %.3q after %d events", errFetch, r.from, status, len(r.payloads))
	}
}

// end wakes the owner for what it asked, and reads ahead if there will be more.
func (f *fetcher) end() {
	select {
	case f.done <- struct{}{}:
	default:
	}
	if f.asked.err == nil && len(f.asked.payloads) >= batchSize {
		// If it cannot be sent now, ask will say why.
		f.ahead, _ = f.request(f.asked.last + 1)
	}
}

// answer is how a fetch ended.
type answer struct {
	id       uint64
	payloads [][]byte
	last     uint64 // zero if nothing was there
	err      error
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
		r.err = fmt.Errorf("%w from %d: no answer after %d events", errFetch, r.from, len(r.payloads))
	default:
		return answer{}, false
	}
	f.asked = nil
	return answer{r.id, r.payloads, r.last, r.err}, true
}

// paused reports whether nothing has come for too long.
func (r *request) paused(now time.Time) bool {
	if r == nil {
		return false
	}
	if len(r.payloads) > r.seen {
		r.touched, r.seen = now, len(r.payloads)
	}
	return now.Sub(r.touched) >= idle
}
