package codec

import (
	"github.com/revocast/revocast/events"
	eventsv1 "github.com/revocast/revocast/events/proto/revocast/events/v1"
)

// realmToProto writes the events about a realm's users, clients, operators and
// keys into m, and nothing for any other.
func realmToProto(m *eventsv1.Envelope, e events.Event) {
	switch v := e.(type) { //nolint:gochecksumtype // toProto names the others
	case events.SessionReplayed:
		m.Event = &eventsv1.Envelope_SessionReplayed{SessionReplayed: &eventsv1.SessionReplayed{
			Session: string(v.Replay.Session), Generation: v.Replay.Generation, Count: v.Replay.Count,
		}}
	case events.UserUpdated:
		m.Event = &eventsv1.Envelope_UserUpdated{UserUpdated: &eventsv1.UserUpdated{User: userOut(v.User)}}
	case events.ClientUpdated:
		m.Event = &eventsv1.Envelope_ClientUpdated{ClientUpdated: &eventsv1.ClientUpdated{Client: &eventsv1.Client{
			Id: string(v.Client.ID), Disabled: v.Client.Disabled, Reason: string(v.Client.Reason), By: initiatorOut(v.Client.By),
			Entails: entailsOut(v.Client.Entails),
		}}}
	case events.OperatorAdded:
		m.Event = &eventsv1.Envelope_OperatorAdded{OperatorAdded: &eventsv1.OperatorAdded{Operator: operatorOut(v.Operator)}}
	case events.OperatorRemoved:
		m.Event = &eventsv1.Envelope_OperatorRemoved{OperatorRemoved: &eventsv1.OperatorRemoved{Operator: operatorOut(v.Operator)}}
	case events.SecretSealed:
		m.Event = &eventsv1.Envelope_SecretSealed{SecretSealed: &eventsv1.SecretSealed{
			Id: string(v.Secret.ID), Use: v.Secret.Use, Algorithm: v.Secret.Algorithm, Sealed: v.Secret.Sealed,
			SinceS: unix(v.Secret.Since), RetiredS: unixUp(v.Secret.Retired),
		}}
	case events.LifetimesDeclared:
		list := make([]*eventsv1.Lifetime, len(v.Lifetimes))
		for i, l := range v.Lifetimes {
			list[i] = &eventsv1.Lifetime{TtlS: secondsUp(l.TTL), SinceS: unixUp(l.Since), SeenS: unixUp(l.Seen)}
		}
		m.Event = &eventsv1.Envelope_LifetimesDeclared{LifetimesDeclared: &eventsv1.LifetimesDeclared{Lifetimes: list}}
	case events.Noted:
		n := v.Note
		m.Event = &eventsv1.Envelope_Noted{Noted: &eventsv1.Noted{
			Action: string(n.Action), By: initiatorOut(n.By), Issuer: string(n.Issuer), Subject: string(n.Subject),
			Session: string(n.Session), Client: string(n.Client), DeviceId: n.DeviceID, DeviceName: n.DeviceName,
			Address: n.Address, Detail: n.Detail,
		}}
	}
}

