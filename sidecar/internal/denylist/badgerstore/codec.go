package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/compact"
)

// errMalformed is returned for a key or value that this package has not written.
var errMalformed = errors.New("malformed record")

// What a key begins with. The order is that of loading.
const (
	tagMeta  byte = 0
	tagLift  byte = 1
	tagEntry byte = 2
)

// version begins every value.
const version byte = 1

func cursorKey() []byte { return []byte{tagMeta, 'c'} }
func syncedKey() []byte { return []byte{tagMeta, 's'} }

// appendName appends what all entries of one target begin with: tag, kind, packed
// issuer, packed target.
func appendName(b []byte, tag byte, kind events.Kind, issuer events.Issuer, target string) []byte {
	b = append(b, tag, byte(kind))
	b = compact.Append(b, string(issuer))
	return compact.Append(b, target)
}

// usualKey and usualValue are room enough for ordinary ones.
const usualKey, usualValue = 80, 32

// liftKey is the key of a lift: name and packed revocation id. With the tag of an
// entry it is what all keys of the entry lifted begin with.
func liftKey(tag byte, l *events.Lift) []byte {
	b := appendName(make([]byte, 0, usualKey), tag, l.Kind, l.Issuer, l.Target)
	return compact.Append(b, string(l.RevocationID))
}

// entryKey is the key of an entry: name, packed revocation id, expiry in eight
// bytes; for wide kinds also shard (2), sequence (8), cut time (8), scope (1) and
// the excepted session to the end.
func entryKey(r *events.Revocation) []byte {
	b := appendName(make([]byte, 0, usualKey), tagEntry, r.Kind, r.Issuer, r.Target)
	b = compact.Append(b, string(r.ID))
	b = appendTime(b, r.Until)
	if !r.Kind.Wide() {
		return b
	}
	b = binary.BigEndian.AppendUint16(b, r.Cut.Shard)
	b = binary.BigEndian.AppendUint64(b, r.Cut.Sequence)
	b = appendTime(b, r.CutTime)
	b = append(b, byte(r.Scope))
	return append(b, r.Except...)
}

// cutBytes is the size of what wide kinds have more, but for the exception.
const cutBytes = 2 + 8 + 8 + 1

func entryValue(r *events.Revocation) []byte {
	b := append(make([]byte, 0, usualValue), version)
	b = compact.Append(b, string(r.Reason))
	b = compact.Append(b, r.By.Role)
	return compact.Append(b, r.By.Name)
}

// decodeEntry is the inverse of entryKey and entryValue.
func decodeEntry(key, value []byte) (events.Revocation, error) {
	r, err := decodeEntryKey(key)
	if err != nil {
		return r, err
	}
	if len(value) == 0 || value[0] != version {
		return r, fmt.Errorf("%w: version of a value", errMalformed)
	}
	f := fields{rest: value[1:]}
	r.Reason = events.Reason(f.packed())
	r.By = events.Initiator{Role: f.packed(), Name: f.packed()}
	if f.bad || len(f.rest) > 0 {
		return r, fmt.Errorf("%w: value of an entry", errMalformed)
	}
	if c, err := denylist.Canonical(r); err != nil || c != r {
		return r, fmt.Errorf("%w: entry not in canonical form", errMalformed)
	}
	return r, nil
}

func decodeEntryKey(key []byte) (events.Revocation, error) {
	f := fields{rest: key}
	var r events.Revocation
	tag := f.bytes(1)
	r.Kind, r.Issuer, r.Target, r.ID = f.name()
	r.Until = f.time()
	if r.Kind.Wide() {
		cut := f.bytes(cutBytes)
		if !f.bad {
			r.Cut.Shard = binary.BigEndian.Uint16(cut)
			r.Cut.Sequence = binary.BigEndian.Uint64(cut[2:])
			r.CutTime = timeOf(cut[10:])
			r.Scope = events.Scope(cut[18])
			r.Except, f.rest = events.SessionID(f.rest), nil
		}
	}
	if f.bad || tag[0] != tagEntry || len(f.rest) > 0 || r.Scope > events.ScopeAccessTokens {
		return r, fmt.Errorf("%w: key of an entry", errMalformed)
	}
	return r, nil
}

