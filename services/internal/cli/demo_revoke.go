package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/revocast/revocast/services/internal/stack"
)

// denial is when a sidecar first turned a token away, and how many requests it had
// let through until then.
type denial struct {
	at     time.Time
	passed int
}

// pollUntilDenied asks for the token, one request after the other without a pause,
// until it is refused as revoked. It calls asked after the first answer.
func pollUntilDenied(ctx context.Context, base, token string, asked func()) (d denial, err error) {
	defer asked()
	sidecar, err := newAPI(base, token, false)
	if err != nil {
		return d, err
	}
	for {
		v, err := ask(ctx, sidecar)
		d.at = time.Now()
		switch {
		case err != nil:
			return d, err
		case v.revoked():
			return d, nil
		case v.Verdict != verdictPass:
			return d, fmt.Errorf("answered %d %s", v.Status, v.Challenge)
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
	denials, errs := make([]denial, len(sidecars)), make([]error, len(sidecars))
	var asking, warm sync.WaitGroup
	warm.Add(len(sidecars))
	for i, srv := range sidecars {
		asking.Go(func() {
			denials[i], errs[i] = pollUntilDenied(ctx, srv.URL(), s.fresh.AccessToken, sync.OnceFunc(warm.Done))
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
	s.reportDenials(began, acknowledged, got.RevocationID, denials, errs)
	return errors.Join(append(errs, s.line.t.failed)...)
}

// reportDenials puts the acknowledgement and the denials in the order in which they
// came: as sidecars are told first, they are often the faster.
func (s *story) reportDenials(began, acknowledged time.Time, id string, denials []denial, errs []error) {
	type mark struct {
		at           time.Time
		what, detail string
		err          error
	}
	all := []mark{{at: acknowledged, what: "revoke", detail: "acknowledged, durable: revocation " + id}}
	for i, d := range denials {
		name := s.stack.Sidecars()[i].Name
		all = append(all, mark{d.at, "deny", fmt.Sprintf("%s 401 invalid_token, %s the acknowledgement, after %d times 200",
			name, apart(d.at.Sub(acknowledged)), d.passed), errs[i]})
	}
	slices.SortFunc(all, func(a, b mark) int { return cmp.Compare(a.at.Sub(began), b.at.Sub(began)) })
	for _, m := range all {
		if m.err != nil {
			s.line.fail(began, m.what, m.err)
		} else {
			s.line.add(began, m.at, m.what, m.detail)
		}
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
