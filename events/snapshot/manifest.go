// Package snapshot is the form of a snapshot: what the feed holds up to a sequence,
// packed, so that thousands of sidecars that start from nothing cost the broker
// little (ADR-0018). An issuer writes it; whoever pins the realm's root may read it.
//
// It consists of chunks and of a manifest, which names them by their digests and is
// signed by the realm's root key. Revocations of tokens and sessions are packed;
// everything else, also what the writer does not understand, is in it byte by byte as
// it is in the feed.
//
// Invariants:
//
//   - What [Unpack] gives is what the feed held: nothing is added, and nothing left
//     out but heartbeats, repetitions and what has expired.
//   - A manifest counts only with the signature of the realm's root for that realm, a
//     chunk only with the digest that the manifest says.
//   - A snapshot proves nothing about how fresh anybody is. It saves reading.
package snapshot

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
)

const (
	// MaxChunk bounds one chunk in bytes.
	MaxChunk = 768 << 10
	// MaxChunks bounds their number: together more than fifty million entries.
	MaxChunks = 4096
	// MaxManifest bounds a signed manifest in bytes.
	MaxManifest = ed25519.SignatureSize + 1024 + MaxChunks*sha256.Size
)

// ErrInvalid is returned for what is no snapshot of the realm.
var ErrInvalid = errors.New("invalid snapshot")

// Manifest says what a snapshot consists of and what it stands for.
type Manifest struct {
	// Epoch and Sequence: it holds what the feed of that life held up to there.
	Epoch    events.Epoch
	Sequence uint64
	// AsOf: by the broker's clock, nothing that the feed held then lies beyond
	// Sequence.
	AsOf time.Time
	// Events is how many there are in all chunks.
	Events uint64
	// First is the sequence of the first chunk in the stream of snapshots. The others
	// follow it without a gap, digests in their order.
	First  uint64
	Chunks [][sha256.Size]byte
}

const label = "revocast snapshot v1"

// signed is what the signature is over: length-prefixed behind a label of its own, so
// that no signature is valid for anything else.
func signed(realm subject.Realm, body []byte) []byte {
	b := appendText(nil, label)
	b = appendText(b, string(realm))
	return append(b, body...)
}

// Seal gives the manifest's bytes, signed.
func (m Manifest) Seal(root ed25519.PrivateKey, realm subject.Realm) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	body := appendText(nil, string(m.Epoch))
	body = binary.AppendUvarint(body, m.Sequence)
	body = binary.AppendVarint(body, m.AsOf.UnixNano())
	body = binary.AppendUvarint(body, m.Events)
	body = binary.AppendUvarint(body, m.First)
	body = binary.AppendUvarint(body, uint64(len(m.Chunks)))
	for _, digest := range m.Chunks {
		body = append(body, digest[:]...)
	}
	return append(ed25519.Sign(root, signed(realm, body)), body...), nil
}

// Open reads a sealed manifest. Errors match [ErrInvalid].
func Open(root ed25519.PublicKey, realm subject.Realm, b []byte) (Manifest, error) {
	if len(root) != ed25519.PublicKeySize {
		return Manifest{}, fmt.Errorf("%w: no root key is pinned", ErrInvalid)
	}
	if len(b) < ed25519.SignatureSize || len(b) > MaxManifest {
		return Manifest{}, fmt.Errorf("%w: a manifest of %d bytes", ErrInvalid, len(b))
	}
	signature, body := b[:ed25519.SignatureSize], b[ed25519.SignatureSize:]
	if !ed25519.Verify(root, signed(realm, body), signature) {
		return Manifest{}, fmt.Errorf("%w: not signed by the root of realm %s", ErrInvalid, realm)
	}
	r := reader{b: body}
	m := Manifest{
		Epoch: events.Epoch(r.text(maxEpoch)), Sequence: r.uvarint(events.MaxSequence), AsOf: time.Unix(0, r.varint()).UTC(),
		Events: r.uvarint(events.MaxSequence), First: r.uvarint(events.MaxSequence),
	}
	m.Chunks = make([][sha256.Size]byte, r.uvarint(MaxChunks))
	for i := range m.Chunks {
		copy(m.Chunks[i][:], r.bytes(sha256.Size))
	}
	if err := r.end(); err != nil {
		return Manifest{}, err
	}
	return m, m.check()
}

const maxEpoch = 128

func (m Manifest) check() error {
	switch {
	case m.Epoch == "" || len(m.Epoch) > maxEpoch:
		return fmt.Errorf("%w: an epoch of %d bytes", ErrInvalid, len(m.Epoch))
	case m.Sequence == 0 || m.Sequence > events.MaxSequence:
		return fmt.Errorf("%w: up to sequence %d", ErrInvalid, m.Sequence)
	case m.AsOf.Unix() <= 0:
		return fmt.Errorf("%w: as of %s", ErrInvalid, m.AsOf)
	case len(m.Chunks) == 0 || len(m.Chunks) > MaxChunks || m.First == 0:
		return fmt.Errorf("%w: %d chunks from %d on", ErrInvalid, len(m.Chunks), m.First)
	}
	return nil
}

// Holds reports whether chunk is the i-th.
func (m Manifest) Holds(i int, chunk []byte) bool {
	return i < len(m.Chunks) && len(chunk) <= MaxChunk && sha256.Sum256(chunk) == m.Chunks[i]
}
