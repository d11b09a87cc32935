package badgerstore

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
)

func TestEntrySize(t *testing.T) {
	r := denylisttest.Session(1, string(denylisttest.RevocationID(2)))
	key, value := entryKey(&r), entryValue(&r)
	if len(key)+len(value) > 80 {
		t.Errorf("an ordinary session takes %d + %d bytes", len(key), len(value))
	}
}

func TestEntryComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := denylisttest.Entries().Draw(t, "entry")
		got, err := decodeEntry(entryKey(&r), entryValue(&r))
		if err != nil || got != r {
			t.Fatalf("%+v came back as %+v, %v", r, got, err)
		}
		if until, err := untilOfEntry(entryKey(&r)); err != nil || !until.Equal(r.Until) {
			t.Fatalf("expiry %v was read as %v, %v", r.Until, until, err)
		}
	})
}

// Keys of one entry begin with what a lift of it removes, and nothing else does.
func TestLiftFindsItsEntry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := denylisttest.Entries().Draw(t, "a"), denylisttest.Entries().Draw(t, "b")
		prefix := liftKey(tagEntry, liftOf(&a))
		same := a.ID == b.ID && a.Kind == b.Kind && a.Issuer == b.Issuer && a.Target == b.Target
		if bytes.HasPrefix(entryKey(&b), prefix) != same {
			t.Fatalf("%+v and %+v", a, b)
		}
	})
}

func TestMarkComesBack(t *testing.T) {
	for _, m := range []mark{
		{},
		{boot: "b", cursor: denylist.Cursor{Epoch: "e", Sequence: 1<<53 - 1, FreshAsOf: time.Unix(1795310000, 999999999).UTC()}},
	} {
		if got, err := decodeMark(m.encode()); err != nil || got != m {
			t.Errorf("%+v came back as %+v, %v", m, got, err)
		}
	}
}

// Whatever can be read is what would be written: no record has two forms.
func FuzzEntry(f *testing.F) {
	for _, r := range []events.Revocation{denylisttest.Session(1, "s"), denylisttest.Subject(2, "u")} {
		f.Add(entryKey(&r), entryValue(&r))
	}
	f.Add([]byte{tagEntry}, []byte{version})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, err := decodeEntry(key, value)
		if err != nil {
			return
		}
		if k, v := entryKey(&r), entryValue(&r); !bytes.Equal(k, key) || !bytes.Equal(v, value) {
			t.Errorf("%x = %x was read as %+v and written as %x = %x", key, value, r, k, v)
		}
		if until, err := untilOfEntry(key); err != nil || !until.Equal(r.Until) {
			t.Errorf("expiry %v, %v; want %v", until, err, r.Until)
		}
	})
}

func FuzzLift(f *testing.F) {
	l := denylisttest.Lift(denylisttest.Session(1, "s"))
	f.Add(liftKey(tagLift, &l), liftValue(l.Until))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		l, err := decodeLift(key, value)
		if err != nil {
			return
		}
		if k, v := liftKey(tagLift, &l), liftValue(l.Until); !bytes.Equal(k, key) || !bytes.Equal(v, value) {
			t.Errorf("%x = %x was read as %+v and written as %x = %x", key, value, l, k, v)
		}
	})
}

func FuzzMark(f *testing.F) {
	f.Add(mark{boot: "b", cursor: denylist.Cursor{Epoch: "e", Sequence: 1}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMark(b)
		if err != nil {
			return
		}
		if again := m.encode(); !bytes.Equal(again, b) {
			t.Errorf("%x was read as %+v and written as %x", b, m, again)
		}
	})
}
