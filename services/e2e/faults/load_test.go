package faults

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// The load of a run, beside what each round does. On two cores it leaves room for what
// is under test.
const (
	minters  = 3
	revokers = 2
	askers   = 2 // a sidecar

	mintEvery   = 120 * time.Millisecond
	revokeEvery = 150 * time.Millisecond
	askEvery    = 4 * time.Millisecond
	probeEvery  = 100 * time.Millisecond
)

// load runs until the function it returns is called.
func (w *world) load() (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var group sync.WaitGroup
	every := func(d time.Duration, f func(context.Context)) {
		group.Go(func() {
			ticker := time.NewTicker(d)
			defer ticker.Stop()
			for ctx.Err() == nil {
				f(ctx)
				select {
				case <-ticker.C:
				case <-ctx.Done():
				}
			}
		})
	}
	for range minters {
		m := &minter{world: w}
		every(mintEvery, m.mint)
	}
	for range revokers {
		every(revokeEvery, w.revoke)
	}
	for _, s := range w.sidecars {
		for range askers {
			every(askEvery, func(ctx context.Context) {
				if n := w.pick(); n != nil {
					w.judgeUnless(ctx, s, n)
				}
			})
		}
		every(probeEvery, func(ctx context.Context) { w.probe(ctx, s) })
	}
	return func() {
		cancel()
		group.Wait()
	}
}

// judgeUnless asks and judges, unless the run has ended meanwhile.
func (w *world) judgeUnless(ctx context.Context, s *sidecar, t *token) answer {
	a := s.ask(ctx, t.raw)
	if ctx.Err() == nil {
		w.judge(s, t, a)
	}
	return a
}

// probe holds what a sidecar says of its readiness to what it does: asked before and
// after a request for a good token it said the same.
func (w *world) probe(ctx context.Context, s *sidecar) {
	t := w.good()
	if t == nil {
		return
	}
	life, calm := s.life.Load(), s.troubled.Load() == 0
	before, why := s.ready(ctx)
	a := w.judgeUnless(ctx, s, t)
	after, _ := s.ready(ctx)
	if before != after || a.life != life || s.life.Load() != life || !w.lives(t) {
		return
	}
	// Between two questions a view may become too old, or fresh again.
	turning := (a.ended.Sub(a.freshAsOf) - s.limit()).Abs() < time.Second
	switch {
	case before == http.StatusOK && a.status == http.StatusServiceUnavailable && !turning && !s.mayLack(w.seen(t)):
		w.broken("%s says that it is ready and refuses a good token, fresh as of %s", s.Name, a.freshAsOf)
	case before == http.StatusServiceUnavailable && a.status == http.StatusOK && calm && s.troubled.Load() == 0 && !s.clockOff() &&
		a.ended.Sub(a.freshAsOf) < staleAfter-time.Second && time.Since(time.Unix(0, s.calm.Load())) < time.Minute && s.calm.Load() != 0:
		w.broken("%s says that it is not ready (%s), and is fresh as of %s", s.Name, why, a.freshAsOf)
	}
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: 30 * time.Second}

// post asks the issuer; status 0 is no answer.
func post(ctx context.Context, address, contentType, bearer string, body []byte) (status int, answer []byte) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return 0, nil
	}
	req.Header.Set("Content-Type", contentType)
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	answer, err = io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return 0, []byte(err.Error())
	}
	return resp.StatusCode, answer
}

// minter logs in and refreshes, one session at a time.
type minter struct {
	*world
	client, refresh string
	began           time.Time
}

func (m *minter) mint(ctx context.Context) {
	var status int
	var body []byte
	if m.refresh == "" || rand.IntN(25) == 0 {
		m.client, m.began = clients[rand.IntN(len(clients))], time.Now()
		in, _ := json.Marshal(map[string]string{"username": users[rand.IntN(len(users))], "password": password, "client_id": m.client}) // strings can be written
		status, body = post(ctx, m.stack.Issuer().URL()+"/v1/login", "application/json", "", in)
	} else {
		form := url.Values{"grant_type": {"refresh_token"}, "client_id": {m.client}, "refresh_token": {m.refresh}}
		status, body = post(ctx, m.stack.Issuer().URL()+"/oauth/token", "application/x-www-form-urlencoded", "", []byte(form.Encode()))
	}
	if status != http.StatusOK {
		m.refresh = "" // it may have been used up by an answer that was lost
		return
	}
	var got struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		m.broken("no tokens in %s: %v", body, err)
		return
	}
	m.refresh = got.Refresh
	t, err := read(got.Access)
	if err != nil {
		m.broken("%v", err)
		return
	}
	t.began, t.got = m.began, time.Now()
	m.add(t)
}

// read reads what a token says of itself.
func read(raw string) (*token, error) {
	var head struct{ Kid string }
	var claims struct {
		Jti, Sid, Sub string
		Client        string `json:"client_id"`
		Exp           int64
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil, errors.New("an access token of other than three parts")
	}
	for i, v := range []any{&head, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err = errors.Join(err, json.Unmarshal(text, v)); err != nil {
			return nil, fmt.Errorf("reading an access token: %w", err)
		}
	}
	return &token{
		raw: raw, jti: claims.Jti, sid: claims.Sid, sub: claims.Sub, client: claims.Client, kid: head.Kid, expires: time.Unix(claims.Exp, 0),
	}, nil
}

// revoke revokes what some good token belongs to. Kinds that leave nothing alive are
// rare.
func (w *world) revoke(ctx context.Context) {
	w.revoking.RLock()
	defer w.revoking.RUnlock()
	t := w.good()
	if t == nil || w.issuerDown.Load() {
		return
	}
	_, living := w.all()
	if len(living) < 12 {
		return
	}
	t = living[rand.IntN(len(living))]
	kind, id := "token", t.jti
	switch n := rand.IntN(200); {
	case n < 60:
		kind, id = "session", t.sid
	case n < 62:
		kind, id = "subject", t.sub
	case n < 70 && w.broad.CompareAndSwap(false, true):
		// Rarely, and users not often: what denies much hides whether anything else still
		// does. Nor may more than sixteen keys stand at a time (ADR-0013).
		time.AfterFunc(size(5*time.Second, 100*time.Second), func() { w.broad.Store(false) })
		switch rand.IntN(3) {
		case 0:
			kind, id = "client", t.client
		case 1:
			kind, id = "key", t.kid
		case 2:
			kind, id = "all", ""
		}
	}
	r := w.ask(kind, id)
	body, _ := json.Marshal(map[string]string{"kind": kind, "id": id}) // strings can be written
	status, answer := post(ctx, w.stack.Issuer().AdminURL()+"/admin/v1/revocations", "application/json", w.operator, body)
	w.end(r, status == http.StatusCreated)
	if status/100 == 4 && status != http.StatusNotFound && status != http.StatusConflict && status != http.StatusTooManyRequests {
		w.broken("revoking a %s: %d %s", kind, status, answer)
	}
}
