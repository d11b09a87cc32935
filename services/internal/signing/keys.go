package signing

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
)

// Config says where the keys are and for whom they sign.
type Config struct {
	// Dir is the key directory. Its parents are made if they are missing.
	Dir string
	// Issuer is the `iss` of every token that is signed or accepted.
	Issuer events.Issuer
	// Audiences are all that tokens of this issuer can be for. The issuer's own
	// endpoints accept a token for any of them and no other.
	Audiences []string
	// Algorithm signs: "ES256", also if empty, or "RS256". Both are published and
	// accepted.
	Algorithm string
	// MaxSkew is how far in the future `iat` may lie, since another issuer's clock
	// set it; 2 s if zero. Expiry is not tolerant at all: it is our own word.
	MaxSkew time.Duration
}

// Keys is the issuer's key material. It is safe for concurrent use.
type Keys struct {
	cfg     Config
	keyer   subject.Keyer
	root    ed25519.PrivateKey
	sign    signingKey
	known   map[string]signingKey
	public  []events.Key
	jwks    []byte
	jwksTag string

	// macs is replaced whole by Reload.
	macs atomic.Pointer[macKeys]

	// looked is when a key id that nobody knew last made us look for new keys.
	mu     sync.Mutex
	looked time.Time
}

// signingKey is one key with the one algorithm it is used with.
type signingKey struct {
	id      string
	method  jwt.SigningMethod
	private crypto.Signer
	public  crypto.PublicKey
	header  string // encoded, as every token of this key begins
}

// Open reads the key directory, after making it if this is the first start. Faults
// of cfg are reported all at once, those of the directory one by one.
func Open(cfg Config) (_ *Keys, err error) {
	if cfg.Algorithm == "" {
		cfg.Algorithm = algES256
	}
	if cfg.MaxSkew == 0 {
		cfg.MaxSkew = 2 * time.Second
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
	k := &Keys{cfg: cfg, known: map[string]signingKey{}}
	for _, kind := range []struct{ file, algorithm string }{{fileES256, algES256}, {fileRS256, algRS256}} {
		key, described, err := d.signingKey(kind.file, kind.algorithm)
		if err != nil {
			return nil, err
		}
		k.known[key.id] = key
		k.public = append(k.public, described)
		if kind.algorithm == cfg.Algorithm {
			k.sign = key
		}
	}
	if err := k.publish(); err != nil {
		return nil, err
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
	macs, err := d.macKeys()
	if err != nil {
		return nil, err
	}
	k.macs.Store(macs)
	return k, nil
}

// publish prepares the key set document.
func (k *Keys) publish() error {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	for _, key := range k.public {
		set.Keys = append(set.Keys, key.JWK)
	}
	body, err := json.Marshal(set)
	if err != nil {
		return fmt.Errorf("writing the key set: %w", err)
	}
	sum := sha256.Sum256(body)
	k.jwks, k.jwksTag = body, `"`+hex.EncodeToString(sum[:16])+`"`
	return nil
}

// signingKey reads one key and checks that it is what its name says.
func (d dir) signingKey(file, algorithm string) (signingKey, events.Key, error) {
	private, err := d.privateKey(file)
	if err != nil {
		return signingKey{}, events.Key{}, err
	}
	if err := fits(private, algorithm); err != nil {
		return signingKey{}, events.Key{}, fmt.Errorf("key file %s of %s: %w", file, d.name, err)
	}
	described, err := newJWK(algorithm, private.Public())
	if err != nil {
		return signingKey{}, events.Key{}, err
	}
	event, err := described.event()
	if err != nil {
		return signingKey{}, events.Key{}, err
	}
	head, err := json.Marshal(header{Algorithm: algorithm, KeyID: described.ID, Type: tokenType})
	if err != nil {
		return signingKey{}, events.Key{}, err
	}
	return signingKey{
		id: described.ID, method: jwt.GetSigningMethod(algorithm), private: private, public: private.Public(),
		header: base64.RawURLEncoding.EncodeToString(head),
	}, event, nil
}

// Keyer turns ids into NATS subjects, the same for every issuer of the realm.
func (k *Keys) Keyer() subject.Keyer { return k.keyer }

// Root signs what allows, through package codec (SignLift, SignKey). The caller
// neither keeps nor changes it.
func (k *Keys) Root() ed25519.PrivateKey { return k.root }

// Public is the signing keys as events carry them, without a signature. The caller
// must not change them.
func (k *Keys) Public() []events.Key { return k.public }

// Format prints a placeholder whatever the verb: the fields are keys.
func (k *Keys) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, k.String()) }

// String gives the same placeholder.
func (k *Keys) String() string { return "[issuer keys]" }

// MarshalText keeps the keys out of JSON and of loggers that reflect.
func (k *Keys) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
