package codec_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

var update = flag.Bool("update", false, "rewrite the golden files of the current version")

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
		"cuts_with_lifts": events.CutsRecorded{
			Cuts: []events.Revocation{wide}, Lifted: []events.LiftedRevocation{{ID: sampleRevoke, Until: at}}, Deadline: at.Add(time.Hour),
		},
		"lifts_alone":      events.CutsRecorded{Lifted: []events.LiftedRevocation{{ID: sampleRevoke, Until: at}}},
		"session_replayed": events.SessionReplayed{Replay: events.Replay{Session: sampleSession, Generation: 3, Count: 2}},
		"user_updated":     events.UserUpdated{User: user},
		"client_updated": events.ClientUpdated{Client: events.Client{
			ID: "demo-mobile", Disabled: true, Reason: events.ReasonClientDisabled, By: events.Initiator{Role: "operator", Name: "ops"},
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

// Every version ever written stays readable, and the current one is written as
// the files say.
func TestGolden(t *testing.T) {
	for name, event := range samples() {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "v1", name+".bin")
			got, err := codec.Encode(envelope(event))
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("encoded %x\nwant    %x", got, want)
			}
			back, err := codec.Decode(want)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back, envelope(event)) {
				t.Errorf("decoded %+v\nwant    %+v", back, envelope(event))
			}
		})
	}
}

func TestGoldenCoversEveryFile(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "v*", "*.bin"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	known := samples()
	for _, f := range files {
		if _, ok := known[strings.TrimSuffix(filepath.Base(f), ".bin")]; !ok {
			t.Errorf("%s is read by no test", f)
		}
	}
}

func TestUnknownKindsAreValues(t *testing.T) {
	id := bytes.Repeat([]byte{1}, 16)
	future := protowire.AppendTag(nil, 1, protowire.BytesType)
	future = protowire.AppendBytes(future, id)
	future = protowire.AppendTag(future, 99, protowire.BytesType)
	future = protowire.AppendBytes(future, []byte("body"))
	e, err := codec.Decode(future)
	if err != nil {
		t.Fatal(err)
	}
	if want := (events.Unknown{Number: 99, Raw: []byte("body")}); !reflect.DeepEqual(e.Event, want) {
		t.Errorf("got %+v, want %+v", e.Event, want)
	}
	if _, err := codec.Encode(e); !errors.Is(err, codec.ErrInvalid) {
		t.Errorf("an unknown event was written: %v", err)
	}

	// A revocation of a kind from the future is unknown too, never a default.
	revocation := protowire.AppendTag(nil, 2, protowire.VarintType)
	revocation = protowire.AppendVarint(revocation, 77)
	revoked := protowire.AppendTag(nil, 1, protowire.BytesType)
	revoked = protowire.AppendBytes(revoked, revocation)
	b := protowire.AppendTag(nil, 1, protowire.BytesType)
	b = protowire.AppendBytes(b, id)
	b = protowire.AppendTag(b, 19, protowire.BytesType)
	b = protowire.AppendBytes(b, revoked)
	e, err = codec.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := e.Event.(events.Unknown); !ok || u.Number != 19 {
		t.Errorf("got %+v, want an unknown event 19", e.Event)
	}
}

