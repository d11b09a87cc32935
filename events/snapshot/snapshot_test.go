package snapshot_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/snapshot"
)

var began = time.Unix(1_800_000_000, 0).UTC()

// encode gives the payload of one feed event.
func encode(t interface{ Fatal(args ...any) }, e events.Event) []byte {
	b, err := codec.Encode(events.Envelope{ID: events.EventID(uuid.NewString()), At: began, Event: e})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func drawn(t *rapid.T) events.Revocation {
	r := events.Revocation{
		ID:     events.RevocationID(fmt.Sprintf("01935f6a-0c00-7000-8000-%012x", rapid.IntRange(0, 20).Draw(t, "id"))),
		Kind:   rapid.SampledFrom(events.Kinds()).Draw(t, "kind"),
		Issuer: events.Issuer(rapid.SampledFrom([]string{"https://id.example", "https://other.example"}).Draw(t, "issuer")),
		Target: rapid.SampledFrom([]string{
			"01935f6a-0c00-7000-8000-0000000000aa", "01935F6A-0C00-7000-8000-0000000000AA", "01935f6a0c00700080000000000000aa", "jti", "ü",
		}).Draw(t, "target"),
		Reason: events.Reason(rapid.SampledFrom([]string{"logout", "administrator"}).Draw(t, "reason")),
		By:     events.Initiator{Role: "operator", Name: rapid.SampledFrom([]string{"", "ops"}).Draw(t, "name")},
		Until:  began.Add(time.Duration(rapid.IntRange(-5, 100).Draw(t, "until")) * time.Second),
	}
	if r.Kind == events.KindAll {
		r.Target = ""
	}
	if r.Kind.Wide() {
		r.Cut.Sequence = uint64(rapid.IntRange(0, 1).Draw(t, "cut"))
	}
	return r
}

// Whatever is packed comes out again: nothing is added, nothing is missing but
// heartbeats, repetitions and what has expired.
func TestHoldsWhatTheFeedHeld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		packer := snapshot.Packer{Now: began}
		want := map[string]bool{}
		for range rapid.IntRange(0, 30).Draw(t, "events") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				packer.Add(encode(t, events.Heartbeat{Epoch: "E"}))
			case 1:
				packer.Add([]byte("no event"))
				want["nil"] = true
			case 2:
				e := events.Lifted{Lift: events.Lift{
					RevocationID: events.RevocationID(uuid.NewString()), Kind: events.KindToken, Issuer: "i", Target: "t",
					Until: began.Add(time.Hour), Signature: make([]byte, ed25519.SignatureSize),
				}}
				packer.Add(encode(t, e))
				want[fmt.Sprintf("%+v", e)] = true
			case 3:
				// A later version may say more of a revocation than this one knows. It must
				// reach those who do.
				r := drawn(t)
				packer.Add(append(encode(t, events.Revoked{Revocation: r}), 0x7a, 0x01, 'x'))
				if r.Kind.Wide() || r.Until.After(began) {
					want[fmt.Sprintf("%+v", events.Revoked{Revocation: r})] = true
				}
			default:
				r := drawn(t)
				packer.Add(encode(t, events.Revoked{Revocation: r}))
				if r.Kind.Wide() || r.Until.After(began) {
					want[fmt.Sprintf("%+v", events.Revoked{Revocation: r})] = true
				}
			}
		}
		chunk, n := packer.Chunk()
		c, err := snapshot.Unpack(chunk)
		if err != nil {
			t.Fatal(err)
		}
		if n != len(c.Entries)+len(c.Others) {
			t.Fatalf("%d events, said to be %d", len(c.Entries)+len(c.Others), n)
		}
		got := map[string]bool{}
		for _, r := range c.Entries {
			got[fmt.Sprintf("%+v", events.Revoked{Revocation: r})] = true
		}
		for _, e := range c.Others {
			if e == nil {
				got["nil"] = true
				continue
			}
			got[fmt.Sprintf("%+v", e)] = true
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v\nwant %v", got, want)
		}
		if again, n := packer.Chunk(); n != 0 {
			t.Fatalf("the next chunk begins with %d events: %x", n, again)
		}
	})
}

// What this version does not understand of a revocation is not packed away.
func TestUnknownFieldsAreKept(t *testing.T) {
	payload := append(encode(t, events.Revoked{Revocation: events.Revocation{
		ID: "01935f6a-0c00-7000-8000-000000000001", Kind: events.KindToken, Issuer: "i", Target: "t", Reason: "r",
		By: events.Initiator{Role: "user"}, Until: began.Add(time.Hour),
	}}), 0x7a, 0x01, 'x')
	packer := snapshot.Packer{Now: began}
	packer.Add(payload)
	chunk, _ := packer.Chunk()
	if !strings.Contains(string(chunk), string(payload)) {
		t.Error("a field of a later version is gone")
	}
}

