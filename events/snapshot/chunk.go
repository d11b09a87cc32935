package snapshot

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

// chunkSize is where a chunk is full. What is added last may exceed it, by less than
// there is to [MaxChunk].
const chunkSize = 512 << 10

// Bounds of texts, those of package codec.
const (
	maxID    = 512
	maxText  = 256
	maxUntil = 253402300799 // seconds
)

// shape is what many entries have in common.
type shape struct {
	kind   events.Kind
	packed bool // the target is a UUID, and 16 bytes
	issuer events.Issuer
	reason events.Reason
	by     events.Initiator
	// checked: an entry of this shape was found valid.
	checked bool
}

type row struct {
	shape  int
	until  int64
	id     uuid.UUID
	target string // packed or not, as the shape says
}

// Packer makes chunks of feed events. The zero Packer is ready. It is not safe for
// concurrent use.
//
// A chunk is: uvarint number of shapes, and for each kind, whether targets are
// UUIDs, issuer, reason, role and name; uvarint number of rows, sorted, and for each
// shape, expiry as the difference from the row before, id, target; uvarint number of
// other events, and each as it is in the feed.
type Packer struct {
	// Now leaves out entries that have expired by then.
	Now time.Time

	rows   []row
	shapes []shape
	others [][]byte
	size   int
}

// Add takes in the payload of one feed event and reports whether the chunk is full.
func (p *Packer) Add(payload []byte) (full bool) {
	e, err := codec.Decode(payload)
	if err == nil {
		switch v := e.Event.(type) { //nolint:gochecksumtype // all others are kept as they are
		case events.Heartbeat:
			return false
		case events.Revoked:
			if !v.Revocation.Kind.Wide() && !v.Revocation.Until.After(p.Now) {
				return false
			}
			if packs(e, payload) && p.pack(v.Revocation) {
				return p.size >= chunkSize
			}
		}
	}
	p.others = append(p.others, bytes.Clone(payload))
	p.size += len(payload) + binary.MaxVarintLen32
	return p.size >= chunkSize
}

// packs reports whether nothing of an event is lost by packing it. Encoding it again
// shows fields that this version does not know.
func packs(e events.Envelope, payload []byte) bool {
	v, ok := e.Event.(events.Revoked)
	if !ok || v.Revocation.Kind.Wide() || v.Revocation.Except != "" {
		return false
	}
	again, err := codec.Encode(e)
	return err == nil && bytes.Equal(again, payload)
}

func (p *Packer) pack(r events.Revocation) bool {
	id, err := uuid.Parse(string(r.ID))
	if err != nil {
		return false
	}
	s := shape{kind: r.Kind, issuer: r.Issuer, reason: r.Reason, by: r.By}
	one := row{until: r.Until.Unix(), id: id, target: r.Target}
	if target, err := uuid.Parse(r.Target); err == nil && target.String() == r.Target {
		s.packed, one.target = true, string(target[:])
	}
	if one.shape = slices.Index(p.shapes, s); one.shape < 0 {
		if len(p.shapes) == maxShapes {
			return false
		}
		one.shape = len(p.shapes)
		p.shapes = append(p.shapes, s)
		p.size += 8 + len(r.Issuer) + len(r.Reason) + len(r.By.Role) + len(r.By.Name)
	}
	p.rows = append(p.rows, one)
	p.size += 1 + 4 + len(id) + 2 + len(one.target)
	return true
}

// maxShapes keeps the search for one short.
const maxShapes = 64

// Chunk gives what was added, and how many events it is, and begins the next.
func (p *Packer) Chunk() (chunk []byte, n int) {
	slices.SortFunc(p.rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.shape, b.shape), strings.Compare(a.target, b.target), bytes.Compare(a.id[:], b.id[:]), cmp.Compare(a.until, b.until))
	})
	p.rows = slices.Compact(p.rows)
	b := binary.AppendUvarint(make([]byte, 0, p.size), uint64(len(p.shapes)))
	for _, s := range p.shapes {
		b = append(b, byte(s.kind), 0)
		if s.packed {
			b[len(b)-1] = 1
		}
		for _, text := range []string{string(s.issuer), string(s.reason), s.by.Role, s.by.Name} {
			b = appendText(b, text)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(p.rows)))
	var before int64
	for _, r := range p.rows {
		b = binary.AppendUvarint(b, uint64(r.shape)) //nolint:gosec // an index
		b = binary.AppendVarint(b, r.until-before)
		b = append(b, r.id[:]...)
		if p.shapes[r.shape].packed {
			b = append(b, r.target...)
		} else {
			b = appendText(b, r.target)
		}
		before = r.until
	}
	b = binary.AppendUvarint(b, uint64(len(p.others)))
	for _, payload := range p.others {
		b = append(binary.AppendUvarint(b, uint64(len(payload))), payload...)
	}
	n = len(p.rows) + len(p.others)
	*p = Packer{Now: p.Now, rows: p.rows[:0]}
	return b, n
}