func TestInvalidEventsAreRefusedBothWays(t *testing.T) {
	change := func(f func(*events.Revocation)) events.Event {
		r := samples()["revoked_subject"].(events.Revoked).Revocation
		f(&r)
		return events.Revoked{Revocation: r}
	}
	session := func(f func(*events.Session)) events.Event {
		s := sampleState()
		f(&s)
		return events.SessionRefreshed{Session: s}
	}
	for name, event := range map[string]events.Event{
		"nothing":                 nil,
		"no kind":                 change(func(r *events.Revocation) { r.Kind = events.KindUnknown }),
		"kind beyond the last":    change(func(r *events.Revocation) { r.Kind = 7 }),
		"no issuer":               change(func(r *events.Revocation) { r.Issuer = "" }),
		"no target":               change(func(r *events.Revocation) { r.Target = "" }),
		"long target":             change(func(r *events.Revocation) { r.Target = strings.Repeat("x", 513) }),
		"newline in target":       change(func(r *events.Revocation) { r.Target = "a\nb" }),
		"target of everything":    change(func(r *events.Revocation) { r.Kind, r.Except = events.KindAll, "" }),
		"cut on a session":        change(func(r *events.Revocation) { r.Kind, r.Except = events.KindSession, "" }),
		"exception of a client":   change(func(r *events.Revocation) { r.Kind = events.KindClient }),
		"no expiry":               change(func(r *events.Revocation) { r.Until = time.Time{} }),
		"expiry beyond 9999":      change(func(r *events.Revocation) { r.Until = time.Unix(1<<40, 0) }),
		"cut beyond JSON":         change(func(r *events.Revocation) { r.Cut.Sequence = events.MaxSequence + 1 }),
		"id in upper case":        change(func(r *events.Revocation) { r.ID = "01935F6A-0C00-7000-8000-000000000003" }),
		"no reason":               change(func(r *events.Revocation) { r.Reason = "" }),
		"no initiator":            change(func(r *events.Revocation) { r.By = events.Initiator{} }),
		"short salt":              session(func(s *events.Session) { s.Salt = s.Salt[:31] }),
		"future rotation":         session(func(s *events.Session) { s.Rotations[0].Generation = 3 }),
		"nine rotations":          session(func(s *events.Session) { s.Rotations = make([]events.Rotation, 9) }),
		"negative idle limit":     session(func(s *events.Session) { s.IdleLimit = -1 }),
		"refreshed after its end": session(func(s *events.Session) { s.Ended = &events.Ending{} }),
		"revoked without an end":  events.SessionRevoked{Session: sampleState()},
		"no cuts":                 events.CutsRecorded{},
		"unsigned lift":           events.Lifted{Lift: events.Lift{RevocationID: sampleRevoke, Kind: events.KindAll, Issuer: "i", Until: time.Unix(1, 0)}},
		"lift of nothing":         events.Lifted{Lift: events.Lift{RevocationID: sampleRevoke, Kind: events.KindToken, Issuer: "i", Until: time.Unix(1, 0), Signature: make([]byte, 64)}},
		"heartbeat without epoch": events.Heartbeat{},
		"lift without an id":      events.CutsRecorded{Lifted: []events.LiftedRevocation{{Until: time.Unix(1, 0)}}},
		"lift without an end":     events.CutsRecorded{Lifted: []events.LiftedRevocation{{ID: sampleRevoke}}},
		"replaces what is no id":  session(func(s *events.Session) { s.Replaces = "x" }),
		"replay of no session":    events.SessionReplayed{},
		"client without a name":   events.ClientUpdated{},
		"operator for ever":       events.OperatorAdded{Operator: events.Operator{Name: "o", Role: "viewer", By: events.Initiator{Role: "operator"}}},
		"short token hash":        events.OperatorAdded{Operator: events.Operator{Name: "o", Role: "viewer", TokenHash: []byte{1}, Expires: time.Unix(1, 0), By: events.Initiator{Role: "operator"}}},
		"secret for anything":     events.SecretSealed{Secret: events.Secret{ID: "k", Use: "any", Algorithm: "ES256", Sealed: []byte{1}}},
		"empty secret":            events.SecretSealed{Secret: events.Secret{ID: "k", Use: "mac", Algorithm: "HS256"}},
		"no lifetimes":            events.LifetimesDeclared{},
		"lifetime of nothing":     events.LifetimesDeclared{Lifetimes: []events.Lifetime{{}}},
		"note about nothing":      events.Noted{},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := codec.Encode(envelope(event)); !errors.Is(err, codec.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
		})
	}
}

func TestDecodeRefusesGarbage(t *testing.T) {
	valid, err := codec.Encode(envelope(samples()["revoked_token"]))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"nothing":   nil,
		"text":      []byte("hello, world"),
		"truncated": valid[:len(valid)-1],
		"no event":  protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), bytes.Repeat([]byte{1}, 16)),
		"oversized": make([]byte, codec.MaxSize+1),
		"short id":  protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte{1}),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := codec.Decode(b); !errors.Is(err, codec.ErrMalformed) {
				t.Errorf("got %v, want ErrMalformed", err)
			}
		})
	}
}

