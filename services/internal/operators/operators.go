package operators

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
)

// Bootstrap is the name of the operator whose token an issuer makes on its first
// start. Nobody else is called that.
const Bootstrap = "admin"

const (
	// MaxLife is the longest that an operator is let in without being added again.
	MaxLife = 366 * 24 * time.Hour
	// maxOperators bounds how many a realm has, so that one load finds them all.
	maxOperators = 1000
	// keepEnded is how long those removed or expired are remembered.
	keepEnded = 30 * 24 * time.Hour
	// maxName bounds a name in bytes.
	maxName = 64
	// maxAttempts bounds how often a conflict is decided anew.
	maxAttempts = 8
	barrierTTL  = time.Minute
)

// Conditions that callers answer differently. They match with errors.Is; all others
// mean "try again later".
var (
	// ErrRefused: this is no operator. Nobody learns why.
	ErrRefused = errors.New("no operator")
	// ErrExists: somebody of this name is an operator already.
	ErrExists = errors.New("operator exists")
	// ErrUnknown: nobody of this name is an operator, or was one lately.
	ErrUnknown = errors.New("no such operator")
	// ErrFull: the realm has as many operators as it can have.
	ErrFull = errors.New("too many operators")
)

// Journal is the conditional log (package eventstore).
type Journal interface {
	Append(ctx context.Context, a events.Append) (events.Position, error)
	Load(ctx context.Context, atLeast events.Position, subjects ...string) ([]events.Record, error)
}

// Config is what one realm's issuers have in common, but for Bootstrap.
type Config struct {
	Realm subject.Realm
	Keyer subject.Keyer
	// Bootstrap is the SHA-256 of the token of [Bootstrap].
	Bootstrap [sha256.Size]byte
	// Now is the issuer's clock, [time.Now] if nil. It ends nobody: that is done by
	// the broker's time.
	Now func() time.Time
}

// Operators holds no state but its dependencies and is safe for concurrent use.
type Operators struct {
	cfg     Config
	journal Journal
}

// New puts Operators together.
func New(cfg Config, journal Journal) *Operators {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Operators{cfg: cfg, journal: journal}
}

// Operator is one who may call.
type Operator struct {
	Name string
	Role Role
}

// Authenticate finds out who calls, by a token (empty: none was sent) or by a client
// certificate that TLS has verified (nil: none was sent). Where both are sent they must
// name the same operator. Errors match [ErrRefused] or mean "try again later".
func (o *Operators) Authenticate(ctx context.Context, token string, cert *x509.Certificate) (Operator, error) {
	if token == "" && cert == nil {
		return Operator{}, ErrRefused
	}
	if token == "" {
		return o.byCertificate(ctx, cert.Subject.CommonName)
	}
	by, err := o.byToken(ctx, token)
	if err == nil && cert != nil && cert.Subject.CommonName != by.Name {
		return Operator{}, ErrRefused
	}
	return by, err
}

func (o *Operators) byToken(ctx context.Context, token string) (Operator, error) {
	hash := hashOf(token)
	if subtle.ConstantTimeCompare(hash[:], o.cfg.Bootstrap[:]) == 1 {
		return Operator{Name: Bootstrap, Role: Administrator}, nil
	}
	key, ok := parseToken(o.cfg.Keyer, token)
	if !ok {
		return Operator{}, ErrRefused
	}
	found, err := o.find(ctx, o.cfg.Realm.Operator(key))
	if err != nil {
		return Operator{}, err
	}
	// Compared in any case, so that it takes the same time.
	var kept [sha256.Size]byte
	copy(kept[:], found.TokenHash)
	return found.admitted(subtle.ConstantTimeCompare(hash[:], kept[:]) == 1)
}

func (o *Operators) byCertificate(ctx context.Context, name string) (Operator, error) {
	if !ValidName(name) {
		return Operator{}, ErrRefused
	}
	found, err := o.find(ctx, o.place(name))
	if err != nil {
		return Operator{}, err
	}
	return found.admitted(found.Certificate && found.Name == name)
}

// record is what the journal says of one operator; the zero record if nothing.
type record struct {
	events.Operator
	// at is where it stands, added when it was written, in the broker's time.
	at    events.Position
	added time.Time
	// now is the broker's time behind a barrier.
	now     time.Time
	removed bool
}

// alive reports whether the operator is one still.
func (r record) alive() bool { return r.Name != "" && !r.removed && r.now.Before(r.Expires) }

func (r record) admitted(proved bool) (Operator, error) {
	role, err := ParseRole(r.Role)
	if err != nil || !proved || !r.alive() {
		return Operator{}, ErrRefused
	}
	return Operator{Name: r.Name, Role: role}, nil
}

// find loads what a place says, as it is after the command began.
func (o *Operators) find(ctx context.Context, place string) (record, error) {
	records, err := o.load(ctx, place)
	if err != nil || len(records) == 0 {
		return record{}, err
	}
	return records[0], nil
}

