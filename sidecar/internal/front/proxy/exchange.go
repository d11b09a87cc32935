package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/revocast/revocast/sidecar/internal/front"
)

const (
	// stall is how long one who is waited for may do nothing: a client that does not
	// take what is sent to it, some ten kilobytes at a time, or nobody known who sends
	// nothing. Where nothing is sent nobody is waited for, however long an answer lasts.
	stall = 2 * time.Minute
	// lastWords is how long a client has to take the end of what is ended, or to stop
	// sending.
	lastWords = time.Second
	// bodyWithin is how long the rest of a body is waited for when the answer is over.
	bodyWithin = 5 * time.Second
)

// errClosing ends tunnels when the process ends.
var errClosing = errors.New("the process ends")

// refusal ends an exchange whose request would not pass any more.
type refusal struct{ answer front.Answer }

// Error implements error.
func (r *refusal) Error() string {
	return "it would not pass any more: " + r.answer.Decision.Reason.String()
}

// exchange is one request with its answer, from being let in to its end. It is the
// answer's writer, too.
type exchange struct {
	http.ResponseWriter
	control *http.ResponseController
	live    *live
	begun   time.Time
	cancel  context.CancelCauseFunc
	request front.Request
	answer  front.Answer
	// judged: it was let in for its token, and lasts no longer than that passes.
	judged bool
	// unreadable: the client's body could not be read to its end.
	unreadable atomic.Bool

	mu     sync.Mutex
	tunnel *tunnel
	ended  *goodbye
	over   bool // the handler has returned; the connection may be another's
}

// open takes the server's own bounds away, which are for short answers.
func (e *exchange) open(r *http.Request) {
	_ = e.control.SetReadDeadline(time.Time{}) // where there are none, none is needed
	_ = e.control.SetWriteDeadline(time.Time{})
	if r.ProtoMajor == 1 {
		_ = e.control.EnableFullDuplex() // an answer may begin before the body has ended
	}
}

// close ends what the handler may do with the connection.
func (e *exchange) close(r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	if e.tunnel == nil && r.ProtoMajor == 1 {
		_ = e.control.SetReadDeadline(time.Now().Add(bodyWithin)) // until the server sets its own
	}
}

// Unwrap is for [http.ResponseController].
func (e *exchange) Unwrap() http.ResponseWriter { return e.ResponseWriter }

// WriteHeader lets nothing pass in the front's name, not even on the way (103).
func (e *exchange) WriteHeader(status int) {
	h, fresh := e.Header(), e.answer.Fresh()
	switch {
	case status < http.StatusOK:
		scrub(h)
	case h[fresh.Name] == nil:
		h[fresh.Name] = []string{fresh.Value}
	}
	e.ResponseWriter.WriteHeader(status)
}

// Write waits for the client a while.
func (e *exchange) Write(p []byte) (int, error) {
	defer e.patient()()
	return e.ResponseWriter.Write(p)
}

// FlushError does so too.
func (e *exchange) FlushError() error {
	defer e.patient()()
	return e.control.Flush()
}

// patient bounds what follows, up to a call of what it gives.
func (e *exchange) patient() (done func()) {
	e.bound(e.control.SetWriteDeadline, time.Now().Add(stall))
	return func() { e.bound(e.control.SetWriteDeadline, time.Time{}) }
}

// bound sets a deadline, unless the end has set one already.
func (e *exchange) bound(set func(time.Time) error, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended == nil && !e.over && e.tunnel == nil {
		_ = set(until) // where there are no deadlines there is no client to wait for
	}
}

// Hijack implements [http.Hijacker]: from here on there is a tunnel.
func (e *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := e.control.Hijack()
	if err != nil {
		return nil, nil, err
	}
	open := e.live.upgrade(e)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tunnel = &tunnel{Conn: conn}
	switch {
	case e.ended != nil: // since the application's answer
		e.tunnel.end(*e.ended)
	case !open:
		e.finish(goodbye{code: codeGoingAway}, errClosing)
	}
	return e.tunnel, buffered, nil
}

// end ends the exchange, and reports whether it had to. It does not wait: the handler
// finds its context over, and every wait on the client bounded.
func (e *exchange) end(g goodbye, cause error) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over || e.ended != nil {
		return false
	}
	e.finish(g, cause)
	return true
}

// finish is called with the lock held.
func (e *exchange) finish(g goodbye, cause error) {
	g.until = time.Now().Add(lastWords)
	e.ended = &g
	if e.tunnel != nil {
		e.tunnel.end(g)
	} else {
		_ = e.control.SetReadDeadline(g.until)
		_ = e.control.SetWriteDeadline(g.until)
	}
	e.cancel(cause)
}

// upload is the client's body on its way to the application.
type upload struct {
	io.ReadCloser
	exchange *exchange
}

// Read waits for a client that is known as long as its token passes, for another only a
// while.
func (u *upload) Read(p []byte) (int, error) {
	e := u.exchange
	if !e.judged {
		e.bound(e.control.SetReadDeadline, time.Now().Add(stall))
	}
	n, err := u.ReadCloser.Read(p)
	switch {
	case err == nil:
	case !errors.Is(err, io.EOF):
		e.unreadable.Store(true)
	case !e.judged:
		e.bound(e.control.SetReadDeadline, time.Time{}) // an answer may take longer
	}
	return n, err
}

// buffers are reused for copying.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

// Get implements [httputil.BufferPool].
func (b *buffers) Get() []byte {
	if have, ok := b.pool.Get().(*[]byte); ok {
		return *have
	}
	return make([]byte, bufferSize)
}

// Put implements [httputil.BufferPool].
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