// Contents are the events of a chunk. The receiver owns them; ids of entries share
// one piece of memory, as with [codec.Reader].
type Contents struct {
	// Entries are revocations of tokens and sessions.
	Entries []events.Revocation
	// Others are all other events, nil where one cannot be decoded.
	Others []events.Event
}

// Unpack reads a chunk, whose digest the caller has compared. Errors match
// [ErrInvalid].
func Unpack(chunk []byte) (Contents, error) {
	var c Contents
	r := reader{b: chunk}
	shapes := make([]shape, r.uvarint(maxShapes))
	for i := range shapes {
		head := r.bytes(2)
		if r.wrong || head[1] > 1 {
			return c, fmt.Errorf("%w: an unknown form of target", ErrInvalid)
		}
		shapes[i] = shape{
			kind: events.Kind(head[0]), packed: head[1] == 1, issuer: events.Issuer(r.text(maxID)),
			reason: events.Reason(r.text(maxText)), by: events.Initiator{Role: r.text(maxText), Name: r.text(maxText)},
		}
	}
	// No row is shorter than its id and three more bytes.
	c.Entries = make([]events.Revocation, r.uvarint(uint64(len(chunk)/(len(uuid.UUID{})+3))))
	var ids strings.Builder
	ids.Grow(2 * textUUID * len(c.Entries))
	var until int64
	for i := range c.Entries {
		n := r.uvarint(maxShapes)
		if r.wrong || n >= uint64(len(shapes)) {
			return c, fmt.Errorf("%w: an entry of no shape", ErrInvalid)
		}
		s := &shapes[n]
		until += r.varint()
		e := &c.Entries[i]
		e.Kind, e.Issuer, e.Reason, e.By, e.Until = s.kind, s.issuer, s.reason, s.by, time.Unix(until, 0).UTC()
		e.ID = events.RevocationID(textOf(&ids, r.bytes(len(uuid.UUID{}))))
		if s.packed {
			e.Target = textOf(&ids, r.bytes(len(uuid.UUID{})))
		} else {
			at := ids.Len()
			ids.Write(r.bytes(int(r.uvarint(maxID)))) //nolint:gosec // bounded
			e.Target = ids.String()[at:]
		}
		// A UUID from 16 bytes is one, so of such a shape it is enough to look at the
		// first, and then at expiries.
		if !s.packed || !s.checked || until <= 0 || until > maxUntil {
			if e.Kind.Wide() || codec.Check(*e) != nil {
				return c, fmt.Errorf("%w: entry %d is not valid", ErrInvalid, i)
			}
			s.checked = true
		}
	}
	c.Others = make([]events.Event, r.uvarint(uint64(len(r.b))))
	for i := range c.Others {
		e, err := codec.Decode(r.bytes(int(r.uvarint(codec.MaxSize)))) //nolint:gosec // bounded
		if err == nil {
			c.Others[i] = e.Event
		}
	}
	return c, r.end()
}

const (
	textUUID = 36
	digits   = "0123456789abcdef"
)

// textOf writes a UUID's text behind what is there; nil is the empty text.
func textOf(ids *strings.Builder, raw []byte) string {
	if len(raw) != len(uuid.UUID{}) {
		return ""
	}
	var text [textUUID]byte
	n := 0
	for i, v := range raw {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text[n] = '-'
			n++
		}
		text[n], text[n+1] = digits[v>>4], digits[v&15]
		n += 2
	}
	at := ids.Len()
	ids.Write(text[:])
	return ids.String()[at:]
}
