package signing

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/keyring"
)

const realm = subject.Realm("test")

func newPairOf(tb testing.TB, algorithm string) *Pair {
	tb.Helper()
	p, err := NewPair(algorithm)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func sealed(tb testing.TB, s events.Secret, err error) events.Secret {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// What one issuer seals, another with the same directory opens, and gets the same key.
func TestSealedSecretsOpenElsewhere(t *testing.T) {
	dir := filled(t)
	a, b := open(t, config(dir)), open(t, config(dir))
	for _, p := range []*Pair{newPairOf(t, algES256), newPairOf(t, algRS256), a.First()[0]} {
		s, err := a.SealPair(realm, p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.OpenPair(realm, s)
		if err != nil || got.public.described.ID != p.public.described.ID || got.header != p.header {
			t.Fatalf("%v became %v, %v", p, got, err)
		}
		signature, err := got.public.method.Sign("x", got.private)
		if err != nil || p.public.method.Verify("x", signature, p.public.key) != nil {
			t.Errorf("%v: the private key has changed: %v", p, err)
		}
	}
	s, err := a.NewMAC(realm)
	if got, err2 := b.OpenMAC(realm, sealed(t, s, err)); err2 != nil || got.ID() != s.ID {
		t.Errorf("a MAC key became %v, %v", got, err2)
	}
	s, err = a.FirstMAC(realm)
	if got, err2 := b.OpenMAC(realm, sealed(t, s, err)); err2 != nil || got.ID() != b.RefreshKey().ID() {
		t.Errorf("the directory's MAC key became %v, %v", got, err2)
	}
	// The same secret never looks the same twice.
	one, err1 := a.FirstMAC(realm)
	other, err2 := a.FirstMAC(realm)
	if bytes.Equal(sealed(t, one, err1).Sealed, sealed(t, other, err2).Sealed) {
		t.Error("a nonce was used twice")
	}
}

// A secret opens as what it was sealed as, in its realm and under its root, or not at
// all.
func TestSealedSecretsAreBound(t *testing.T) {
	dir := filled(t)
	k := open(t, config(dir))
	pair, other := newPairOf(t, algES256), newPairOf(t, algES256)
	sign, err := k.SealPair(realm, pair)
	sign = sealed(t, sign, err)
	another, err := k.SealPair(realm, other)
	another = sealed(t, another, err)
	mac, err := k.NewMAC(realm)
	mac = sealed(t, mac, err)

	stranger := filled(t)
	put(t, stranger, fileRoot, mustNew(t, newRoot))
	d, err := openDir(stranger)
	if err != nil {
		t.Fatal(err)
	}
	public, err := d.newRootPublic()
	if err := errors.Join(err, d.close()); err != nil {
		t.Fatal(err)
	}
	put(t, stranger, fileRootPub, public)
	elsewhere := open(t, config(stranger))

	with := func(s events.Secret, f func(*events.Secret)) events.Secret {
		s.Sealed = bytes.Clone(s.Sealed)
		f(&s)
		return s
	}
	for name, c := range map[string]struct {
		keys  *Keys
		realm subject.Realm
		s     events.Secret
	}{
		"another root":       {elsewhere, realm, sign},
		"another root, MAC":  {elsewhere, realm, mac},
		"another realm":      {k, "other", sign},
		"another realm, MAC": {k, "other", mac},
		"ids swapped":        {k, realm, with(sign, func(s *events.Secret) { s.ID = another.ID })},
		"texts swapped":      {k, realm, with(sign, func(s *events.Secret) { s.Sealed = another.Sealed })},
		"uses swapped":       {k, realm, with(sign, func(s *events.Secret) { s.Use = keyring.UseMAC })},
		"MAC signs":          {k, realm, with(mac, func(s *events.Secret) { s.Use = keyring.UseSign })},
		"algorithm swapped":  {k, realm, with(sign, func(s *events.Secret) { s.Algorithm = algRS256 })},
		"MAC's algorithm":    {k, realm, with(mac, func(s *events.Secret) { s.Algorithm = "HS512" })},
		"no use":             {k, realm, with(sign, func(s *events.Secret) { s.Use = "" })},
		"a bit":              {k, realm, with(sign, func(s *events.Secret) { s.Sealed[20] ^= 1 })},
		"a bit of the nonce": {k, realm, with(mac, func(s *events.Secret) { s.Sealed[0] ^= 1 })},
		"cut off":            {k, realm, with(sign, func(s *events.Secret) { s.Sealed = s.Sealed[:len(s.Sealed)-1] })},
		"less than a nonce":  {k, realm, with(sign, func(s *events.Secret) { s.Sealed = s.Sealed[:3] })},
		"nothing":            {k, realm, with(sign, func(s *events.Secret) { s.Sealed = nil })},
	} {
		t.Run(name, func(t *testing.T) {
			if p, err := c.keys.OpenPair(c.realm, c.s); !errors.Is(err, ErrSealed) || p != nil {
				t.Errorf("opened to sign: %v, %v", p, err)
			}
			if key, err := c.keys.OpenMAC(c.realm, c.s); !errors.Is(err, ErrSealed) || key.ID() != "" {
				t.Errorf("opened for refresh tokens: %v, %v", key, err)
			}
		})
	}
	// Sealed by us, and still not what it says.
	for name, c := range map[string]struct {
		s      events.Secret
		secret []byte
	}{
		"another key's secret": {events.Secret{ID: another.ID, Use: keyring.UseSign, Algorithm: algES256}, mustOpen(t, k, sign)},
		"no key":               {events.Secret{ID: sign.ID, Use: keyring.UseSign, Algorithm: algES256}, []byte("x")},
		"of another algorithm": {events.Secret{ID: sign.ID, Use: keyring.UseSign, Algorithm: algRS256}, mustOpen(t, k, sign)},
		"a short MAC secret":   {events.Secret{ID: mac.ID, Use: keyring.UseMAC, Algorithm: macAlgorithm}, []byte("x")},
		"another MAC secret":   {events.Secret{ID: mac.ID, Use: keyring.UseMAC, Algorithm: macAlgorithm}, bytes.Repeat([]byte{1}, 32)},
	} {
		s := k.seal.seal(realm, c.s, c.secret)
		if p, err := k.OpenPair(realm, s); !errors.Is(err, ErrSealed) || p != nil {
			t.Errorf("%s: %v, %v", name, p, err)
		}
		if key, err := k.OpenMAC(realm, s); !errors.Is(err, ErrSealed) || key.ID() != "" {
			t.Errorf("%s: %v, %v", name, key, err)
		}
	}
}

func mustOpen(t *testing.T, k *Keys, s events.Secret) []byte {
	t.Helper()
	secret, err := k.seal.open(realm, s)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// INV-6: what the journal gets shows no part of the secret.
func TestSealedSecretsShowNothing(t *testing.T) {
	k := open(t, config(filled(t)))
	pair := newPairOf(t, algES256)
	s, err := k.SealPair(realm, pair)
	s = sealed(t, s, err)
	secret := mustOpen(t, k, s)
	for i := range len(secret) - 8 {
		if bytes.Contains(s.Sealed, secret[i:i+8]) {
			t.Fatalf("bytes %d to %d of the key show", i, i+8)
		}
	}
	if text, err := pair.MarshalText(); err != nil || strings.Count(string(text), "\n") > 0 || len(text) > 80 {
		t.Errorf("a pair encodes as %s, %v", text, err)
	}
}
