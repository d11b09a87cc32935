package codec

import (
	"fmt"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
)

// Bounds on what one event may hold.
const (
	maxID        = 512  // issuer, sub, jti, sid, client_id, kid
	maxText      = 256  // names, reasons
	maxScope     = 4096 // the scope string
	maxList      = 64   // audiences, roles, amr
	maxCuts      = 512  // standing wide revocations of one id
	maxRotations = 8    // superseded generations inside the grace window
	maxBlob      = 8192 // JWKs
)

// Bounds on times: seconds between 1970 and 9999.
const maxUnix = 253402300799

type checker struct{ err error }

func (c *checker) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
}

// text bounds a string and refuses control characters, which have no place in an
// id and would be carried into headers, logs and subjects.
func (c *checker) text(name, s string, atMost int) {
	if len(s) > atMost {
		c.fail("%s has %d bytes, at most %d", name, len(s), atMost)
		return
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			c.fail("%s contains a control character", name)
			return
		}
	}
}

func (c *checker) required(name, s string, atMost int) {
	if s == "" {
		c.fail("%s is missing", name)
		return
	}
	c.text(name, s, atMost)
}

func (c *checker) list(name string, l []string) {
	if len(l) > maxList {
		c.fail("%s has %d members, at most %d", name, len(l), maxList)
		return
	}
	for _, s := range l {
		c.required(name, s, maxID)
	}
}

// uuid accepts the one text form that RFC 9562 section 4 asks writers for.
func (c *checker) uuid(name, s string) {
	ok := len(s) == 36
	for i := 0; ok && i < len(s); i++ {
		switch d := s[i]; i {
		case 8, 13, 18, 23:
			ok = d == '-'
		default:
			ok = d >= '0' && d <= '9' || d >= 'a' && d <= 'f'
		}
	}
	if !ok {
		c.fail("%s is no UUID in lower-case text", name)
	}
}

func (c *checker) time(name string, t time.Time) {
	if !t.IsZero() && (t.Unix() < 0 || t.Unix() > maxUnix) {
		c.fail("%s is out of range", name)
	}
}

func (c *checker) position(name string, p events.Position) {
	if p.Sequence > events.MaxSequence {
		c.fail("%s is out of range", name)
	}
}

func (c *checker) bytes(name string, b []byte, lengths ...int) {
	if !slices.Contains(lengths, len(b)) {
		c.fail("%s has %d bytes", name, len(b))
	}
}

func validate(e events.Envelope) error {
	c := &checker{}
	c.uuid("event id", string(e.ID))
	c.time("event time", e.At)
	switch v := e.Event.(type) {
	case events.SessionStarted:
		c.session(v.Session)
		if v.Session.Ended != nil {
			c.fail("a session that starts has ended")
		}
	case events.SessionRefreshed:
		c.session(v.Session)
		if v.Session.Ended != nil {
			c.fail("a session that is refreshed has ended")
		}
	case events.SessionRevoked:
		c.session(v.Session)
		if v.Session.Ended == nil {
			c.fail("a revoked session has not ended")
		}
	case events.Revoked:
		c.revocation(v.Revocation)
	case events.CutsRecorded:
		c.cuts(v)
	case events.Lifted:
		c.lift(v.Lift)
	case events.UserRegistered:
		c.user(v.User)
	case events.PasswordChanged:
		c.user(v.User)
	case events.KeyAdded:
		c.key(v.Key)
	case events.KeyRetired:
		c.key(v.Key)
	case events.SessionReplayed:
		c.uuid("session id", string(v.Replay.Session))
	case events.UserUpdated:
		c.user(v.User)
	case events.ClientUpdated:
		c.client(v.Client)
	case events.OperatorAdded:
		c.operator(v.Operator)
	case events.OperatorRemoved:
		c.operator(v.Operator)
	case events.SecretSealed:
		c.secret(v.Secret)
	case events.LifetimesDeclared:
		c.lifetimes(v.Lifetimes)
	case events.Noted:
		c.note(v.Note)
	case events.Heartbeat:
		c.required("epoch", string(v.Epoch), maxText)
	case events.BarrierPassed:
	case events.Unknown:
	case nil:
		c.fail("no event in the envelope")
	}
	return c.err
}

