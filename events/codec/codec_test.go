package codec_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
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
	user := func(f func(*events.Revocation)) events.Event {
		u := samples()["user_cut"].(events.UserUpdated).User
		f(u.Entails)
		return events.UserUpdated{User: u}
	}
	for name, event := range map[string]events.Event{
		"nothing":                  nil,
		"no kind":                  change(func(r *events.Revocation) { r.Kind = events.KindUnknown }),
		"kind beyond the last":     change(func(r *events.Revocation) { r.Kind = 7 }),
		"no issuer":                change(func(r *events.Revocation) { r.Issuer = "" }),
		"no target":                change(func(r *events.Revocation) { r.Target = "" }),
		"long target":              change(func(r *events.Revocation) { r.Target = strings.Repeat("x", 513) }),
		"newline in target":        change(func(r *events.Revocation) { r.Target = "a\nb" }),
		"target of everything":     change(func(r *events.Revocation) { r.Kind, r.Except = events.KindAll, "" }),
		"cut on a session":         change(func(r *events.Revocation) { r.Kind, r.Except = events.KindSession, "" }),
		"exception of a client":    change(func(r *events.Revocation) { r.Kind = events.KindClient }),
		"no expiry":                change(func(r *events.Revocation) { r.Until = time.Time{} }),
		"expiry beyond 9999":       change(func(r *events.Revocation) { r.Until = time.Unix(1<<40, 0) }),
		"cut beyond JSON":          change(func(r *events.Revocation) { r.Cut.Sequence = events.MaxSequence + 1 }),
		"id in upper case":         change(func(r *events.Revocation) { r.ID = "01935F6A-0C00-7000-8000-000000000003" }),
		"no reason":                change(func(r *events.Revocation) { r.Reason = "" }),
		"no initiator":             change(func(r *events.Revocation) { r.By = events.Initiator{} }),
		"short salt":               session(func(s *events.Session) { s.Salt = s.Salt[:31] }),
		"future rotation":          session(func(s *events.Session) { s.Rotations[0].Generation = 3 }),
		"nine rotations":           session(func(s *events.Session) { s.Rotations = make([]events.Rotation, 9) }),
		"negative idle limit":      session(func(s *events.Session) { s.IdleLimit = -1 }),
		"refreshed after its end":  session(func(s *events.Session) { s.Ended = &events.Ending{} }),
		"revoked without an end":   events.SessionRevoked{Session: sampleState()},
		"no cuts":                  events.CutsRecorded{},
		"unsigned lift":            events.Lifted{Lift: events.Lift{RevocationID: sampleRevoke, Kind: events.KindAll, Issuer: "i", Until: time.Unix(1, 0)}},
		"lift of nothing":          events.Lifted{Lift: events.Lift{RevocationID: sampleRevoke, Kind: events.KindToken, Issuer: "i", Until: time.Unix(1, 0), Signature: make([]byte, 64)}},
		"heartbeat without epoch":  events.Heartbeat{},
		"lift without an id":       events.CutsRecorded{Lifted: []events.LiftedRevocation{{Until: time.Unix(1, 0)}}},
		"lift without an end":      events.CutsRecorded{Lifted: []events.LiftedRevocation{{ID: sampleRevoke}}},
		"replaces what is no id":   session(func(s *events.Session) { s.Replaces = "x" }),
		"replay of no session":     events.SessionReplayed{},
		"client without a name":    events.ClientUpdated{},
		"another user cut":         user(func(r *events.Revocation) { r.Target = "u-8" }),
		"a client cut, not a user": user(func(r *events.Revocation) { r.Kind, r.Except = events.KindClient, "" }),
		"cut elsewhere":            user(func(r *events.Revocation) { r.Cut.Sequence = 1 }),
		"cut without an expiry":    user(func(r *events.Revocation) { r.Until = time.Time{} }),
		"operator for ever":        events.OperatorAdded{Operator: events.Operator{Name: "o", Role: "viewer", By: events.Initiator{Role: "operator"}}},
		"short token hash":         events.OperatorAdded{Operator: events.Operator{Name: "o", Role: "viewer", TokenHash: []byte{1}, Expires: time.Unix(1, 0), By: events.Initiator{Role: "operator"}}},
		"secret for anything":      events.SecretSealed{Secret: events.Secret{ID: "k", Use: "any", Algorithm: "ES256", Sealed: []byte{1}}},
		"empty secret":             events.SecretSealed{Secret: events.Secret{ID: "k", Use: "mac", Algorithm: "HS256"}},
		"no lifetimes":             events.LifetimesDeclared{},
		"lifetime of nothing":      events.LifetimesDeclared{Lifetimes: []events.Lifetime{{}}},
		"note about nothing":       events.Noted{},
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

func TestKeySignaturesCoverEverything(t *testing.T) {
	root, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	plain := samples()["key_of_an_issuer"].(events.KeyAdded).Key
	key, retired := codec.SignKey(private, "acme", plain), codec.SignRetirement(private, "acme", plain)
	if !codec.VerifyKey(root, "acme", key) || !codec.VerifyRetirement(root, "acme", retired) {
		t.Fatal("a signed key does not verify")
	}
	if codec.VerifyKey(root, "acme", retired) || codec.VerifyRetirement(root, "acme", key) {
		t.Error("what was announced passes for withdrawn, or the other way round")
	}
	if codec.VerifyRetirement(root, "other", retired) || codec.VerifyRetirement(nil, "acme", retired) {
		t.Error("a retirement is valid in another realm or under no root key")
	}
	b, err := codec.Encode(envelope(events.KeyAdded{Key: key}))
	if err != nil {
		t.Fatal(err)
	}
	if e, err := codec.Decode(b); err != nil || !codec.VerifyKey(root, "acme", e.Event.(events.KeyAdded).Key) {
		t.Errorf("the signature does not survive the codec: %v", err)
	}
	for name, f := range map[string]func(*events.Key){
		"id":         func(k *events.Key) { k.ID += "x" },
		"issuer":     func(k *events.Key) { k.Issuer = "https://evil.example" },
		"algorithm":  func(k *events.Key) { k.Algorithm = "RS256" },
		"JWK":        func(k *events.Key) { k.JWK = []byte(`{"kty":"RSA"}`) },
		"not before": func(k *events.Key) { k.NotBefore = k.NotBefore.Add(time.Second) },
		"until":      func(k *events.Key) { k.Until = k.Until.Add(time.Second) },
		"no until":   func(k *events.Key) { k.Until = time.Time{} },
		"swapped":    func(k *events.Key) { k.NotBefore, k.Until = k.Until, k.NotBefore },
		"signature":  func(k *events.Key) { k.Signature = nil },
	} {
		forged, forgedRetired := key, retired
		f(&forged)
		f(&forgedRetired)
		if codec.VerifyKey(root, "acme", forged) || codec.VerifyRetirement(root, "acme", forgedRetired) {
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
		var reader codec.Reader
		var again events.Revocation
		for range 2 { // the second time it has met every text
			if reader.Revocation(b, &again) && (err != nil || !reflect.DeepEqual(e.Event, events.Revoked{Revocation: again})) {
				t.Fatalf("a Reader reads %+v, Decode %+v (%v)", again, e, err)
			}
		}
		if err != nil {
			return
		}
		if _, ok := e.Event.(events.Unknown); ok {
			return
		}
		written, err := codec.Encode(e)
		if err != nil {
			t.Fatalf("decoded %+v, which cannot be written: %v", e, err)
		}
		back, err := codec.Decode(written)
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

func BenchmarkReader(b *testing.B) {
	data, err := codec.Encode(envelope(samples()["revoked_token"]))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var reader *codec.Reader
	var r events.Revocation
	for i := 0; b.Loop(); i++ {
		if i%5000 == 0 {
			reader = &codec.Reader{}
			reader.Grow(5000)
		}
		if !reader.Revocation(data, &r) {
			b.Fatal("not read")
		}
	}
}

// What a Reader gives stays as it was, however much it reads afterwards.
func TestReaderKeepsItsWord(t *testing.T) {
	var reader codec.Reader
	var got, want []events.Revocation
	for i := range 300 {
		r := samples()["revoked_token"].(events.Revoked).Revocation
		r.ID = events.RevocationID(fmt.Sprintf("01935f6a-0c00-7000-8000-%012x", i))
		r.Target, r.Reason = fmt.Sprint("target ", i), events.Reason(fmt.Sprint("reason ", i%11))
		b, err := codec.Encode(envelope(events.Revoked{Revocation: r}))
		if err != nil {
			t.Fatal(err)
		}
		var read events.Revocation
		if !reader.Revocation(b, &read) {
			t.Fatalf("%+v was not read", r)
		}
		got, want = append(got, read), append(want, r)
	}
	if !reflect.DeepEqual(got, want) {
		t.Error("what was read first has changed")
	}
	wide, err := codec.Encode(envelope(samples()["revoked_all"]))
	if err == nil && reader.Revocation(wide, &events.Revocation{}) {
		t.Error("a wide revocation was read")
	}
}
