package token

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/jwks"
)

// Why a token is not accepted. Errors of [Verifier.Verify] match exactly one.
var (
	// ErrMalformed: not a token by the strict reading.
	ErrMalformed = errors.New("malformed token")
	// ErrUntrusted: of no trusted issuer, or not for this audience, or not an
	// access token, or not signed by a key of that issuer.
	ErrUntrusted = errors.New("untrusted token")
	// ErrUnsupported: bound to a key or certificate (`cnf`, RFC 7800) whose
	// possession is not checked here; accepting it would strip the binding.
	ErrUnsupported = errors.New("unsupported token")
	// ErrExpired: past `exp` and the leeway.
	ErrExpired = errors.New("expired token")
	// ErrPremature: before `nbf` or `iat`, less the leeway.
	ErrPremature = errors.New("token not valid yet")
	// ErrKeysUnavailable: the issuer's keys could not be had, so nothing is known
	// of the token.
	ErrKeysUnavailable = errors.New("keys of the token's issuer unavailable")
)

// Config bounds what a [Verifier] accepts and keeps.
type Config struct {
	// Leeway is added to `exp` and taken from `nbf` and `iat`, for clocks that
	// differ. At most [events.MaxLeeway]; parts of a millisecond do not count.
	Leeway time.Duration
	// MaxBytes is the longest token read. 0: 8 KiB.
	MaxBytes int
	// CacheBytes is about how much memory verified tokens may take; 0 keeps none.
	CacheBytes int64
}

const (
	defaultMaxBytes = 8 << 10
	maxMaxBytes     = 64 << 10
)

// Validate names every fault of c at once.
func (c Config) Validate() error {
	var faults []error
	if c.Leeway < 0 || c.Leeway > events.MaxLeeway {
		faults = append(faults, fmt.Errorf("leeway %s: want 0 to %s, for which entries outlive their tokens", c.Leeway, events.MaxLeeway))
	}
	if c.MaxBytes < 0 || c.MaxBytes > maxMaxBytes {
		faults = append(faults, fmt.Errorf("token size %d: want 0 to %d bytes", c.MaxBytes, maxMaxBytes))
	}
	if c.CacheBytes < 0 {
		faults = append(faults, fmt.Errorf("cache size %d: negative", c.CacheBytes))
	}
	return errors.Join(faults...)
}

// Keys gives the keys of one issuer, as [jwks.Set] does: [jwks.ErrUnknownKey] if
// it has no such key, any other error if that cannot be told.
type Keys interface {
	Find(ctx context.Context, id events.KeyID) (*jwks.Key, error)
}

// Issuer is one trusted issuer with its keys.
type Issuer struct {
	Trust Trust
	Keys  Keys
}

// Preparer computes, once a token, what the denylist needs at every look-up.
type Preparer interface {
	Prepare(t *denylist.Token)
}

// Verifier judges tokens. It is safe for concurrent use.
type Verifier struct {
	leeway   int64 // milliseconds
	maxBytes int
	issuers  map[events.Issuer]Issuer
	denylist Preparer
	cache    *cache
}

