package cloudevent_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/cloudevent"
)

func encode(t *testing.T, e events.Event) string {
	t.Helper()
	at := time.Date(2026, 11, 1, 13, 0, 0, 5e6, time.FixedZone("CET", 3600))
	text, err := json.Marshal(cloudevent.Of("default", events.Envelope{ID: "event-1", At: at, Event: e}))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestForms(t *testing.T) {
	until := time.Unix(1795327054, 0)
	for name, c := range map[string]struct {
		event      events.Event
		kind, data string
	}{
		"session": {
			events.Revoked{Revocation: events.Revocation{
				ID: "r-1", Kind: events.KindSession, Issuer: "https://id", Target: "s-1", Reason: "logout",
				By: events.Initiator{Role: "user"}, Until: until,
			}},
			"revoked",
			`{"revocation_id":"r-1","kind":"session","id":"s-1","issuer":"https://id","reason":"logout","by":{"role":"user"},"expires_at":"2026-11-22T05:57:34Z"}`,
		},
		"subject with all there is": {
			events.Revoked{Revocation: events.Revocation{
				ID: "r-2", Kind: events.KindSubject, Issuer: "https://id", Target: "u-1", Cut: events.Position{Sequence: 42}, CutTime: until,
				Scope: events.ScopeAccessTokens, Except: "s-1", Reason: "r", By: events.Initiator{Role: "operator", Name: "olga"}, Until: until,
			}},
			"revoked",
			`{"revocation_id":"r-2","kind":"subject","id":"u-1","issuer":"https://id","scope":"access-tokens","cut":"0:42","cut_time":"2026-11-22T05:57:34Z",` +
				`"except_session":"s-1","reason":"r","by":{"role":"operator","name":"olga"},"expires_at":"2026-11-22T05:57:34Z"}`,
		},
		"lifted": {
			events.Lifted{Lift: events.Lift{RevocationID: "r-2", Kind: events.KindAll, Issuer: "https://id", Until: until}},
			"lifted", `{"revocation_id":"r-2","kind":"all","issuer":"https://id","expires_at":"2026-11-22T05:57:34Z"}`,
		},
		"key added": {
			events.KeyAdded{Key: events.Key{ID: "k", Algorithm: "ES256", JWK: []byte(`{"kty":"EC"}`)}},
			"key_added", `{"kid":"k","alg":"ES256","jwk":{"kty":"EC"}}`,
		},
		"key retired, its JWK not JSON": {
			events.KeyRetired{Key: events.Key{ID: "k", Algorithm: "ES256", JWK: []byte("{")}},
			"key_retired", `{"kid":"k","alg":"ES256"}`,
		},
		"unknown": {events.Unknown{Number: 99, Raw: []byte("raw")}, "unknown", `{"number":99}`},
	} {
		t.Run(name, func(t *testing.T) {
			want := `{"specversion":"1.0","id":"event-1","source":"/revocast/default","type":"revocast.` + c.kind +
				`.v1","time":"2026-11-01T12:00:00.005Z","data":` + c.data + `}`
			if got := encode(t, c.event); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// The journal's events carry what no one but issuers may read.
func TestNothingPrivateShows(t *testing.T) {
	session := events.Session{ID: "canary", Subject: "canary", DeviceName: "canary", DeviceSecretHash: []byte("canary")}
	user := events.User{Subject: "canary", Username: "canary", PasswordHash: "canary"}
	for kind, e := range map[string]events.Event{
		"session_started": events.SessionStarted{Session: session}, "session_refreshed": events.SessionRefreshed{Session: session},
		"session_revoked": events.SessionRevoked{Session: session}, "user_registered": events.UserRegistered{User: user},
		"password_changed": events.PasswordChanged{User: user}, "cuts_recorded": events.CutsRecorded{Cuts: []events.Revocation{{Target: "canary"}}},
		"heartbeat": events.Heartbeat{Epoch: "canary"}, "barrier_passed": events.BarrierPassed{},
	} {
		got := encode(t, e)
		if strings.Contains(got, "canary") || strings.Contains(got, "Y2FuYXJ5") || strings.Contains(got, `"data"`) {
			t.Errorf("%s shows %s", kind, got)
		}
		if name := cloudevent.Of("default", events.Envelope{Event: e}).Name(); name != kind {
			t.Errorf("its name is %q, want %q", name, kind)
		}
	}
}
