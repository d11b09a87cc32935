package codec

import (
	"crypto/ed25519"
	"encoding/binary"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
)

// SignLift signs l with the realm's root key. What allows must be signed: an
// unsigned feed event can only deny.
func SignLift(root ed25519.PrivateKey, realm subject.Realm, l events.Lift) events.Lift {
	l.Signature = ed25519.Sign(root, liftMessage(realm, l))
	return l
}

// VerifyLift reports whether l was signed by the realm's root key, for this realm.
func VerifyLift(root ed25519.PublicKey, realm subject.Realm, l events.Lift) bool {
	return len(root) == ed25519.PublicKeySize && ed25519.Verify(root, liftMessage(realm, l), l.Signature)
}

// SignKey signs a signing key that is announced ([events.KeyAdded]): whoever trusts
// the realm's root may verify tokens of k.Issuer with it, until k.Until.
func SignKey(root ed25519.PrivateKey, realm subject.Realm, k events.Key) events.Key {
	k.Signature = ed25519.Sign(root, keyMessage(labelKey, realm, k))
	return k
}

// VerifyKey reports whether k was signed by the realm's root key as one announced,
// for this realm.
func VerifyKey(root ed25519.PublicKey, realm subject.Realm, k events.Key) bool {
	return len(root) == ed25519.PublicKeySize && ed25519.Verify(root, keyMessage(labelKey, realm, k), k.Signature)
}

// SignRetirement signs a signing key that is withdrawn ([events.KeyRetired]). It
// only denies; but it is remembered, and cannot be lifted as a revocation can.
func SignRetirement(root ed25519.PrivateKey, realm subject.Realm, k events.Key) events.Key {
	k.Signature = ed25519.Sign(root, keyMessage(labelRetirement, realm, k))
	return k
}

// VerifyRetirement reports whether k was signed by the realm's root key as one
// withdrawn, for this realm.
func VerifyRetirement(root ed25519.PublicKey, realm subject.Realm, k events.Key) bool {
	return len(root) == ed25519.PublicKeySize && ed25519.Verify(root, keyMessage(labelRetirement, realm, k), k.Signature)
}

// What is announced and what is withdrawn looks alike, so each has its own label.
const (
	labelKey        = "revocast key added v1"
	labelRetirement = "revocast key retired v1"
)

// The messages under the signatures are length-prefixed field by field behind a
// label of their own, so that no signature is valid for anything else.
func liftMessage(realm subject.Realm, l events.Lift) []byte {
	b := fields("revocast lift v1", string(realm), string(l.RevocationID), string(l.Issuer), l.Target)
	b = append(b, byte(l.Kind))
	return binary.BigEndian.AppendUint64(b, uint64(unixUp(l.Until))) //nolint:gosec // the same bits on both sides
}

func keyMessage(label string, realm subject.Realm, k events.Key) []byte {
	b := fields(label, string(realm), string(k.ID), string(k.Issuer), k.Algorithm, string(k.JWK))
	b = binary.BigEndian.AppendUint64(b, uint64(unixUp(k.NotBefore))) //nolint:gosec // the same bits on both sides
	return binary.BigEndian.AppendUint64(b, uint64(unixUp(k.Until)))  //nolint:gosec // the same bits on both sides
}

func fields(label string, values ...string) []byte {
	b := binary.AppendUvarint(nil, uint64(len(label)))
	b = append(b, label...)
	for _, v := range values {
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	return b
}
