package signing

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/keyring"
	"github.com/revocast/revocast/services/internal/refresh"
)

// Ring is the keys in force. The zero Ring signs nothing and accepts nothing but
// refresh tokens of the directory's own keys.
type Ring struct {
	// Accepted are the signing keys whose tokens are accepted, and which are
	// published, in this order.
	Accepted []Accepted
	// Signers are those that may sign, the newest first; see [keyring.Pick].
	Signers []Signer
	// MACs are the keys by which refresh tokens are accepted, beside those of the
	// directory; MACSigners those that new ones are made with, the newest first.
	// While there are none, the directory's current key is.
	MACs       []refresh.Key
	MACSigners []MACSigner
	// FreshUntil is when this is too old to sign by; zero for never.
	FreshUntil time.Time
}

// Accepted is one key whose tokens are accepted until a time; zero for no end.
type Accepted struct {
	Public *Public
	Until  time.Time
}

// Signer is one key that may sign from a time on.
type Signer struct {
	Pair *Pair
	From time.Time
}

// MACSigner is one key that refresh tokens may be made with from a time on.
type MACSigner struct {
	Key  refresh.Key
	From time.Time
}

// ring is a Ring made ready for use. It is immutable.
type ring struct {
	fresh time.Time

	known    map[string]Accepted
	public   []events.Key
	jwks     []byte
	jwksTag  string
	signers  []*Pair
	signFrom []keyring.Candidate

	macs    map[events.KeyID]refresh.Key
	makers  []refresh.Key
	macFrom []keyring.Candidate
}

// Use puts other keys in force, for all calls that begin from now on. The directory's
// own keys of refresh tokens stay accepted.
func (k *Keys) Use(r Ring) error {
	next := &ring{fresh: r.FreshUntil, known: make(map[string]Accepted, len(r.Accepted)), macs: maps.Clone(k.macs.known)}
	for _, a := range r.Accepted {
		next.known[string(a.Public.described.ID)] = a
		next.public = append(next.public, a.Public.described)
	}
	for _, s := range r.Signers {
		next.signers = append(next.signers, s.Pair)
		next.signFrom = append(next.signFrom, keyring.Candidate{ID: s.Pair.public.described.ID, From: s.From})
	}
	for _, key := range r.MACs {
		next.macs[key.ID()] = key
	}
	for _, s := range r.MACSigners {
		next.makers = append(next.makers, s.Key)
		next.macFrom = append(next.macFrom, keyring.Candidate{ID: s.Key.ID(), From: s.From})
		next.macs[s.Key.ID()] = s.Key
	}
	if len(next.makers) == 0 {
		next.makers, next.macFrom = []refresh.Key{k.macs.current}, []keyring.Candidate{{ID: k.macs.current.ID()}}
	}
	if err := next.publish(); err != nil {
		return err
	}
	k.ring.Store(next)
	return nil
}

// publish prepares the key set document.
func (r *ring) publish() error {
	set := struct {
		Keys []json.RawMessage `json:"keys"`
	}{Keys: []json.RawMessage{}}
	for _, key := range r.public {
		set.Keys = append(set.Keys, key.JWK)
	}
	body, err := json.Marshal(set)
	if err != nil {
		return fmt.Errorf("writing the key set: %w", err)
	}
	sum := sha256.Sum256(body)
	r.jwks, r.jwksTag = body, `"`+hex.EncodeToString(sum[:16])+`"`
	return nil
}

// Why no key signs now. Both mean "try again later".
var (
	errNoSigner = errors.New("no key may sign")
	errOld      = errors.New("the keys were last read too long ago")
)

// signer is the key that signs now.
func (r *ring) signer(now time.Time) (*Pair, error) {
	if !r.fresh.IsZero() && now.After(r.fresh) {
		return nil, errOld
	}
	i := keyring.Pick(r.signFrom, now)
	if i < 0 {
		return nil, errNoSigner
	}
	return r.signers[i], nil
}

// CanSign says why no key may sign at this moment; nil if one may.
func (k *Keys) CanSign() error {
	_, err := k.ring.Load().signer(k.cfg.Now())
	return err
}

// Public is the signing keys in force as events carry them, without a signature.
func (k *Keys) Public() []events.Key { return slices.Clone(k.ring.Load().public) }

// First is the signing keys of the directory.
func (k *Keys) First() []*Pair { return slices.Clone(k.first) }

// RefreshKey is the key that new refresh tokens are made with.
func (k *Keys) RefreshKey() refresh.Key {
	r := k.ring.Load()
	return r.makers[keyring.Pick(r.macFrom, k.cfg.Now())]
}

// ErrUnknownKey means that a refresh token names a key that this issuer does not
// have. Another may have it already, so the answer is 503, never invalid_grant: that
// would make the client throw the token away.
var ErrUnknownKey = errors.New("refresh-token key is not known here")

// RefreshKeyByID gives the key that a token or a session names, or [ErrUnknownKey].
func (k *Keys) RefreshKeyByID(id events.KeyID) (refresh.Key, error) {
	key, ok := k.ring.Load().macs[id]
	if !ok {
		return refresh.Key{}, ErrUnknownKey
	}
	return key, nil
}