// untilOfEntry reads the expiry in an entry's key and nothing else.
func untilOfEntry(key []byte) (time.Time, error) {
	f := fields{rest: key}
	f.bytes(2)
	for range 3 { // issuer, target, id
		n := compact.Len(f.rest)
		f.bad = f.bad || n == 0
		f.bytes(n)
	}
	until := f.time()
	if f.bad {
		return until, fmt.Errorf("%w: key of an entry", errMalformed)
	}
	return until, nil
}

func liftValue(until time.Time) []byte {
	return appendTime([]byte{version}, until)
}

func decodeLift(key, value []byte) (events.Lift, error) {
	f := fields{rest: key}
	var l events.Lift
	tag := f.bytes(1)
	l.Kind, l.Issuer, l.Target, l.RevocationID = f.name()
	if f.bad || tag[0] != tagLift || len(f.rest) > 0 {
		return l, fmt.Errorf("%w: key of a lift", errMalformed)
	}
	if len(value) != 9 || value[0] != version {
		return l, fmt.Errorf("%w: value of a lift", errMalformed)
	}
	l.Until = timeOf(value[1:])
	if _, err := denylist.CanonicalLift(l); err != nil {
		return l, fmt.Errorf("%w: lift not in canonical form", errMalformed)
	}
	return l, nil
}

// mark is a cursor and the boot of the machine in which it was written.
type mark struct {
	boot   string
	cursor denylist.Cursor
}

// encode gives boot, sequence, freshness (seconds, nanoseconds) and epoch.
func (m mark) encode() []byte {
	b := compact.Append([]byte{version}, m.boot)
	b = binary.BigEndian.AppendUint64(b, m.cursor.Sequence)
	fresh := m.cursor.FreshAsOf
	b = binary.BigEndian.AppendUint64(b, uint64(fresh.Unix()))       // #nosec G115 -- the same bits
	b = binary.BigEndian.AppendUint32(b, uint32(fresh.Nanosecond())) // #nosec G115 -- below 1e9
	return compact.Append(b, string(m.cursor.Epoch))
}

func decodeMark(b []byte) (mark, error) {
	var m mark
	if len(b) == 0 || b[0] != version {
		return m, fmt.Errorf("%w: version of a cursor", errMalformed)
	}
	f := fields{rest: b[1:]}
	m.boot = f.packed()
	m.cursor.Sequence = binary.BigEndian.Uint64(f.bytes(8))
	s, ns := binary.BigEndian.Uint64(f.bytes(8)), binary.BigEndian.Uint32(f.bytes(4))
	m.cursor.FreshAsOf = time.Unix(int64(s), int64(ns)).UTC() // #nosec G115 -- the same bits
	m.cursor.Epoch = events.Epoch(f.packed())
	if f.bad || len(f.rest) > 0 || ns >= 1e9 {
		return m, fmt.Errorf("%w: cursor", errMalformed)
	}
	return m, nil
}

// noTime stands for the zero time, which is no expiry and no cut.
const noTime = math.MaxInt64

// appendTime appends whole seconds.
func appendTime(b []byte, t time.Time) []byte {
	s := int64(noTime)
	if !t.IsZero() {
		s = t.Unix()
	}
	return binary.BigEndian.AppendUint64(b, uint64(s)) // #nosec G115 -- the same bits
}

func timeOf(b []byte) time.Time {
	s := int64(binary.BigEndian.Uint64(b)) // #nosec G115 -- the same bits
	if s == noTime {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}

// fields cuts a record into its parts; after the first that is missing, bad is set
// and parts are empty.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) bytes(n int) []byte {
	if f.bad || len(f.rest) < n {
		f.bad = true
		return make([]byte, n)
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) packed() string {
	s, rest, ok := compact.Cut(f.rest)
	if f.bad || !ok {
		f.bad = true
		return ""
	}
	f.rest = rest
	return s
}

func (f *fields) name() (events.Kind, events.Issuer, string, events.RevocationID) {
	kind := events.Kind(f.bytes(1)[0])
	return kind, events.Issuer(f.packed()), f.packed(), events.RevocationID(f.packed())
}

func (f *fields) time() time.Time { return timeOf(f.bytes(8)) }