func (c *checker) revocation(r events.Revocation) {
	c.uuid("revocation id", string(r.ID))
	c.required("issuer", string(r.Issuer), maxID)
	c.target(r.Kind, r.Target)
	if !r.Kind.Wide() && (!r.Cut.IsZero() || !r.CutTime.IsZero() || r.Scope != events.ScopeSessions) {
		c.fail("a %s revocation has a cut", r.Kind)
	}
	if r.Scope > events.ScopeAccessTokens {
		c.fail("scope of revocation %d", r.Scope)
	}
	if r.Except != "" && r.Kind != events.KindSubject {
		c.fail("a %s revocation excepts a session", r.Kind)
	}
	c.text("excepted session", string(r.Except), maxID)
	c.required("reason", string(r.Reason), maxText)
	c.initiator(r.By)
	c.position("cut", r.Cut)
	c.time("cut time", r.CutTime)
	if r.Until.IsZero() {
		c.fail("a revocation has no expiry")
	}
	c.time("expiry", r.Until)
}

// target checks that what is named fits the kind.
func (c *checker) target(k events.Kind, target string) {
	switch k {
	case events.KindToken, events.KindSession, events.KindSubject, events.KindClient, events.KindKey:
		c.required("target", target, maxID)
	case events.KindAll:
		if target != "" {
			c.fail("a revocation of everything names a target")
		}
	case events.KindUnknown:
		c.fail("kind of revocation is missing")
	default:
		c.fail("kind of revocation %d", k)
	}
}

func (c *checker) cuts(e events.CutsRecorded) {
	if n := len(e.Cuts) + len(e.Lifted); n == 0 || n > maxCuts {
		c.fail("%d cuts and lifts, between 1 and %d", n, maxCuts)
		return
	}
	for _, r := range e.Cuts {
		c.revocation(r)
	}
	for _, l := range e.Lifted {
		c.uuid("revocation id", string(l.ID))
		if l.Until.IsZero() {
			c.fail("a lift has no expiry")
		}
		c.time("expiry", l.Until)
	}
	c.time("deadline", e.Deadline)
}

func (c *checker) lift(l events.Lift) {
	c.uuid("revocation id", string(l.RevocationID))
	c.required("issuer", string(l.Issuer), maxID)
	c.target(l.Kind, l.Target)
	if l.Until.IsZero() {
		c.fail("a lift has no expiry")
	}
	c.time("expiry", l.Until)
	c.bytes("signature", l.Signature, 64)
}

func (c *checker) initiator(i events.Initiator) {
	c.required("initiator role", i.Role, maxText)
	c.text("initiator name", i.Name, maxText)
}

func (c *checker) session(s events.Session) {
	c.uuid("session id", string(s.ID))
	c.required("issuer", string(s.Issuer), maxID)
	c.required("subject", string(s.Subject), maxID)
	c.required("client", string(s.Client), maxID)
	c.text("scope", s.Scope, maxScope)
	c.list("audience", s.Audience)
	c.position("beginning", s.Began)
	c.bytes("salt", s.Salt, 32)
	if len(s.Rotations) > maxRotations {
		c.fail("%d rotations, at most %d", len(s.Rotations), maxRotations)
	}
	for _, r := range s.Rotations {
		if r.Generation >= s.Generation {
			c.fail("generation %d superseded before it was current", r.Generation)
		}
		c.time("rotation time", r.At)
		c.text("successor's key id", string(r.SuccessorKey), maxID)
	}
	c.required("refresh key id", string(s.KeyID), maxID)
	c.text("device id", s.DeviceID, maxText)
	c.text("device name", s.DeviceName, maxText)
	c.bytes("device secret hash", s.DeviceSecretHash, 0, 32)
	c.text("network", s.Network, maxText)
	if s.Replaces != "" {
		c.uuid("session replaced", string(s.Replaces))
	}
	c.text("acr", s.ACR, maxText)
	c.list("amr", s.AMR)
	if s.IdleLimit < 0 {
		c.fail("idle limit is negative")
	}
	c.time("authentication time", s.AuthTime)
	c.time("mint time", s.MintedAt)
	c.time("access expiry", s.AccessExpires)
	c.time("absolute expiry", s.AbsoluteExpires)
	c.time("deadline", s.Deadline)
	if s.Ended != nil {
		c.uuid("revocation id", string(s.Ended.RevocationID))
		c.required("reason", string(s.Ended.Reason), maxText)
		c.initiator(s.Ended.By)
		c.time("ending time", s.Ended.At)
	}
}
