package denylist

import (
	"github.com/revocast/revocast/events"
)

// kinds is how many kinds of revocation there are, and so how many keys a token has.
const kinds = 6

// Token is what the denylist needs to know about a verified token: its names, and
// where in the journal it stands. It is filled in once, given to
// [Denylist.Prepare], and from then on only read; it may be copied and shared.
type Token struct {
	Issuer  events.Issuer
	ID      events.TokenID
	Session events.SessionID
	Subject events.Subject
	Client  events.ClientID
	Key     events.KeyID
	// SessionAt is where the token's session began (`ssq`) and MintedAt where the
	// token was minted (`tsq`). Zero where it does not say, and always zero for
	// issuers whose positions are not our journal's.
	SessionAt, MintedAt events.Position
	// AuthTime and IssuedAt are in Unix seconds, zero where the token does not say.
	AuthTime, IssuedAt int64

	by   *Denylist // whose keys these are
	keys [kinds]uint64
	has  uint8 // which kinds can name this token, by the bits of bit
}

// bit is a kind's place in Token.keys and Token.has.
func bit(k events.Kind) int { return int(k) - 1 }

// target is what an entry names.
type target struct {
	kind   events.Kind
	issuer events.Issuer
	name   string
}

func targetOf(r *events.Revocation) target { return target{r.Kind, r.Issuer, r.Target} }

// target is what an entry of the kind would have to name to deny t.
func (t *Token) target(k events.Kind) target {
	at := target{kind: k, issuer: t.Issuer}
	switch k {
	case events.KindToken:
		at.name = string(t.ID)
	case events.KindSession:
		at.name = string(t.Session)
	case events.KindSubject:
		at.name = string(t.Subject)
	case events.KindClient:
		at.name = string(t.Client)
	case events.KindKey:
		at.name = string(t.Key)
	case events.KindAll, events.KindUnknown:
	}
	return at
}

// Prepare computes the keys under which [Denylist.Lookup] of this denylist looks
// for t. A token without an issuer stays unprepared: nothing can judge it.
func (d *Denylist) Prepare(t *Token) {
	t.by, t.keys, t.has = nil, [kinds]uint64{}, 0
	if t.Issuer == "" {
		return
	}
	for _, k := range events.Kinds() {
		at := t.target(k)
		if at.name == "" && k != events.KindAll {
			continue // the token has no such name, so no entry has it either
		}
		t.keys[bit(k)] = d.index.Hash(k, at.issuer, at.name)
		t.has |= 1 << bit(k)
	}
	t.by = d
}
