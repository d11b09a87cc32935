package crowd

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
)

// Handler notes on which connections h answers requests, until it returns. A request whose
// connection is being closed for another is not answered at all.
func (l *Limit) Handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(connKey{}).(*conn)
		switch {
		case !ok:
			h.ServeHTTP(w, r)
		case r.Body == nil || r.Body == http.NoBody:
			if !c.begin() {
				panic(http.ErrAbortHandler)
			}
			defer c.end()
			h.ServeHTTP(w, r)
		default:
			a := &answer{ResponseWriter: w, conn: c}
			defer a.end()
			r = r.WithContext(r.Context()) // the server's own stays as it is
			r.Body = &body{r.Body, a}
			h.ServeHTTP(a, r)
		}
	})
}

// answer is that to a request with a body. It begins when the body has come, or with what
// is written first.
type answer struct {
	http.ResponseWriter
	conn *conn

	mu          sync.Mutex
	begun, over bool
}

// begin counts the request, and reports whether it may be answered.
func (a *answer) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.begun && !a.over {
		a.begun = a.conn.begin()
	}
	return a.begun
}

func (a *answer) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over = true; a.begun {
		a.conn.end()
	}
}

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) {
	if status >= http.StatusOK {
		a.begin() // and if it may not, nothing that is written arrives
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (a *answer) Write(p []byte) (int, error) {
	a.begin()
	return a.ResponseWriter.Write(p)
}

// FlushError is for [http.ResponseController].
func (a *answer) FlushError() error {
	a.begin()
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Hijack implements [http.Hijacker].
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a.begin()
	return http.NewResponseController(a.ResponseWriter).Hijack()
}

// body is that of a request.
type body struct {
	io.ReadCloser
	answer *answer
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.answer.conn.touch()
	}
	if errors.Is(err, io.EOF) && !b.answer.begin() {
		err = net.ErrClosed
	}
	return n, err
}