// realmFromProto is the inverse; nil for an event of a kind that this version does
// not know.
func realmFromProto(m *eventsv1.Envelope) events.Event {
	switch v := m.GetEvent().(type) {
	case *eventsv1.Envelope_SessionReplayed:
		r := v.SessionReplayed
		return events.SessionReplayed{Replay: events.Replay{
			Session: events.SessionID(r.GetSession()), Generation: r.GetGeneration(), Count: r.GetCount(),
		}}
	case *eventsv1.Envelope_UserUpdated:
		return events.UserUpdated{User: userIn(v.UserUpdated.GetUser())}
	case *eventsv1.Envelope_ClientUpdated:
		c := v.ClientUpdated.GetClient()
		return events.ClientUpdated{Client: events.Client{
			ID: events.ClientID(c.GetId()), Disabled: c.GetDisabled(), Reason: events.Reason(c.GetReason()), By: initiatorIn(c.GetBy()),
			Entails: entailsIn(c.GetEntails()),
		}}
	case *eventsv1.Envelope_OperatorAdded:
		return events.OperatorAdded{Operator: operatorIn(v.OperatorAdded.GetOperator())}
	case *eventsv1.Envelope_OperatorRemoved:
		return events.OperatorRemoved{Operator: operatorIn(v.OperatorRemoved.GetOperator())}
	case *eventsv1.Envelope_SecretSealed:
		s := v.SecretSealed
		return events.SecretSealed{Secret: events.Secret{
			ID: events.KeyID(s.GetId()), Use: s.GetUse(), Algorithm: s.GetAlgorithm(), Sealed: s.GetSealed(),
			Since: fromUnix(s.GetSinceS()), Retired: fromUnix(s.GetRetiredS()),
		}}
	case *eventsv1.Envelope_LifetimesDeclared:
		var list []events.Lifetime
		for _, l := range v.LifetimesDeclared.GetLifetimes() {
			if len(list) > maxList {
				break // validate refuses it
			}
			list = append(list, events.Lifetime{TTL: seconds(l.GetTtlS()), Since: fromUnix(l.GetSinceS()), Seen: fromUnix(l.GetSeenS())})
		}
		return events.LifetimesDeclared{Lifetimes: list}
	case *eventsv1.Envelope_Noted:
		n := v.Noted
		return events.Noted{Note: events.Note{
			Action: events.Action(n.GetAction()), By: initiatorIn(n.GetBy()), Issuer: events.Issuer(n.GetIssuer()),
			Subject: events.Subject(n.GetSubject()), Session: events.SessionID(n.GetSession()), Client: events.ClientID(n.GetClient()),
			DeviceID: n.GetDeviceId(), DeviceName: n.GetDeviceName(), Address: n.GetAddress(), Detail: n.GetDetail(),
		}}
	}
	return nil
}

func entailsOut(r *events.Revocation) *eventsv1.Revocation {
	if r == nil {
		return nil
	}
	return revocationOut(*r)
}

func entailsIn(m *eventsv1.Revocation) *events.Revocation {
	if m == nil {
		return nil
	}
	r := revocationIn(m)
	return &r
}

func operatorOut(o events.Operator) *eventsv1.Operator {
	return &eventsv1.Operator{
		Name: o.Name, Role: o.Role, TokenHash: o.TokenHash, Certificate: o.Certificate,
		ExpiresS: unix(o.Expires), By: initiatorOut(o.By),
	}
}

func operatorIn(m *eventsv1.Operator) events.Operator {
	return events.Operator{
		Name: m.GetName(), Role: m.GetRole(), TokenHash: m.GetTokenHash(), Certificate: m.GetCertificate(),
		Expires: fromUnix(m.GetExpiresS()), By: initiatorIn(m.GetBy()),
	}
}

func liftedOut(list []events.LiftedRevocation) []*eventsv1.LiftedRevocation {
	var out []*eventsv1.LiftedRevocation
	for _, l := range list {
		out = append(out, &eventsv1.LiftedRevocation{Id: uuidBytes(string(l.ID)), UntilS: unixUp(l.Until)})
	}
	return out
}

func liftedIn(list []*eventsv1.LiftedRevocation) []events.LiftedRevocation {
	var in []events.LiftedRevocation
	for _, l := range list {
		if len(in) > maxCuts {
			break // validate refuses it
		}
		in = append(in, events.LiftedRevocation{ID: events.RevocationID(uuidText(l.GetId())), Until: fromUnix(l.GetUntilS())})
	}
	return in
}

func keyOut(k events.Key) *eventsv1.Key {
	return &eventsv1.Key{
		Id: string(k.ID), Issuer: string(k.Issuer), Algorithm: k.Algorithm, Jwk: k.JWK, Signature: k.Signature,
		NotBeforeS: unixUp(k.NotBefore), UntilS: unixUp(k.Until),
	}
}

func keyIn(m *eventsv1.Key) events.Key {
	return events.Key{
		ID: events.KeyID(m.GetId()), Issuer: events.Issuer(m.GetIssuer()), Algorithm: m.GetAlgorithm(), JWK: m.GetJwk(),
		Signature: m.GetSignature(), NotBefore: fromUnix(m.GetNotBeforeS()), Until: fromUnix(m.GetUntilS()),
	}
}
