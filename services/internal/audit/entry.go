package audit

import (
	"strconv"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/cloudevent"
	"github.com/revocast/revocast/services/internal/eventstore"
)

// Entry is one thing that happened, as the API shows it. What does not apply is empty.
type Entry struct {
	// Cursor is the entry's place in AUDIT.
	Cursor string `json:"cursor"`
	// At is the broker's time; Type is what kind of event it was, Action what a note
	// is about.
	At     time.Time     `json:"at"`
	Type   string        `json:"type"`
	Action string        `json:"action,omitempty"`
	By     cloudevent.By `json:"by"`

	Issuer     string `json:"issuer,omitempty"`
	Subject    string `json:"subject,omitempty"`
	Session    string `json:"session,omitempty"`
	Client     string `json:"client,omitempty"`
	DeviceID   string `json:"device_id,omitempty"`
	DeviceName string `json:"device_name,omitempty"`
	// Address is where the request came from.
	Address string `json:"address,omitempty"`

	// Kind and ID say what was revoked or lifted, and of which key it speaks.
	RevocationID  string     `json:"revocation_id,omitempty"`
	Kind          string     `json:"kind,omitempty"`
	ID            string     `json:"id,omitempty"`
	Scope         string     `json:"scope,omitempty"`
	ExceptSession string     `json:"except_session,omitempty"`
	ExpiresAt     *time.Time `json:"expires_at,omitempty"`

	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`

	// Position is where it stood in JOURNAL or FEED. SessionAt is where the session
	// began (`ssq`), Cut up to where a revocation reaches.
	Position  string `json:"position,omitempty"`
	SessionAt string `json:"session_at,omitempty"`
	Cut       string `json:"cut,omitempty"`
}

// describe gives the entry of a message; false for what is no news: bookkeeping of
// the issuers', and what is only written again.
func describe(p eventstore.Past) (Entry, bool) {
	e := Entry{
		Cursor: strconv.FormatUint(p.Position.Sequence, 10), At: p.Time.UTC(),
		Type: cloudevent.Of("", p.Envelope).Name(), Position: text(p.Origin),
	}
	switch v := p.Envelope.Event.(type) {
	case events.SessionStarted:
		e.session(v.Session)
		e.By, e.SessionAt = cloudevent.By{Role: "user"}, text(p.Origin)
		e.Detail = beginning(v.Session)
	case events.SessionRefreshed:
		e.session(v.Session)
		e.By = cloudevent.By{Role: "client", Name: string(v.Session.Client)}
	case events.SessionRevoked:
		if v.Session.Ended == nil || p.Rollup {
			return e, false // compacted: it ended before
		}
		e.session(v.Session)
		e.by(v.Session.Ended.By)
		e.RevocationID, e.Reason = string(v.Session.Ended.RevocationID), string(v.Session.Ended.Reason)
	case events.Revoked:
		e.revocation(v.Revocation)
	case events.Lifted:
		e.target(v.Lift.Kind, v.Lift.Issuer, v.Lift.Target)
		e.RevocationID, e.ExpiresAt = string(v.Lift.RevocationID), moment(v.Lift.Until)
	case events.ClientUpdated:
		e.by(v.Client.By)
		e.Client, e.Reason, e.Detail = string(v.Client.ID), string(v.Client.Reason), "enabled"
		if v.Client.Disabled {
			e.Detail = "disabled"
		}
	case events.KeyAdded:
		e.key(v.Key)
	case events.KeyRetired:
		e.key(v.Key)
	case events.Noted:
		e.note(v.Note)
	case events.Unknown:
		e.Detail = "event kind " + strconv.Itoa(int(v.Number)) + ", of a later version"
	case events.CutsRecorded, events.UserRegistered, events.PasswordChanged, events.UserUpdated, events.SecretSealed,
		events.OperatorAdded, events.OperatorRemoved, events.LifetimesDeclared, events.SessionReplayed,
		events.Heartbeat, events.BarrierPassed:
		return e, false // not in AUDIT, or said by another event already
	}
	return e, true
}

func (e *Entry) by(i events.Initiator) { e.By = cloudevent.By{Role: i.Role, Name: i.Name} }

func (e *Entry) session(n events.Session) {
	e.Issuer, e.Subject, e.Session, e.Client = string(n.Issuer), string(n.Subject), string(n.ID), string(n.Client)
	e.DeviceID, e.DeviceName, e.SessionAt = n.DeviceID, n.DeviceName, text(n.Began)
}

func beginning(n events.Session) string {
	s := ""
	if n.NewDevice {
		s = "from a new device"
	}
	if n.Replaces != "" {
		if s != "" {
			s += ", "
		}
		s += "instead of session " + string(n.Replaces)
	}
	return s
}

func (e *Entry) revocation(n events.Revocation) {
	e.by(n.By)
	e.target(n.Kind, n.Issuer, n.Target)
	e.RevocationID, e.Reason, e.ExceptSession = string(n.ID), string(n.Reason), string(n.Except)
	e.ExpiresAt, e.Cut = moment(n.Until), text(n.Cut)
	if n.Kind.Wide() {
		e.Scope = n.Scope.String()
	}
}

// target names what a revocation names, also as what it is, so that whoever asks for a
// session finds its revocation.
func (e *Entry) target(k events.Kind, issuer events.Issuer, target string) {
	e.Kind, e.ID, e.Issuer = k.String(), target, string(issuer)
	switch k {
	case events.KindSubject:
		e.Subject = target
	case events.KindSession:
		e.Session = target
	case events.KindClient:
		e.Client = target
	case events.KindToken, events.KindKey, events.KindAll, events.KindUnknown:
	}
}

func (e *Entry) key(k events.Key) {
	e.Kind, e.ID, e.Issuer = events.KindKey.String(), string(k.ID), string(k.Issuer)
	e.ExpiresAt, e.Detail = moment(k.Until), k.Algorithm
	e.By = cloudevent.By{Role: "policy"}
}

func (e *Entry) note(n events.Note) {
	e.by(n.By)
	e.Action, e.Issuer, e.Subject = string(n.Action), string(n.Issuer), string(n.Subject)
	e.Session, e.Client = string(n.Session), string(n.Client)
	e.DeviceID, e.DeviceName, e.Address, e.Detail = n.DeviceID, n.DeviceName, n.Address, n.Detail
}

func text(p events.Position) string {
	if p.IsZero() {
		return ""
	}
	return p.String()
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
