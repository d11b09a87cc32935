package signing

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
)

// Config says where the keys are and for whom they sign.
type Config struct {
	// Dir is the key directory. Its parents are made if they are missing.
	Dir string
	// Issuer is the `iss` of every token that is signed or accepted.
	Issuer events.Issuer
	// Audiences are all that tokens of this issuer can be for, until [Keys.Accept]
	// adds others. The issuer's own endpoints accept a token for any of them and no
	// other.
	Audiences []string
	// Algorithm signs: "ES256", also if empty, or "RS256". Both are published and
	// accepted.
	Algorithm string
	// Now is this issuer's clock, by which keys follow each other; [time.Now] if nil.
	Now func() time.Time
	// MaxSkew is how far in the future `iat` may lie, since another issuer's clock
	// set it; 2 s if zero. Expiry is not tolerant at all: it is our own word.
	MaxSkew time.Duration
}

// Keys is the issuer's key material. It is safe for concurrent use.
type Keys struct {
	cfg   Config
	keyer subject.Keyer
	root  ed25519.PrivateKey
	seal  sealer
	first []*Pair
	macs  *macKeys

	// ring is replaced whole by Use.
	ring atomic.Pointer[ring]
	// audiences is replaced whole by Accept.
	audiences atomic.Pointer[[]string]
}

// Open reads the key directory, after making it if this is the first start. Faults
// of cfg are reported all at once, those of the directory one by one. The directory's
// keys are in force until [Keys.Use].
func Open(cfg Config) (_ *Keys, err error) {
	if cfg.Algorithm == "" {
		cfg.Algorithm = algES256
	}
	if cfg.MaxSkew == 0 {
		cfg.MaxSkew = 2 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making key directory: %w", err)
	}
	d, err := openDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.populate(); err != nil {
		return nil, err
	}
	return load(cfg, d)
}

func (cfg Config) validate() error {
	var errs []error
	if cfg.Dir == "" {
		errs = append(errs, errors.New("key directory is not given"))
	}
	if cfg.Issuer == "" {
		errs = append(errs, errors.New("issuer is not given"))
	}
	if len(cfg.Audiences) == 0 {
		errs = append(errs, errors.New("no audience is given: no access token could be for anyone"))
	}
	if cfg.Algorithm != algES256 && cfg.Algorithm != algRS256 {
		errs = append(errs, fmt.Errorf("signing algorithm %q: want %s or %s", cfg.Algorithm, algES256, algRS256))
	}
	if cfg.MaxSkew < 0 {
		errs = append(errs, fmt.Errorf("clock skew of %s is negative", cfg.MaxSkew))
	}
	return errors.Join(errs...)
}

func load(cfg Config, d dir) (*Keys, error) {
	k := &Keys{cfg: cfg}
	k.Accept(cfg.Audiences)
	var r Ring
	for _, kind := range []struct{ file, algorithm string }{{fileES256, algES256}, {fileRS256, algRS256}} {
		pair, err := d.pair(kind.file, kind.algorithm)
		if err != nil {
			return nil, err
		}
		k.first = append(k.first, pair)
		r.Accepted = append(r.Accepted, Accepted{Public: pair.public})
		if kind.algorithm == cfg.Algorithm {
			r.Signers = []Signer{{Pair: pair}}
		}
	}
	secret, err := d.subjectSecret()
	if err != nil {
		return nil, err
	}
	if k.keyer, err = subject.NewKeyer(secret); err != nil {
		return nil, err
	}
	if k.root, err = d.realmRoot(); err != nil {
		return nil, err
	}
	if k.seal, err = newSealer(k.root); err != nil {
		return nil, err
	}
	if k.macs, err = d.macKeys(); err != nil {
		return nil, err
	}
	return k, k.Use(r)
}

// pair reads one signing key and checks that it is what its name says.
func (d dir) pair(file, algorithm string) (*Pair, error) {
	private, err := d.privateKey(file)
	if err != nil {
		return nil, err
	}
	p, err := newPair(private, algorithm)
	if err != nil {
		return nil, fmt.Errorf("key file %s of %s: %w", file, d.name, err)
	}
	return p, nil
}

// Algorithm is what this issuer signs with.
func (k *Keys) Algorithm() string { return k.cfg.Algorithm }

// Keyer turns ids into NATS subjects, the same for every issuer of the realm.
func (k *Keys) Keyer() subject.Keyer { return k.keyer }

// Root signs what allows, through package codec (SignLift, SignKey). The caller
// neither keeps nor changes it.
func (k *Keys) Root() ed25519.PrivateKey { return k.root }

// Format prints a placeholder whatever the verb: the fields are keys.
func (k *Keys) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, k.String()) }

// String gives the same placeholder.
func (k *Keys) String() string { return "[issuer keys]" }

// MarshalText keeps the keys out of JSON and of loggers that reflect.
func (k *Keys) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
