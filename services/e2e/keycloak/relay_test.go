package keycloak

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// relay stands between Keycloak and an issuer and keeps what passes.
type relay struct {
	*httptest.Server

	mu     sync.Mutex
	issuer string // where it leads; "" loses what is sent
	sent   []logout
}

// logout is a log-out token that Keycloak sent.
type logout struct {
	token string
	at    time.Time // it came
	took  time.Duration
	answer
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	r := &relay{}
	r.Server = httptest.NewServer(http.HandlerFunc(r.forward))
	t.Cleanup(r.Close)
	return r
}

// lead sets where it leads from now on.
func (r *relay) lead(issuer string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.issuer = issuer
}

func (r *relay) forward(w http.ResponseWriter, req *http.Request) {
	l := logout{at: time.Now(), answer: answer{status: http.StatusServiceUnavailable}}
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		return // Keycloak is gone
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	l.token = values.Get("logout_token")
	r.mu.Lock()
	issuer := r.issuer
	r.mu.Unlock()
	if issuer != "" {
		header := http.Header{"Content-Type": req.Header["Content-Type"]}
		l.answer = send(req.Context(), plain(), req.Method, issuer+req.URL.Path, header, string(body))
	}
	l.took = time.Since(l.at)
	r.mu.Lock()
	r.sent = append(r.sent, l)
	r.mu.Unlock()
	if l.status == 0 {
		l.status = http.StatusBadGateway
	}
	w.WriteHeader(l.status)
}

// since gives what was sent after the first n.
func (r *relay) since(n int) []logout {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent[n:len(r.sent):len(r.sent)]
}

func (r *relay) count() int { return len(r.since(0)) }
