package events

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

type (
	// Issuer is the `iss` of the tokens an event speaks about, compared byte by
	// byte (RFC 7519 section 4.1.1). Ids of different issuers never meet.
	Issuer string
	// Subject is the `sub` of a token: opaque, unique within its issuer.
	Subject string
	// ClientID names an OAuth client (RFC 6749 section 2.2).
	ClientID string
	// SessionID is the `sid` of a token; ours are UUIDv7 in lower-case text.
	SessionID string
	// TokenID is the `jti` of a token; ours are UUIDv7 in lower-case text.
	TokenID string
	// KeyID is the `kid` of a signing key.
	KeyID string
	// EventID identifies one event for ever, UUIDv7. It is the message id on the
	// wire, so publishing an event twice stores it once, and it is what a
	// subscriber deduplicates by.
	EventID string
	// RevocationID identifies one revocation, UUIDv7: what an operator lifts.
	RevocationID string
	// SubjectKey stands for an id inside a NATS subject: a keyed hash in 32
	// lower-case hexadecimal digits, so that names neither show nor need escaping.
	SubjectKey string
	// Epoch names one life of the feed stream. It changes when the stream is
	// created or restored; sequences of different epochs do not compare.
	Epoch string
)

// Position is a place in the journal: the shard and the stream sequence in it.
// Sequences of one shard order appends whatever the clocks of their issuers say.
// The zero Position is no place at all; it lies before every other.
type Position struct {
	Shard    uint16
	Sequence uint64
}

// IsZero reports whether p names no place.
func (p Position) IsZero() bool { return p.Sequence == 0 }

// String gives the form tokens carry in `ssq` and `tsq`: "shard:sequence".
func (p Position) String() string {
	return strconv.FormatUint(uint64(p.Shard), 10) + ":" + strconv.FormatUint(p.Sequence, 10)
}

// ErrPosition is returned for text that is not a position.
var ErrPosition = errors.New("not a position of the form shard:sequence")

// MaxSequence is the greatest sequence that stays exact in a JSON number (RFC 8259
// section 6). Sequences begin at the clock in microseconds, so it lasts until 2255.
const MaxSequence = 1<<53 - 1

// ParsePosition reads the text form strictly: two decimal numbers without sign,
// leading zero or space. Anything else is [ErrPosition].
func ParsePosition(s string) (Position, error) {
	shard, sequence, ok := strings.Cut(s, ":")
	if !ok || !plainDecimal(shard) || !plainDecimal(sequence) {
		return Position{}, ErrPosition
	}
	n, err := strconv.ParseUint(shard, 10, 16)
	if err != nil {
		return Position{}, ErrPosition
	}
	seq, err := strconv.ParseUint(sequence, 10, 64)
	if err != nil || seq > MaxSequence {
		return Position{}, ErrPosition
	}
	return Position{Shard: uint16(n), Sequence: seq}, nil
}

func plainDecimal(s string) bool {
	if s == "" || len(s) > 1 && s[0] == '0' {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// Kind says what a revocation denies.
type Kind uint8

// The six kinds of revocation. Token and session are narrow: they name one thing
// and deny it whole. The others are wide: they deny what their cut covers.
const (
	KindUnknown Kind = iota
	KindToken
	KindSession
	KindSubject
	KindClient
	KindKey
	KindAll
)

// Kinds lists every kind, in the order of their numbers.
func Kinds() []Kind {
	return []Kind{KindToken, KindSession, KindSubject, KindClient, KindKey, KindAll}
}

// Wide reports whether revocations of this kind may spare what lies beyond a cut.
func (k Kind) Wide() bool { return k >= KindSubject }

// String gives the name used on the wire, in the API and in metrics.
func (k Kind) String() string {
	switch k {
	case KindToken:
		return "token"
	case KindSession:
		return "session"
	case KindSubject:
		return "subject"
	case KindClient:
		return "client"
	case KindKey:
		return "key"
	case KindAll:
		return "all"
	case KindUnknown:
	}
	return "unknown"
}

// ParseKind is the inverse of [Kind.String]; "unknown" is not accepted.
func ParseKind(s string) (Kind, error) {
	for _, k := range Kinds() {
		if k.String() == s {
			return k, nil
		}
	}
	return KindUnknown, fmt.Errorf("%q is not a kind of revocation; one of token, session, subject, client, key, all", s)
}

// Scope says what a wide revocation cuts.
type Scope uint8

const (
	// ScopeSessions ends every session begun at or before the cut (`ssq`).
	ScopeSessions Scope = iota
	// ScopeAccessTokens denies access tokens minted at or before the cut (`tsq`);
	// their sessions go on and refresh into new ones.
	ScopeAccessTokens
)

// String gives the name used in the API.
func (s Scope) String() string {
	if s == ScopeAccessTokens {
		return "access-tokens"
	}
	return "sessions"
}
