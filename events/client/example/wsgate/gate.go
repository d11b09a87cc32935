package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/client"
)

// Close codes that clients see. 4000 to 4999 are for applications (RFC 6455
// section 7.4.2); this one is 401's cousin: log in again, do not just reconnect.
const statusRevoked websocket.StatusCode = 4401

// gate lets WebSockets in and throws them out.
type gate struct {
	auth     string
	http     *http.Client
	sessions *registry
	record   *record
	// settle is when a new connection's token is looked at again, see watch.
	settle time.Duration
}

func newGate(auth string, r *record) *gate {
	return &gate{
		auth:     auth,
		sessions: newRegistry(),
		record:   r,
		settle:   5 * time.Second,
		http: &http.Client{
			Timeout: 5 * time.Second,
			// An answer from elsewhere is not the sidecar's.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

func (g *gate) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", g.serve)
	return mux
}

// serve holds one WebSocket open for as long as its session lives. What a service
// does with the connection goes here; this one says hello and then just listens.
func (g *gate) serve(w http.ResponseWriter, r *http.Request) {
	token := r.Header["Authorization"]
	who, refused := g.authenticate(r.Context(), token)
	if refused != nil {
		refused.answer(w)
		return
	}
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	c, ok := g.sessions.add(who)
	if !ok {
		_ = ws.Close(websocket.StatusGoingAway, "shutting down")
		return
	}
	defer g.sessions.remove(c)

	ctx, cancel := context.WithCancel(r.Context())
	var watching sync.WaitGroup
	watching.Go(func() { g.watch(ctx, ws, c, token) })
	err = wsjson.Write(ctx, ws, map[string]string{"session": who.session})
	for err == nil {
		_, _, err = ws.Read(ctx)
	}
	cancel()
	watching.Wait()
	_ = ws.CloseNow() // nothing is left of it but the error that ended the loop
}

// watch closes a connection when it is told to, until ctx ends.
func (g *gate) watch(ctx context.Context, ws *websocket.Conn, c *connection, token []string) {
	// A revocation handled just before the connection was registered found nothing
	// to close, and the sidecar that let it in may have been a moment behind. Asked
	// once more, it no longer is.
	again := time.After(g.settle)
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-c.end:
			_ = ws.Close(e.code, e.reason)
			return
		case <-again:
			if _, refused := g.authenticate(ctx, token); refused != nil {
				_ = ws.Close(refused.close())
				return
			}
		}
	}
}

// handle closes what an event revokes. It may be called again for the same event
// and then finds nothing left to close.
func (g *gate) handle(_ context.Context, d client.Delivery) error {
	l := line{EventID: d.Event.ID, Kind: "ignored"}
	// Lifts and keys close nothing. Nor does what this version does not know; a
	// service that must not miss a new kind would return an error here instead.
	if revoked, ok := d.Event.Event.(events.Revoked); ok {
		r := revoked.Revocation
		l.Kind, l.ID = r.Kind.String(), r.Target
		l.Closed = g.sessions.end(r)
	}
	return g.record.write(l)
}

// authenticate asks the sidecar, which checks signature, expiry and denylist. The
// token comes as it does for any request; browsers, which cannot set the header on
// a WebSocket, need a cookie and a sidecar in front of this service.
func (g *gate) authenticate(ctx context.Context, token []string) (identity, *refusal) {
	unreachable := &refusal{status: http.StatusServiceUnavailable}
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, g.auth, nil)
	if err != nil {
		return identity{}, unreachable
	}
	ask.Header["Authorization"] = token
	answer, err := g.http.Do(ask)
	if err != nil {
		return identity{}, unreachable
	}
	_ = answer.Body.Close() // everything is in the header
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusServiceUnavailable:
		return identity{}, &refusal{status: answer.StatusCode, header: answer.Header}
	default:
		return identity{}, unreachable
	}
	who := identity{
		session: answer.Header.Get("X-Auth-Session"),
		subject: answer.Header.Get("X-Auth-Subject"),
		client:  answer.Header.Get("X-Auth-Client"),
	}
	if who.session == "" {
		// A service's own token has no session, and nothing would ever end it here.
		return identity{}, &refusal{status: http.StatusForbidden}
	}
	return who, nil
}

// refusal is an answer of the sidecar that lets nobody in.
type refusal struct {
	status int
	header http.Header
}

// answer passes it on.
func (e *refusal) answer(w http.ResponseWriter) {
	for _, name := range []string{"WWW-Authenticate", "Retry-After"} {
		if v := e.header.Values(name); len(v) > 0 {
			w.Header()[name] = v
		}
	}
	http.Error(w, http.StatusText(e.status), e.status)
}

// close says it on an open connection.
func (e *refusal) close() (websocket.StatusCode, string) {
	if e.status == http.StatusServiceUnavailable {
		return websocket.StatusTryAgainLater, "cannot be authorized at the moment"
	}
	return statusRevoked, "no longer authorized"
}

// reasonText fits a revocation's reason into a close frame (RFC 6455 section 5.5).
func reasonText(r events.Reason) string {
	const most = 125 - 2 // a control frame without the code
	s := "revoked: " + string(r)
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}
