package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/sidecar/internal/adminapi"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// ask has the admin API answer.
func (r *running) ask(t *testing.T, method, path, token string, into any) {
	t.Helper()
	mux := http.NewServeMux()
	r.api().Register(mux)
	req := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, req)
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s %s: %d %s, %v", method, path, w.Code, w.Body, err)
	}
}

func (r *running) explain(t *testing.T, token string) (x adminapi.Explanation) {
	t.Helper()
	r.ask(t, http.MethodGet, "/v1/explain", token, &x)
	return x
}

// revocation makes an entry of the realm's issuer.
func revocation(kind events.Kind, target string) events.Revocation {
	return events.Revocation{
		ID: events.RevocationID(uuid.NewString()), Kind: kind, Issuer: unreachable, Target: target, Reason: events.ReasonAdmin,
		By: events.Initiator{Role: "operator", Name: "ops"}, Until: time.Now().Add(time.Hour).Truncate(time.Second),
	}
}

func (i *issuance) revoke(t *testing.T, r events.Revocation) {
	t.Helper()
	i.publish(t, eventstest.Realm.FeedEntry(r.Kind, r.Issuer, r.Target), events.Revoked{Revocation: r})
}

func (i *issuance) lift(t *testing.T, r events.Revocation) {
	t.Helper()
	l := codec.SignLift(i.root, eventstest.Realm, events.Lift{RevocationID: r.ID, Kind: r.Kind, Issuer: r.Issuer, Target: r.Target, Until: r.Until})
	i.publish(t, eventstest.Realm.FeedLift(r.Issuer, r.Target), events.Lifted{Lift: l})
}

// Of each of the six kinds, of a lift, an exception and a cut that came before: the
// explanation finds the entry by what it names and says why it denies or not.
func TestExplainEveryKind(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	i := newIssuance(t, s)
	r := startSidecar(t, s, i.public(), t.TempDir())
	signer, key := newKey(t, "k-1", unreachable)
	i.announce(t, events.KeyAdded{Key: codec.SignKey(i.root, eventstest.Realm, key)})
	now := time.Now()
	raw := signer.Sign(t, signer.Header(), tokentest.Object{
		"iss": unreachable, "sub": "alice", "aud": tokentest.Audience, "client_id": "demo", "jti": "j", "sid": "s",
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "ssq": "0:41", "tsq": "0:42",
	})
	r.becomes(t, raw, http.StatusOK)
	if x := r.explain(t, raw); x.Reason != "good" || x.Token.Rule.Issuer != unreachable || x.Token.Claims.SessionAt != "0:41" || len(x.Kinds) != 6 {
		t.Fatalf("before: %+v", x)
	}

	for _, c := range []struct {
		name   string
		entry  events.Revocation
		change func(*events.Revocation)
		denies bool
		why    string
	}{
		{"token", revocation(events.KindToken, "j"), nil, true, "denies"},
		{"session", revocation(events.KindSession, "s"), nil, true, "denies"},
		{"subject", revocation(events.KindSubject, "alice"), nil, true, "denies"},
		{"client", revocation(events.KindClient, "demo"), nil, true, "denies"},
		{"key", revocation(events.KindKey, "k-1"), nil, true, "denies"},
		{"all", revocation(events.KindAll, ""), nil, true, "denies"},
		{"subject, up to the session", revocation(events.KindSubject, "alice"), func(r *events.Revocation) { r.Cut.Sequence = 41 }, true, "denies"},
		{"subject, before the session", revocation(events.KindSubject, "alice"), func(r *events.Revocation) { r.Cut.Sequence = 40 }, false, "session began after the cut"},
		{"client, before the token", revocation(events.KindClient, "demo"), func(r *events.Revocation) {
			r.Cut.Sequence, r.Scope = 41, events.ScopeAccessTokens
		}, false, "token was minted after the cut"},
		{"subject, but for the session", revocation(events.KindSubject, "alice"), func(r *events.Revocation) { r.Except = "s" }, false, "excepted"},
	} {
		n := c.entry
		if c.change != nil {
			c.change(&n)
		}
		i.revoke(t, n)
		wait := func(why string) adminapi.Entry {
			t.Helper()
			var found adminapi.Entry
			eventstest.Eventually(t, func(context.Context) error {
				x := r.explain(t, raw)
				for _, e := range x.Kinds[n.Kind-1].Entries {
					if e.RevocationID == n.ID && e.Why == why {
						if (x.Status == http.StatusUnauthorized) != e.Denies || e.Denies && x.Because != fmt.Sprintf("Revocation %s of its %s, reason administrator.", n.ID, n.Kind) {
							return fmt.Errorf("status %d, because %q", x.Status, x.Because)
						}
						found = e
						return nil
					}
				}
				return fmt.Errorf("not found: %+v", x.Kinds[n.Kind-1])
			})
			return found
		}
		e := wait(c.why)
		if e.Denies != c.denies || e.Reason != events.ReasonAdmin || e.By == nil || e.By.Name != "ops" || !e.ExpiresAt.Equal(n.Until) || !e.Memory && !e.Disk ||
			e.ExceptSession != n.Except || (e.Cut == "") != n.Cut.IsZero() || (e.Scope == "") == n.Kind.Wide() {
			t.Errorf("%s: %+v", c.name, e)
		}
		i.lift(t, n)
		if e := wait("lifted"); e.Denies {
			t.Errorf("%s, lifted: %+v", c.name, e)
		}
	}
	r.becomes(t, raw, http.StatusOK)

	// A foreign issuer's token has no place in this realm's journal.
	x := r.explain(t, tokenOf(t, signer, "http://127.0.0.1:3"))
	if x.Reason != "untrusted" || x.Token.Verified || len(x.Kinds) != 0 || x.Token.Fault != "untrusted token: of no trusted issuer" {
		t.Errorf("an unknown issuer: %+v", x)
	}
}

// The status says what the sidecar does, from start to stop.
func TestStatusOfARunningSidecar(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	i := newIssuance(t, s)
	r := startSidecar(t, s, i.public(), t.TempDir())
	i.revoke(t, revocation(events.KindSession, "s"))
	i.revoke(t, revocation(events.KindSubject, "u"))
	eventstest.Eventually(t, func(context.Context) error {
		var st adminapi.Status
		r.ask(t, http.MethodGet, "/v1/status", "", &st)
		switch {
		case !st.Ready || st.Reason != "" || st.Stale || st.Feed.Phase != "following" || !st.Feed.CaughtUp || st.Feed.Epoch == "" || st.Feed.Position == "0:0":
		case st.FreshAsOf == nil || st.AgeSeconds == nil || st.Entries["narrow"] != 1 || st.Entries["subject"] != 1:
		case st.Store.State != "ok" || st.Store.Queued != 0 || !st.Memory.IndexComplete || st.Instance == "" || st.ID != "keys":
		case st.Memory.Resident < 1<<20:
			return errors.New("no resident set")
		default:
			return nil
		}
		return fmt.Errorf("%+v", st)
	})
}
