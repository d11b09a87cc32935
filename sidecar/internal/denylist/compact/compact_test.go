package compact_test

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/sidecar/internal/denylist/compact"
)

func TestUUIDTakesSeventeenBytes(t *testing.T) {
	const id = "0198f3a2-7c1e-7b3d-9a4f-0123456789ab"
	b := compact.Append(nil, id)
	if len(b) != 17 {
		t.Errorf("%d bytes", len(b))
	}
	if got, rest, ok := compact.Cut(b); got != id || len(rest) != 0 || !ok {
		t.Errorf("%q, rest %x, %v", got, rest, ok)
	}
}

func TestNearlyUUIDsStayThemselves(t *testing.T) {
	for _, id := range []string{
		"", "x", "\x00", strings.Repeat("a", 127), strings.Repeat("a", 128), strings.Repeat("é", 300),
		"0198F3A2-7C1E-7B3D-9A4F-0123456789AB",
		"0198f3a2-7c1e-7b3d-9a4f-0123456789a",
		"0198f3a2-7c1e-7b3d-9a4f-0123456789abc",
		"0198f3a2-7c1e-7b3d-9a4f-0123456789ag",
		"0198f3a2-7c1e-7b3d-9a4f_0123456789ab",
		"0198f3a2--c1e-7b3d-9a4f-0123456789ab",
		"{198f3a2-7c1e-7b3d-9a4f-0123456789ab",
	} {
		if got, rest, ok := compact.Cut(compact.Append(nil, id)); got != id || len(rest) != 0 || !ok {
			t.Errorf("%q came back as %q, rest %x, %v", id, got, rest, ok)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":             {},
		"cut off UUID":        append([]byte{0}, make([]byte, 15)...),
		"cut off text":        {5, 'a', 'b'},
		"cut off length":      {0x80},
		"length too long":     {0x80, 0x00},
		"length overflows":    bytes.Repeat([]byte{0xff}, 11),
		"greatest length":     {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"a UUID kept as text": append([]byte{37}, "0198f3a2-7c1e-7b3d-9a4f-0123456789ab"...),
	} {
		if id, _, ok := compact.Cut(b); ok {
			t.Errorf("%s: read as %q", name, id)
		}
	}
}

func ids() *rapid.Generator[string] {
	hexText := rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	return rapid.OneOf(rapid.String(), hexText)
}

// One id's packed form is never the beginning of another's.
func TestPrefixFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := ids().Draw(t, "a"), ids().Draw(t, "b")
		tail := rapid.SliceOf(rapid.Byte()).Draw(t, "tail")
		packed := append(compact.Append(nil, a), tail...)
		if id, rest, ok := compact.Cut(packed); id != a || !bytes.Equal(rest, tail) || !ok {
			t.Fatalf("%q came back as %q, rest %x", a, id, rest)
		}
		if a != b && bytes.HasPrefix(compact.Append(nil, a), compact.Append(nil, b)) {
			t.Fatalf("%q begins like %q", a, b)
		}
	})
}

// Whatever is read is written back byte for byte.
func FuzzCut(f *testing.F) {
	f.Add(compact.Append(nil, "0198f3a2-7c1e-7b3d-9a4f-0123456789ab"))
	f.Add(compact.Append(nil, "someone"))
	f.Add([]byte{0x80, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		id, rest, ok := compact.Cut(b)
		if !ok {
			return
		}
		if again := append(compact.Append(nil, id), rest...); !bytes.Equal(again, b) {
			t.Errorf("%x was read as %q and written as %x", b, id, again)
		}
	})
}