func (o *Operators) load(ctx context.Context, place string) ([]record, error) {
	barrier, err := o.journal.Append(ctx, events.Append{
		Subject: o.cfg.Realm.Barrier(), Envelope: o.envelope(events.BarrierPassed{}), Unguarded: true, TTL: barrierTTL,
	})
	if err != nil {
		return nil, err
	}
	loaded, err := o.journal.Load(ctx, barrier, place, o.cfg.Realm.Barrier())
	if err != nil {
		return nil, err
	}
	var records []record
	now := time.Time{}
	for _, r := range loaded {
		switch e := r.Envelope.Event.(type) { //nolint:gochecksumtype // any other event is no operator's
		case events.OperatorAdded:
			records = append(records, record{Operator: e.Operator, at: r.Position, added: r.Time})
		case events.OperatorRemoved:
			records = append(records, record{Operator: e.Operator, at: r.Position, added: r.Time, removed: true})
		case events.BarrierPassed:
			now = r.Time
		default:
			return nil, fmt.Errorf("loading operators: %w: unexpected event at %s", events.ErrUnavailable, r.Position)
		}
	}
	for i := range records {
		records[i].now = now
	}
	return records, nil
}

// Added is an operator who may call from now on.
type Added struct {
	Operator
	// Token is shown this once; empty for an operator who has a certificate.
	Token   string
	Expires time.Time
}

// Request describes a new operator.
type Request struct {
	Name string
	Role Role
	// Life is how long it is an operator, at most [MaxLife].
	Life time.Duration
	// Certificate: it gets no token and proves itself by a client certificate.
	Certificate bool
}

// Add makes an operator, or makes one anew who has been removed or has expired. The
// request must be in order: a valid name, a role, a life.
func (o *Operators) Add(ctx context.Context, r Request, by events.Initiator) (Added, error) {
	if !ValidName(r.Name) || r.Name == Bootstrap || r.Role == NoRole || r.Life < time.Second || r.Life > MaxLife {
		return Added{}, fmt.Errorf("adding operator %q: not in order", r.Name)
	}
	key := o.key(r.Name)
	done := Added{Operator: Operator{r.Name, r.Role}, Expires: o.cfg.Now().Add(r.Life).Truncate(time.Second)}
	n := events.Operator{Name: r.Name, Role: r.Role.String(), Certificate: r.Certificate, Expires: done.Expires, By: by}
	if !r.Certificate {
		done.Token = newToken(o.cfg.Keyer, key)
		hash := hashOf(done.Token)
		n.TokenHash = hash[:]
	}
	all, err := o.load(ctx, o.cfg.Realm.Operators())
	if errors.Is(err, events.ErrTooMany) {
		return Added{}, ErrFull
	}
	if err != nil {
		return Added{}, err
	}
	before := named(all, r.Name)
	if before.alive() {
		return Added{}, ErrExists
	}
	if before.Name == "" && len(all) >= maxOperators {
		return Added{}, ErrFull
	}
	return done, o.write(ctx, r.Name, before.at, events.OperatorAdded{Operator: n}, r.Life+keepEnded)
}

// Remove ends an operator at once, everywhere. Ending one who has been removed changes
// nothing and is no error.
func (o *Operators) Remove(ctx context.Context, name string, by events.Initiator) error {
	for range maxAttempts {
		found, err := o.find(ctx, o.place(name))
		if err != nil {
			return err
		}
		if found.Name == "" || found.Name != name {
			return ErrUnknown
		}
		if found.removed {
			return nil
		}
		n := found.Operator
		n.TokenHash, n.Certificate, n.By = nil, false, by
		if err = o.write(ctx, name, found.at, events.OperatorRemoved{Operator: n}, keepEnded); !errors.Is(err, events.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("removing operator %q: %w: %d conflicts", name, events.ErrUnavailable, maxAttempts)
}

// write replaces all that the journal says of an operator.
func (o *Operators) write(ctx context.Context, name string, after events.Position, e events.Event, ttl time.Duration) error {
	_, err := o.journal.Append(ctx, events.Append{
		Subject: o.place(name), Envelope: o.envelope(e), After: after.Sequence, TTL: ttl, Rollup: true,
	})
	return err
}

// Described is an operator as others may see it.
type Described struct {
	Operator
	Certificate    bool
	Added, Expires time.Time
	By             string
	// Expired: it is not let in any more.
	Expired bool
}

// List gives all operators but those removed, by name. Errors match
// [events.ErrTooMany] or mean "try again later".
func (o *Operators) List(ctx context.Context) ([]Described, error) {
	all, err := o.load(ctx, o.cfg.Realm.Operators())
	if err != nil {
		return nil, err
	}
	var list []Described
	for _, r := range all {
		if r.removed {
			continue
		}
		role, _ := ParseRole(r.Role) // one of a later version may do nothing here
		list = append(list, Described{
			Operator: Operator{r.Name, role}, Certificate: r.Certificate, Added: r.added, Expires: r.Expires,
			By: r.By.Name, Expired: !r.alive(),
		})
	}
	slices.SortFunc(list, func(a, b Described) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func named(all []record, name string) record {
	for _, r := range all {
		if r.Name == name {
			return r
		}
	}
	return record{}
}

func (o *Operators) key(name string) events.SubjectKey {
	return o.cfg.Keyer.Key(events.KindUnknown, "", "operator:"+name)
}

func (o *Operators) place(name string) string { return o.cfg.Realm.Operator(o.key(name)) }

func (o *Operators) envelope(e events.Event) events.Envelope {
	return events.Envelope{ID: events.EventID(uuid.Must(uuid.NewV7()).String()), At: o.cfg.Now(), Event: e}
}

// ValidName reports whether an operator can be called that: 1 to 64 lower-case letters,
// digits and any of . _ @ + -, beginning with a letter or digit. Two names that read
// alike are a trap for whoever reads the audit.
func ValidName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'; !letter && (i == 0 || strings.IndexByte("._@+-", c) < 0) {
			return false
		}
	}
	return true
}
