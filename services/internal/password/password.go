// Package password hashes passwords and checks them: argon2id (RFC 9106) in PHC
// string format, with the parameters that OWASP's password storage cheat sheet
// gives as a minimum.
//
// A password is the bytes that were sent. It is not normalised: two clients that
// send different encodings of the same characters have sent different passwords
// (RFC 8265 leaves that to whoever takes the text in).
//
// Invariants:
//
//   - No user, a wrong password and a right one cost the same work, as long as
//     the stored hash has the configured parameters. [Hasher.Outdated] says when
//     it has not, so that a login can replace it.
//   - At most Config.Concurrency hashes are computed at a time and at most
//     Config.Queue callers wait; whoever comes then gets [ErrBusy] at once. So
//     memory is bounded by Concurrency times the parameters' memory.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
)

// MaxLength bounds a password in bytes.
const MaxLength = 1024

// Sizes of what this package writes, in bytes (RFC 9106 section 3.1).
const (
	saltSize = 16
	sumSize  = 32
)

// The conditions a caller has to tell apart.
var (
	// ErrBusy means that too many hashes are waited for already. The password
	// was not looked at; trying again later is all there is to do.
	ErrBusy = errors.New("too many passwords are being checked")
	// ErrLength means that a new password is empty or longer than [MaxLength].
	ErrLength = fmt.Errorf("password is empty or longer than %d bytes", MaxLength)
)

// Config sets what a hash costs and how many may be computed at once. A zero field
// takes its default.
type Config struct {
	// Memory is the memory of one hash in KiB; 19456 by default, at most 262144.
	Memory uint32
	// Time is the number of passes; 2 by default, at most 16.
	Time uint32
	// Lanes is the degree of parallelism; 1 by default, at most 16.
	Lanes uint8
	// Concurrency is how many hashes are computed at a time; 2 by default. More
	// than the machine has cores gains nothing.
	Concurrency int
	// Queue is how many callers may wait beyond those; 64 by default, negative
	// for none. A hash takes tens of milliseconds, so a longer queue only makes
	// clients give up while their work goes on.
	Queue int
}

// Hasher hashes and verifies. It is safe for concurrent use.
type Hasher struct {
	params params
	dummy  hash
	// admitted bounds callers in here, running bounds those that compute.
	admitted, running chan struct{}
}

// New checks cfg and fills in its defaults. It returns every fault at once.
func New(cfg Config) (*Hasher, error) {
	p := params{memory: cfg.Memory, time: cfg.Time, lanes: cfg.Lanes}
	if p.memory == 0 {
		p.memory = 19456
	}
	if p.time == 0 {
		p.time = 2
	}
	if p.lanes == 0 {
		p.lanes = 1
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 2
	}
	if cfg.Queue == 0 {
		cfg.Queue = 64
	}
	var errs []error
	if p.memory > maxMemory || p.memory < 8*uint32(p.lanes) {
		errs = append(errs, fmt.Errorf("password memory of %d KiB: want at least 8 a lane and at most %d", p.memory, maxMemory))
	}
	if p.time > maxTime {
		errs = append(errs, fmt.Errorf("password time of %d passes: want at most %d", p.time, maxTime))
	}
	if p.lanes > maxLanes {
		errs = append(errs, fmt.Errorf("password lanes of %d: want at most %d", p.lanes, maxLanes))
	}
	if cfg.Concurrency < 1 {
		errs = append(errs, fmt.Errorf("password concurrency of %d: want at least 1", cfg.Concurrency))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &Hasher{
		params:   p,
		dummy:    hash{p, make([]byte, saltSize), make([]byte, sumSize)},
		admitted: make(chan struct{}, cfg.Concurrency+max(cfg.Queue, 0)),
		running:  make(chan struct{}, cfg.Concurrency),
	}, nil
}

// Hash makes a PHC string with the configured parameters and a fresh salt. It
// returns [ErrLength], [ErrBusy] or the error of a ctx that ended while waiting.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if password == "" || len(password) > MaxLength {
		return "", ErrLength
	}
	made := hash{params: h.params, salt: make([]byte, saltSize)}
	_, _ = rand.Read(made.salt) // never fails (crypto/rand)
	var err error
	if made.sum, err = h.compute(ctx, made.params, made.salt, password, sumSize); err != nil {
		return "", err
	}
	return made.String(), nil
}

// Verify reports whether password is the one that was hashed to the PHC string. An
// empty phc stands for a user who does not exist: the same work is done, and
// nothing matches.
//
// An error says that nothing was checked: [ErrBusy], [ErrHash] for a stored hash
// that cannot be used, or the error of a ctx that ended while waiting.
func (h *Hasher) Verify(ctx context.Context, phc, password string) (bool, error) {
	if password == "" || len(password) > MaxLength {
		// Nothing that Hash accepts; the length is no secret of ours.
		return false, nil
	}
	stored := h.dummy
	if phc != "" {
		var err error
		if stored, err = parse(phc); err != nil {
			return false, err
		}
	}
	sum, err := h.compute(ctx, stored.params, stored.salt, password, len(stored.sum))
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(sum, stored.sum) == 1 && phc != "", nil
}

// Outdated reports whether the hash was made otherwise than Hash would now make it.
// Whoever has just verified a password against such a hash can replace it.
func (h *Hasher) Outdated(phc string) bool {
	stored, err := parse(phc)
	return err != nil || stored.params != h.params || len(stored.salt) < saltSize || len(stored.sum) < sumSize
}

// compute waits for its turn and derives. A hash once begun is finished whatever
// becomes of ctx: the algorithm cannot be interrupted.
func (h *Hasher) compute(ctx context.Context, p params, salt []byte, password string, size int) ([]byte, error) {
	select {
	case h.admitted <- struct{}{}:
		defer func() { <-h.admitted }()
	default:
		return nil, ErrBusy
	}
	// Without this an ended ctx would lose to a free place half of the time.
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("waiting to hash: %w", err)
	}
	select {
	case h.running <- struct{}{}:
		defer func() { <-h.running }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting to hash: %w", context.Cause(ctx))
	}
	return argon2.IDKey([]byte(password), salt, p.time, p.memory, p.lanes, uint32(size)), nil //nolint:gosec // at most maxSum
}
