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

// SignKey and VerifyKey do the same for a signing key added.
func SignKey(root ed25519.PrivateKey, realm subject.Realm, k events.Key) events.Key {
	k.Signature = ed25519.Sign(root, keyMessage(realm, k))
	return k
}

// VerifyKey reports whether k was signed by the realm's root key, for this realm.
func VerifyKey(root ed25519.PublicKey, realm subject.Realm, k events.Key) bool {
	return len(root) == ed25519.PublicKeySize && ed25519.Verify(root, keyMessage(realm, k), k.Signature)
}

// The messages under the signatures are length-prefixed field by field behind a
// label of their own, so that no signature is valid for anything else.
func liftMessage(realm subject.Realm, l events.Lift) []byte {
	b := fields("revocast lift v1", string(realm), string(l.RevocationID), string(l.Issuer), l.Target)
	b = append(b, byte(l.Kind))
	return binary.BigEndian.AppendUint64(b, uint64(unixUp(l.Until))) //nolint:gosec // the same bits on both sides
}

func keyMessage(realm subject.Realm, k events.Key) []byte {
	return fields("revocast key v1", string(realm), string(k.ID), k.Algorithm, string(k.JWK))
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
