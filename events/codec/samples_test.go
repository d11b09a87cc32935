package codec_test

import (
	"bytes"
	"time"

	"github.com/revocast/revocast/events"
)

const (
	sampleEvent   = events.EventID("01935f6a-0c00-7000-8000-000000000001")
	sampleSession = events.SessionID("01935f6a-0c00-7000-8000-000000000002")
	sampleRevoke  = events.RevocationID("01935f6a-0c00-7000-8000-000000000003")
)

func sampleState() events.Session {
	at := time.Unix(1795310000, 0).UTC()
	return events.Session{
		ID: sampleSession, Issuer: "https://id.example", Subject: "u-7", Client: "demo-mobile",
		Scope: "orders.read orders.write", Audience: []string{"https://api.example"},
		Began: events.Position{Sequence: 1795310000000001}, Salt: bytes.Repeat([]byte{7}, 32), Generation: 3,
		Rotations: []events.Rotation{{Generation: 1, At: at}, {Generation: 2, At: at.Add(1500 * time.Millisecond)}},
		KeyID:     "r1", DeviceID: "phone", DeviceName: "Alice's phone", DeviceSecretHash: bytes.Repeat([]byte{9}, 32),
		AuthTime: at, ACR: "urn:example:low", AMR: []string{"pwd"}, MintedAt: at.Add(time.Minute),
		AccessExpires: at.Add(6 * time.Minute), IdleLimit: 720 * time.Hour, AbsoluteExpires: at.Add(8760 * time.Hour),
		Deadline: at.Add(721 * time.Hour), CredentialVersion: 4,
	}
}

// laterState has what sessions did not have at first.
func laterState() events.Session {
	s := sampleState()
	s.Network, s.NewDevice, s.Replaces, s.ReplayStreak = "net-1", true, sampleSession, 2
	return s
}

// rotatedKey has generations of different keys.
func rotatedKey() events.Session {
	s := laterState()
	s.Rotations[0].SuccessorKey, s.Rotations[1].SuccessorKey, s.KeyID = "r0", "r1", "r1"
	return s
}