// New checks config and rules. An issuer may have one rule only, or a token's
// fate would depend on their order.
func New(cfg Config, issuers []Issuer, p Preparer, m *Metrics) (*Verifier, error) {
	faults := []error{cfg.Validate()}
	v := &Verifier{
		leeway:   cfg.Leeway.Milliseconds(),
		maxBytes: cfg.MaxBytes,
		issuers:  make(map[events.Issuer]Issuer, len(issuers)),
		denylist: p,
	}
	if v.maxBytes == 0 {
		v.maxBytes = defaultMaxBytes
	}
	if len(issuers) == 0 {
		faults = append(faults, errors.New("no issuer is trusted"))
	}
	for _, i := range issuers {
		if err := i.Trust.Validate(); err != nil {
			faults = append(faults, fmt.Errorf("trust in issuer %q: %w", i.Trust.Issuer, err))
		}
		if _, twice := v.issuers[i.Trust.Issuer]; twice {
			faults = append(faults, fmt.Errorf("trust in issuer %q: given twice", i.Trust.Issuer))
		}
		i.Trust = i.Trust.withDefaults()
		v.issuers[i.Trust.Issuer] = i
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	var err error
	v.cache, err = newCache(cfg.CacheBytes, m)
	return v, err
}

// Verified is a token that has been verified. It is shared with the cache and
// read-only.
type Verified struct {
	Claims Claims
	// Denylist is ready for a look-up.
	Denylist denylist.Token

	key *jwks.Key
	// from and until bound its life in Unix milliseconds, leeway included:
	// from <= now < until.
	from, until int64
	size        int
}

// Verify judges raw at the time now. A token seen before costs a look-up and no
// allocation. One seen first, of a kid not seen before, may wait as long as Keys
// do, or until ctx ends.
func (v *Verifier) Verify(ctx context.Context, raw string, now time.Time) (*Verified, error) {
	ms := now.UnixMilli()
	if t := v.cache.get(raw); t != nil && t.key.Usable(now) {
		if err := t.inTime(ms); err != nil {
			return nil, err
		}
		return t, nil
	}
	t, err := v.check(ctx, raw)
	if err != nil {
		return nil, err
	}
	if err := t.inTime(ms); err != nil {
		return nil, err
	}
	v.cache.put(raw, t)
	return t, nil
}

// inTime holds t's life against the time now, in Unix milliseconds.
func (t *Verified) inTime(now int64) error {
	switch {
	case now >= t.until:
		return ErrExpired
	case now < t.from:
		return ErrPremature
	}
	return nil
}

// check verifies everything but the time.
func (v *Verifier) check(ctx context.Context, raw string) (*Verified, error) {
	p, err := parse(raw, v.maxBytes)
	if err != nil {
		return nil, err
	}
	issuer, ok := v.issuers[events.Issuer(text(p.payload, "iss"))]
	if !ok {
		return nil, fmt.Errorf("%w: of no trusted issuer", ErrUntrusted)
	}
	c, starts, err := readClaims(p, issuer.Trust)
	if err != nil {
		return nil, err
	}
	for _, d := range demands() {
		if why := d.fault(issuer.Trust, p, c); why != "" {
			return nil, fmt.Errorf("%w: %s", ErrUntrusted, why)
		}
	}
	key, err := find(ctx, issuer.Keys, p)
	if err != nil {
		return nil, err
	}
	if err := p.signedBy(key); err != nil {
		return nil, err
	}
	if p.payload.Has("cnf") {
		return nil, ErrUnsupported
	}
	return v.verified(c, starts, key, p.size), nil
}

// find gives the key that p names.
func find(ctx context.Context, keys Keys, p parsed) (*jwks.Key, error) {
	key, err := keys.Find(ctx, events.KeyID(p.key))
	switch {
	case errors.Is(err, jwks.ErrUnknownKey):
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrKeysUnavailable, err)
	}
	return key, nil
}

// signedBy checks the signature.
func (p *parsed) signedBy(key *jwks.Key) error {
	if key.Algorithm != p.algorithm {
		return fmt.Errorf("%w: alg is not the key's", ErrUntrusted)
	}
	if err := method(key.Algorithm).Verify(p.signed, p.signature, key.Public); err != nil {
		return fmt.Errorf("%w: signature does not verify", ErrUntrusted)
	}
	return nil
}

// method is the signature check of golang-jwt for an algorithm of
// [jwks.Algorithms].
func method(algorithm string) jwt.SigningMethod {
	switch algorithm {
	case jwks.ES256:
		return jwt.SigningMethodES256
	case jwks.RS256:
		return jwt.SigningMethodRS256
	}
	return jwt.SigningMethodEdDSA
}

// life is a token of c with its life bounded.
func (v *Verifier) life(c Claims, starts time.Time) *Verified {
	t := &Verified{Claims: c}
	t.until = c.Expires.UnixMilli() + v.leeway
	if !starts.IsZero() {
		t.from = starts.UnixMilli() - v.leeway
	}
	return t
}

func (v *Verifier) verified(c Claims, starts time.Time, key *jwks.Key, size int) *Verified {
	t := v.life(c, starts)
	t.key, t.size = key, size
	t.Denylist = denylist.Token{
		Issuer: c.Issuer, ID: c.ID, Session: c.Session, Subject: c.Subject, Client: c.Client, Key: c.Key,
		SessionAt: c.SessionAt, MintedAt: c.MintedAt, AuthTime: seconds(c.AuthTime), IssuedAt: seconds(c.IssuedAt),
	}
	v.denylist.Prepare(&t.Denylist)
	return t
}

// seconds is zero for no time at all, as the denylist has it.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
