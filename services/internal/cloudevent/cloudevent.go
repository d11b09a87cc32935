// Package cloudevent gives events the JSON form that people and scripts see:
// CloudEvents 1.0 in structured mode, with this project's own data. `revocast watch
// -o json` prints it, one object a line.
//
// The names inside data are those of the admin API.
//
// Invariants:
//
//   - What only issuers may know of a session, a user or a key has no JSON form: of
//     an event that carries it, only the type shows.
package cloudevent

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
)

// Event is one event. Data is nil where there is nothing to show.
type Event struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Type        string    `json:"type"`
	Time        time.Time `json:"time"`
	// Cursor is an extension: where to go on from behind this event.
	Cursor string `json:"cursor,omitempty"`
	Data   any    `json:"data,omitempty"`
}

// Revoked is the data of a revocation.
type Revoked struct {
	RevocationID string `json:"revocation_id"`
	Kind         string `json:"kind"`
	ID           string `json:"id,omitempty"`
	Issuer       string `json:"issuer"`
	// Scope, Cut and CutTime say what a wide revocation spares.
	Scope         string     `json:"scope,omitempty"`
	Cut           string     `json:"cut,omitempty"`
	CutTime       *time.Time `json:"cut_time,omitempty"`
	ExceptSession string     `json:"except_session,omitempty"`
	Reason        string     `json:"reason"`
	By            By         `json:"by"`
	ExpiresAt     time.Time  `json:"expires_at"`
}

// By is who caused an event.
type By struct {
	Role string `json:"role"`
	Name string `json:"name,omitempty"`
}

// Lifted is the data of a revocation taken back.
type Lifted struct {
	RevocationID string    `json:"revocation_id"`
	Kind         string    `json:"kind"`
	ID           string    `json:"id,omitempty"`
	Issuer       string    `json:"issuer"`
	ExpiresAt    time.Time `json:"expires_at"`
}

// Key is the data of a signing key added or retired: its public half.
type Key struct {
	ID        string          `json:"kid"`
	Algorithm string          `json:"alg"`
	JWK       json.RawMessage `json:"jwk,omitempty"`
}

// Unknown is the data of an event whose kind this version does not know.
type Unknown struct {
	Number int32 `json:"number"`
}

// Of gives the JSON form of an envelope from the given realm, without a cursor.
func Of(realm subject.Realm, e events.Envelope) Event {
	name, data := describe(e.Event)
	return Event{
		SpecVersion: "1.0", ID: string(e.ID), Source: "/revocast/" + string(realm),
		Type: prefix + name + suffix, Time: e.At.UTC(), Data: data,
	}
}

const prefix, suffix = "revocast.", ".v1"

// Name is the type without what all types have in common.
func (e Event) Name() string {
	return strings.TrimSuffix(strings.TrimPrefix(e.Type, prefix), suffix)
}

func describe(e events.Event) (name string, data any) {
	switch e := e.(type) {
	case events.Revoked:
		return "revoked", revoked(e.Revocation)
	case events.Lifted:
		l := e.Lift
		return "lifted", Lifted{string(l.RevocationID), l.Kind.String(), l.Target, string(l.Issuer), l.Until.UTC()}
	case events.KeyAdded:
		return "key_added", key(e.Key)
	case events.KeyRetired:
		return "key_retired", key(e.Key)
	case events.Unknown:
		return "unknown", Unknown{e.Number}
	case events.SessionStarted:
		return "session_started", nil
	case events.SessionRefreshed:
		return "session_refreshed", nil
	case events.SessionRevoked:
		return "session_revoked", nil
	case events.CutsRecorded:
		return "cuts_recorded", nil
	case events.UserRegistered:
		return "user_registered", nil
	case events.PasswordChanged:
		return "password_changed", nil
	case events.UserUpdated:
		return "user_updated", nil
	case events.ClientUpdated:
		return "client_updated", nil
	case events.OperatorAdded:
		return "operator_added", nil
	case events.OperatorRemoved:
		return "operator_removed", nil
	case events.SecretSealed:
		return "secret_sealed", nil
	case events.LifetimesDeclared:
		return "lifetimes_declared", nil
	case events.SessionReplayed:
		return "session_replayed", nil
	case events.Noted:
		return "noted", nil
	case events.Heartbeat:
		return "heartbeat", nil
	case events.BarrierPassed:
		return "barrier_passed", nil
	}
	return "unknown", nil
}

func revoked(n events.Revocation) Revoked {
	r := Revoked{
		RevocationID: string(n.ID), Kind: n.Kind.String(), ID: n.Target, Issuer: string(n.Issuer),
		ExceptSession: string(n.Except), Reason: string(n.Reason),
		By: By{n.By.Role, n.By.Name}, ExpiresAt: n.Until.UTC(),
	}
	if n.Kind.Wide() {
		r.Scope = n.Scope.String()
	}
	if !n.Cut.IsZero() {
		r.Cut = n.Cut.String()
	}
	if !n.CutTime.IsZero() {
		at := n.CutTime.UTC()
		r.CutTime = &at
	}
	return r
}

// key leaves out a JWK that is not JSON, so that the whole always encodes.
func key(k events.Key) Key {
	shown := Key{ID: string(k.ID), Algorithm: k.Algorithm}
	if json.Valid(k.JWK) {
		shown.JWK = k.JWK
	}
	return shown
}