func samples() map[string]events.Event {
	at := time.Unix(1795310000, 0).UTC()
	ended := sampleState()
	ended.Ended = &events.Ending{
		RevocationID: sampleRevoke, Reason: events.ReasonTokenReuse,
		By: events.Initiator{Role: "policy", Name: "reuse"}, At: at,
	}
	wide := events.Revocation{
		ID: sampleRevoke, Kind: events.KindSubject, Issuer: "https://id.example", Target: "u-7",
		Cut: events.Position{Sequence: 1795310000000002}, CutTime: at, Scope: events.ScopeAccessTokens,
		Except: sampleSession, Reason: events.ReasonPasswordChange, By: events.Initiator{Role: "user"}, Until: at.Add(time.Hour),
	}
	user := events.User{
		Subject: "u-7", Username: "alice", PasswordHash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
		Roles: []string{"admin"}, Disabled: true, Version: 4, Spared: sampleSession,
	}
	follows := wide
	follows.Cut = events.Position{}
	entailing := user
	entailing.Entails = &follows
	followsClient := follows
	followsClient.Kind, followsClient.Target, followsClient.Except = events.KindClient, "demo-mobile", ""
	operator := events.Operator{
		Name: "ops", Role: "support", TokenHash: bytes.Repeat([]byte{3}, 32), Certificate: true,
		Expires: at.Add(time.Hour), By: events.Initiator{Role: "operator", Name: "admin"},
	}
	key := events.Key{ID: "k1", Algorithm: "ES256", JWK: []byte(`{"kty":"EC"}`), Signature: bytes.Repeat([]byte{1}, 64)}
	return map[string]events.Event{
		"session_started":   events.SessionStarted{Session: sampleState()},
		"session_refreshed": events.SessionRefreshed{Session: sampleState()},
		"session_revoked":   events.SessionRevoked{Session: ended},
		"revoked_token": events.Revoked{Revocation: events.Revocation{
			ID: sampleRevoke, Kind: events.KindToken, Issuer: "https://id.example", Target: "jti-1",
			Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator", Name: "ops"}, Until: at,
		}},
		"revoked_subject": events.Revoked{Revocation: wide},
		"revoked_all": events.Revoked{Revocation: events.Revocation{
			ID: sampleRevoke, Kind: events.KindAll, Issuer: "https://id.example",
			Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator"}, Until: at,
		}},
		"cuts_recorded": events.CutsRecorded{Cuts: []events.Revocation{wide}, Deadline: at.Add(time.Hour)},
		"lifted": events.Lifted{Lift: events.Lift{
			RevocationID: sampleRevoke, Kind: events.KindSubject, Issuer: "https://id.example", Target: "u-7",
			Until: at, Signature: bytes.Repeat([]byte{2}, 64),
		}},
		"user_registered":  events.UserRegistered{User: user},
		"password_changed": events.PasswordChanged{User: user},
		"key_added":        events.KeyAdded{Key: key},
		"key_retired":      events.KeyRetired{Key: key},
		"heartbeat":        events.Heartbeat{Epoch: "e-1"},
		"session_of_b":     events.SessionStarted{Session: laterState()},
		"session_of_keys":  events.SessionRefreshed{Session: rotatedKey()},
		"cuts_with_lifts": events.CutsRecorded{
			Cuts: []events.Revocation{wide}, Lifted: []events.LiftedRevocation{{ID: sampleRevoke, Until: at}}, Deadline: at.Add(time.Hour),
		},
		"lifts_alone":      events.CutsRecorded{Lifted: []events.LiftedRevocation{{ID: sampleRevoke, Until: at}}},
		"session_replayed": events.SessionReplayed{Replay: events.Replay{Session: sampleSession, Generation: 3, Count: 2}},
		"user_updated":     events.UserUpdated{User: user},
		"user_cut":         events.UserUpdated{User: entailing},
		"client_updated": events.ClientUpdated{Client: events.Client{
			ID: "demo-mobile", Disabled: true, Reason: events.ReasonClientDisabled, By: events.Initiator{Role: "operator", Name: "ops"},
		}},
		"client_cut": events.ClientUpdated{Client: events.Client{
			ID: "demo-mobile", Disabled: true, Reason: events.ReasonClientDisabled, By: events.Initiator{Role: "operator", Name: "ops"},
			Entails: &followsClient,
		}},
		"operator_added":   events.OperatorAdded{Operator: operator},
		"operator_removed": events.OperatorRemoved{Operator: operator},
		"key_of_an_issuer": events.KeyAdded{Key: events.Key{
			ID: "k1", Issuer: "https://id.example", Algorithm: "ES256", JWK: []byte(`{"kty":"EC"}`),
			NotBefore: at, Until: at.Add(time.Hour), Signature: bytes.Repeat([]byte{1}, 64),
		}},
		"secret_sealed": events.SecretSealed{Secret: events.Secret{
			ID: "k1", Use: "sign", Algorithm: "ES256", Sealed: []byte("sealed"), Since: at, Retired: at.Add(time.Hour),
		}},
		"lifetimes_declared": events.LifetimesDeclared{Lifetimes: []events.Lifetime{{TTL: 5 * time.Minute, Seen: at}}},
		"lifetime_raised":    events.LifetimesDeclared{Lifetimes: []events.Lifetime{{TTL: time.Hour, Since: at, Seen: at.Add(time.Minute)}}},
		"noted": events.Noted{Note: events.Note{
			Action: events.ActionNewDevice, By: events.Initiator{Role: "user"}, Issuer: "https://id.example", Subject: "u-7",
			Session: sampleSession, Client: "demo-mobile", DeviceID: "phone", DeviceName: "Alice's phone",
			Address: "192.0.2.7", Detail: "first seen",
		}},
		"barrier_passed": events.BarrierPassed{},
	}
}

func envelope(e events.Event) events.Envelope {
	return events.Envelope{ID: sampleEvent, At: time.UnixMilli(1795310000123).UTC(), Event: e}
}