func filled(t testing.TB, n int) (chunk []byte) {
	packer := snapshot.Packer{Now: began}
	random := rand.New(rand.NewPCG(1, 2))
	id := func() string {
		var u uuid.UUID
		for i := range u {
			u[i] = byte(random.Uint32())
		}
		return u.String()
	}
	for range n {
		packer.Add(encode(t, events.Revoked{Revocation: events.Revocation{
			ID: events.RevocationID(id()), Kind: events.KindSession, Issuer: "https://id.example", Target: id(),
			Reason: events.ReasonLogout, By: events.Initiator{Role: "user"}, Until: began.Add(time.Duration(random.IntN(300)) * time.Second).Add(time.Second),
		}}))
	}
	chunk, _ = packer.Chunk()
	return chunk
}

func TestCompact(t *testing.T) {
	const n = 1000
	if size := len(filled(t, n)); size > 40*n {
		t.Errorf("%d entries take %d bytes", n, size)
	}
}

func manifest(chunks ...[]byte) snapshot.Manifest {
	m := snapshot.Manifest{Epoch: "E", Sequence: 1000, AsOf: began, Events: 3, First: 7}
	for _, c := range chunks {
		m.Chunks = append(m.Chunks, sha256.Sum256(c))
	}
	return m
}

// A manifest is good for the realm and the root that it was signed for, and as it was
// signed.
func TestManifest(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	m := manifest([]byte("a"), []byte("b"))
	sealed, err := m.Seal(private, "test")
	if err != nil {
		t.Fatal(err)
	}
	got, err := snapshot.Open(public, "test", sealed)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if !got.Holds(0, []byte("a")) || got.Holds(0, []byte("b")) || got.Holds(2, []byte("b")) {
		t.Error("digests do not tell chunks apart")
	}
	refuse := func(what string, root ed25519.PublicKey, b []byte, realm string) {
		t.Helper()
		if m, err := snapshot.Open(root, "test", b); !errors.Is(err, snapshot.ErrInvalid) && realm == "test" {
			t.Errorf("%s: %+v, %v", what, m, err)
		}
	}
	if _, err := snapshot.Open(public, "other", sealed); !errors.Is(err, snapshot.ErrInvalid) {
		t.Errorf("good for another realm: %v", err)
	}
	refuse("another root", other, sealed, "test")
	refuse("no root", nil, sealed, "test")
	refuse("nothing", public, nil, "test")
	refuse("longer", public, append(slices.Clone(sealed), 0), "test")
	for i := range sealed {
		damaged := slices.Clone(sealed)
		damaged[i] ^= 1
		refuse(fmt.Sprint("byte ", i), public, damaged, "test")
		refuse(fmt.Sprint("cut at ", i), public, sealed[:i], "test")
	}
	// A lift's signature is good for nothing else, though its root is the same.
	lift := codec.SignLift(private, "test", events.Lift{RevocationID: "x", Kind: events.KindToken})
	refuse("a lift", public, append(slices.Clone(lift.Signature), sealed[ed25519.SignatureSize:]...), "test")
	for what, bad := range map[string]snapshot.Manifest{
		"no epoch": {Sequence: 1, AsOf: began, First: 1, Chunks: m.Chunks}, "no sequence": {Epoch: "E", AsOf: began, First: 1, Chunks: m.Chunks},
		"no time": {Epoch: "E", Sequence: 1, First: 1, Chunks: m.Chunks}, "no chunk": {Epoch: "E", Sequence: 1, AsOf: began, First: 1},
		"too many": {Epoch: "E", Sequence: 1, AsOf: began, First: 1, Chunks: make([][sha256.Size]byte, snapshot.MaxChunks+1)},
	} {
		if _, err := bad.Seal(private, "test"); !errors.Is(err, snapshot.ErrInvalid) {
			t.Errorf("%s: sealed: %v", what, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(filled(f, 3))
	f.Add([]byte{0, 0, 0})
	f.Add([]byte{1, 1, 1, 0, 0, 0, 0, 255, 255, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := snapshot.Unpack(b)
		if err != nil {
			if !errors.Is(err, snapshot.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		for _, r := range c.Entries {
			if r.Kind.Wide() || codec.Check(r) != nil {
				t.Fatalf("unpacked %+v", r)
			}
		}
	})
}

func BenchmarkUnpack(b *testing.B) {
	const n = 10_000
	chunk := filled(b, n)
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := snapshot.Unpack(chunk); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/entry")
}
