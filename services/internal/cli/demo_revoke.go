package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/revocast/revocast/services/stack"
)

// denial is when a sidecar first turned a token away, and how many requests it had
// let through until then; or why it did not.
type denial struct {
	sidecar string
	at      time.Time
	passed  int
	err     error
}

// pollEvery is how often a sidecar is asked: often enough to tell parts of a
// millisecond, and not so often that the asking keeps a small machine's issuer and
// sidecars from their work.
const pollEvery = 250 * time.Microsecond

// pollUntilDenied asks for the token again and again until it is refused as revoked.
// It calls asked when the first answer is there.
func pollUntilDenied(ctx context.Context, name, base, token string, asked func()) denial {
	defer asked()
	d := denial{sidecar: name}
	sidecar, err := newAPI(base, token, false)
	if err != nil {
		d.err = err
		return d
	}
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for ; ; <-ticker.C {
		v, err := ask(ctx, sidecar)
		d.at = time.Now()
		switch {
		case err != nil:
			d.err = err
			return d
		case v.revoked():
			return d
		case v.Verdict != verdictPass:
			d.err = fmt.Errorf("answered %d %s", v.Status, v.Challenge)
			return d
		}
		d.passed++
		asked()
	}
}

// revoke revokes the session while every sidecar is asked for its newest token over
// and over, and records when each turned it away.
func (s *story) revoke(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, denyWithin)
	defer cancel()
	sidecars := s.stack.Sidecars()
	denials := make([]denial, len(sidecars))
	var asking, warm sync.WaitGroup
	warm.Add(len(sidecars))
	for i, srv := range sidecars {
		asking.Go(func() {
			denials[i] = pollUntilDenied(ctx, srv.Name, srv.URL(), s.fresh.AccessToken, sync.OnceFunc(warm.Done))
		})
	}
	warm.Wait() // so that nobody pays for a connection while time is measured
	began := time.Now()
	got, _, err := revoke(ctx, s.admin, revocationRequest{Kind: "session", ID: s.login.SessionID, Reason: "lost_device"})
	acknowledged := time.Now()
	if err != nil {
		cancel() // nothing will be denied
	}
	asking.Wait()
	if err != nil {
		s.line.fail(began, "revoke", err)
		return fmt.Errorf("revoking: %w", err)
	}
	s.line.revoked(began, acknowledged, got.RevocationID, denials)
	var errs []error
	for _, d := range denials {
		if d.err != nil {
			errs = append(errs, fmt.Errorf("waiting for %s to deny: %w", d.sidecar, d.err))
		}
	}
	return errors.Join(append(errs, s.line.t.failed)...)
}

// revoked puts the acknowledgement and the denials in the order in which they came:
// sidecars are told first, so they are often the faster.
func (l *timeline) revoked(began, acknowledged time.Time, id string, denials []denial) {
	acknowledge := func() { l.add(began, acknowledged, "revoke", "acknowledged, durable: revocation "+id) }
	slices.SortFunc(denials, func(a, b denial) int { return a.at.Compare(b.at) })
	said := false
	for _, d := range denials {
		if !said && d.at.After(acknowledged) {
			acknowledge()
			said = true
		}
		if d.err != nil {
			l.fail(began, "deny", fmt.Errorf("%s: %w", d.sidecar, d.err))
			continue
		}
		l.add(began, d.at, "deny", fmt.Sprintf("%s 401 invalid_token, %s the acknowledgement; %d times 200 until then",
			d.sidecar, apart(d.at.Sub(acknowledged)), d.passed))
	}
	if !said {
		acknowledge()
	}
}

// apart says how long before or after.
func apart(d time.Duration) string {
	if d < 0 {
		return fmt.Sprintf("%.1f ms before", milliseconds(-d))
	}
	return fmt.Sprintf("%.1f ms after", milliseconds(d))
}

// oldDenied checks that the session's first token has gone with it.
func (s *story) oldDenied(ctx context.Context) (string, error) {
	for _, srv := range s.stack.Sidecars() {
		sidecar, err := newAPI(srv.URL(), s.login.AccessToken, false)
		if err != nil {
			return "", err
		}
		v, err := ask(ctx, sidecar)
		if err == nil && !v.revoked() {
			err = fmt.Errorf("%s answers %d %s", srv.Name, v.Status, v.Challenge)
		}
		if err != nil {
			return "", err
		}
	}
	return "the session's first access token: 401 invalid_token everywhere", nil
}

// refreshRefused checks that the revoked session gets no new tokens.
func (s *story) refreshRefused(ctx context.Context) (string, error) {
	_, err := refresh(ctx, s.issuer, url.Values{
		"refresh_token": {s.fresh.RefreshToken}, "client_id": {stack.MobileClient},
	})
	switch {
	case err == nil:
		return "", errors.New("the revoked session got new tokens")
	case !isRefusal(err, http.StatusBadRequest, "invalid_grant"):
		return "", err
	}
	return "refused: 400 invalid_grant", nil
}

// logs prints the end of what the processes wrote.
func (s *story) logs(w io.Writer) {
	if s.stack == nil {
		return // what failed to start says so itself
	}
	for _, srv := range s.stack.Servers() {
		_, _ = fmt.Fprintf(w, "\n--- the end of %s's log\n%s\n", srv.Name, printable(srv.Tail(logLines))) // nowhere left to complain
	}
}
