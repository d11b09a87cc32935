package e2e

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/stack"
)

// partOf reads one member of a token's header (0) or claims (1).
func partOf(t *testing.T, token string, part int, name string) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[part])
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	s, ok := v[name].(string)
	if !ok {
		t.Fatalf("no %s in %s", name, text)
	}
	return s
}

// R21, R27: each of the six kinds, on real processes: what it names is denied at once
// and nothing else, what came later passes, and when it is lifted everything is as it
// was, also to a sidecar that starts only then. A session's end stays. A lift that
// somebody else has signed changes nothing and is counted.
func TestEveryKindAndBack(t *testing.T) {
	s := start(t, 1)
	sidecar := s.Sidecars()[0]
	bob := map[string]string{"username": stack.Bob, "password": stack.BobPassword}
	var lifted []tokens
	for _, c := range []struct {
		name, kind, scope string
		id                func(victim tokens) string
		// broad: bob is denied too; ends: the session is over while it stands.
		broad, ends bool
	}{
		{"a token", "token", "", func(v tokens) string { return partOf(t, v.Access, 1, "jti") }, false, false},
		{"a subject", "subject", "", func(v tokens) string { return partOf(t, v.Access, 1, "sub") }, false, true},
		{"a subject's access tokens", "subject", "access-tokens", func(v tokens) string { return partOf(t, v.Access, 1, "sub") }, false, false},
		{"a client", "client", "", func(tokens) string { return stack.MobileClient }, true, true},
		{"a key", "key", "", func(v tokens) string { return partOf(t, v.Access, 0, "kid") }, true, false},
		{"everything", "all", "", func(tokens) string { return "" }, true, true},
		{"a session", "session", "", func(v tokens) string { return v.Session }, false, true},
	} {
		victim, other := login(t, s.Issuer(), nil), login(t, s.Issuer(), bob)
		passes(t, sidecar, victim.Access)
		passes(t, sidecar, other.Access)

		body := fmt.Sprintf(`{"kind":%q,"id":%q,"scope":%q}`, c.kind, c.id(victim), c.scope)
		if c.scope == "" {
			body = fmt.Sprintf(`{"kind":%q,"id":%q}`, c.kind, c.id(victim))
		}
		a := operate(t, s, s.Issuer(), http.MethodPost, "/admin/v1/revocations", body)
		if a.status != http.StatusCreated {
			t.Fatalf("%s: %s", c.name, a)
		}
		var done struct {
			ID string `json:"revocation_id"`
		}
		if err := json.Unmarshal(a.body, &done); err != nil {
			t.Fatal(err)
		}
		firstDenial(t, sidecar, victim.Access, time.Now())
		denies(t, sidecar, victim.Access)
		if c.broad {
			denies(t, sidecar, other.Access)
		} else {
			passes(t, sidecar, other.Access)
		}
		if a := do(t, http.MethodGet, s.Issuer().URL()+"/v1/session", "", victim.Access, ""); a.status != http.StatusUnauthorized {
			t.Errorf("%s: the issuer itself answers %s", c.name, a)
		}
		// Who logs in later passes; after a key is revoked, with the next one.
		after := login(t, s.Issuer(), nil)
		if c.kind == "key" {
			eventually(t, 20*time.Second, "another key", func() bool {
				after = login(t, s.Issuer(), nil)
				return auth(t, sidecar, after.Access).status == http.StatusOK
			})
		}
		passes(t, sidecar, after.Access)
		if a := refresh(t, s.Issuer(), victim.Refresh, nil); (a.status == http.StatusBadRequest) != c.ends {
			t.Errorf("%s: refreshing: %s", c.name, a)
		}

		a = operate(t, s, s.Issuer(), http.MethodDelete, "/admin/v1/revocations/"+done.ID, "")
		if c.kind == "session" {
			if a.status != http.StatusConflict {
				t.Errorf("lifting a session's end: %s", a)
			}
			denies(t, sidecar, victim.Access)
			continue
		}
		if a.status != http.StatusNoContent {
			t.Fatalf("lifting %s: %s", c.name, a)
		}
		eventually(t, 20*time.Second, "the lift of "+c.name, func() bool { return auth(t, sidecar, victim.Access).status == http.StatusOK })
		passes(t, sidecar, other.Access)
		if a := do(t, http.MethodGet, s.Issuer().URL()+"/v1/session", "", victim.Access, ""); a.status != http.StatusOK {
			t.Errorf("%s, lifted: the issuer itself answers %s", c.name, a)
		}
		lifted = append(lifted, victim, other)
	}

	cold, err := s.AddSidecar(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range lifted {
		passes(t, cold, v.Access)
	}
	forgedLift(t, s, sidecar)
}

// forgedLift has somebody with an issuer's rights at the broker, but without the realm's
// root key, lift a revocation.
func forgedLift(t *testing.T, s *stack.Stack, sidecar *stack.Server) {
	t.Helper()
	const realm = subject.Realm(stack.Realm)
	victim := login(t, s.Issuer(), nil)
	jti := partOf(t, victim.Access, 1, "jti")
	a := revoke(t, s, s.Issuer(), "token", jti)
	if a.status != http.StatusCreated {
		t.Fatalf("revoking: %s", a)
	}
	var done struct {
		ID events.RevocationID `json:"revocation_id"`
	}
	if err := json.Unmarshal(a.body, &done); err != nil {
		t.Fatal(err)
	}
	firstDenial(t, sidecar, victim.Access, time.Now())

	_, root, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	mine := events.Issuer(partOf(t, victim.Access, 1, "iss"))
	forged := codec.SignLift(root, realm, events.Lift{
		RevocationID: done.ID, Kind: events.KindToken, Issuer: mine, Target: jti, Until: time.Now().Add(time.Hour),
	})
	body, err := codec.Encode(events.Envelope{ID: events.EventID(uuid.Must(uuid.NewV7()).String()), At: time.Now(), Event: events.Lifted{Lift: forged}})
	if err != nil {
		t.Fatal(err)
	}
	m := nats.NewMsg(realm.FeedLift(mine, jti))
	m.Data = body
	ack, err := connect(t, s, topology.Issuer).RequestMsg(m, 5*time.Second)
	if err != nil || !strings.Contains(string(ack.Data), `"seq"`) {
		t.Fatalf("publishing: %v %s", err, ack.Data)
	}
	eventually(t, 20*time.Second, "the alarm", func() bool {
		metrics := do(t, http.MethodGet, sidecar.AdminURL()+"/metrics", "", "", "").body
		return bytesContain(metrics, "\nrevocast_sidecar_feed_unsigned_total 1\n") &&
			contains(s.Dir().Log(sidecar.Name), "not signed by the realm's root key")
	})
	denies(t, sidecar, victim.Access)
	list := operate(t, s, s.Issuer(), http.MethodGet, "/admin/v1/revocations?kind=token&id="+jti, "")
	if list.status != http.StatusOK || bytesContain(list.body, `"lifted":true`) {
		t.Errorf("the list takes the forged lift for one: %s", list)
	}
	// The issuer's own works all the same.
	if a := operate(t, s, s.Issuer(), http.MethodDelete, "/admin/v1/revocations/"+string(done.ID), ""); a.status != http.StatusNoContent {
		t.Fatalf("lifting: %s", a)
	}
	eventually(t, 20*time.Second, "the lift", func() bool { return auth(t, sidecar, victim.Access).status == http.StatusOK })
}