// A deadline may only ever move outwards on its way through the codec.
func TestDeadlinesRoundUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		until := time.Unix(rapid.Int64Range(1, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
		r := samples()["revoked_token"].(events.Revoked).Revocation
		r.Until = until
		b, err := codec.Encode(envelope(events.Revoked{Revocation: r}))
		if err != nil {
			t.Fatal(err)
		}
		e, err := codec.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		got := e.Event.(events.Revoked).Revocation.Until
		if got.Before(until) || got.Sub(until) >= time.Second {
			t.Fatalf("%v became %v", until, got)
		}
	})
}

func TestSignaturesBindRealmAndContent(t *testing.T) {
	root, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	lift := codec.SignLift(private, "acme", samples()["lifted"].(events.Lifted).Lift)
	if !codec.VerifyLift(root, "acme", lift) {
		t.Fatal("a signed lift does not verify")
	}
	key := codec.SignKey(private, "acme", samples()["key_added"].(events.KeyAdded).Key)
	if !codec.VerifyKey(root, "acme", key) {
		t.Fatal("a signed key does not verify")
	}
	if codec.VerifyLift(root, "other", lift) || codec.VerifyKey(root, "other", key) {
		t.Error("a signature is valid in another realm")
	}
	if codec.VerifyLift(nil, "acme", lift) || codec.VerifyKey(nil, "acme", key) {
		t.Error("a signature is valid under no root key")
	}
	for name, f := range map[string]func(*events.Lift){
		"id":     func(l *events.Lift) { l.RevocationID = events.RevocationID(sampleEvent) },
		"kind":   func(l *events.Lift) { l.Kind = events.KindClient },
		"issuer": func(l *events.Lift) { l.Issuer = "https://evil.example" },
		"target": func(l *events.Lift) { l.Target += "x" },
		"until":  func(l *events.Lift) { l.Until = l.Until.Add(time.Second) },
	} {
		forged := lift
		f(&forged)
		if codec.VerifyLift(root, "acme", forged) {
			t.Errorf("the signature does not cover %s", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, event := range samples() {
		b, err := codec.Encode(envelope(event))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := codec.Decode(b)
		if len(b) <= codec.MaxSize {
			slow, slowErr := codec.DecodeAny(b)
			if (err == nil) != (slowErr == nil) || err == nil && !reflect.DeepEqual(e, slow) {
				t.Fatalf("the fast way reads %+v (%v), the general %+v (%v)", e, err, slow, slowErr)
			}
		}
		if err != nil {
			return
		}
		if _, ok := e.Event.(events.Unknown); ok {
			return
		}
		again, err := codec.Encode(e)
		if err != nil {
			t.Fatalf("decoded %+v, which cannot be written: %v", e, err)
		}
		back, err := codec.Decode(again)
		if err != nil || !reflect.DeepEqual(back, e) {
			t.Fatalf("decoded %+v, then %+v (%v)", e, back, err)
		}
	})
}

func BenchmarkDecodeRevoked(b *testing.B) {
	data, err := codec.Encode(envelope(samples()["revoked_token"]))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

func TestPositions(t *testing.T) {
	for _, s := range []string{"", ":", "0", "0:", ":1", "-1:1", "0:+1", "00:1", "0:01", "65536:1", "0:9007199254740992", "0:1:2", " 0:1", "0:１"} {
		if p, err := events.ParsePosition(s); err == nil {
			t.Errorf("%q read as %v", s, p)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		p := events.Position{
			Shard:    rapid.Uint16().Draw(t, "shard"),
			Sequence: rapid.Uint64Range(0, min(math.MaxUint64, events.MaxSequence)).Draw(t, "sequence"),
		}
		back, err := events.ParsePosition(p.String())
		if err != nil || back != p {
			t.Fatalf("%v became %v (%v)", p, back, err)
		}
	})
}
