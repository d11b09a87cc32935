package codec

import (
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/revocast/revocast/events"
	eventsv1 "github.com/revocast/revocast/events/proto/revocast/events/v1"
)

func toProto(e events.Envelope) (*eventsv1.Envelope, error) {
	m := &eventsv1.Envelope{Id: uuidBytes(string(e.ID)), AtMs: millis(e.At)}
	switch v := e.Event.(type) {
	case events.SessionStarted:
		m.Event = &eventsv1.Envelope_SessionStarted{SessionStarted: &eventsv1.SessionStarted{Session: sessionOut(v.Session)}}
	case events.SessionRefreshed:
		m.Event = &eventsv1.Envelope_SessionRefreshed{SessionRefreshed: &eventsv1.SessionRefreshed{Session: sessionOut(v.Session)}}
	case events.SessionRevoked:
		m.Event = &eventsv1.Envelope_SessionRevoked{SessionRevoked: &eventsv1.SessionRevoked{Session: sessionOut(v.Session)}}
	case events.Revoked:
		m.Event = &eventsv1.Envelope_Revoked{Revoked: &eventsv1.Revoked{Revocation: revocationOut(v.Revocation)}}
	case events.CutsRecorded:
		cuts := make([]*eventsv1.Revocation, len(v.Cuts))
		for i, r := range v.Cuts {
			cuts[i] = revocationOut(r)
		}
		m.Event = &eventsv1.Envelope_CutsRecorded{CutsRecorded: &eventsv1.CutsRecorded{
			Cuts: cuts, DeadlineS: unixUp(v.Deadline), Lifted: liftedOut(v.Lifted),
		}}
	case events.Lifted:
		m.Event = &eventsv1.Envelope_Lifted{Lifted: &eventsv1.Lifted{
			RevocationId: uuidBytes(string(v.Lift.RevocationID)), Kind: eventsv1.Kind(v.Lift.Kind),
			Issuer: string(v.Lift.Issuer), Target: v.Lift.Target, UntilS: unixUp(v.Lift.Until), Signature: v.Lift.Signature,
		}}
	case events.UserRegistered:
		m.Event = &eventsv1.Envelope_UserRegistered{UserRegistered: &eventsv1.UserRegistered{User: userOut(v.User)}}
	case events.PasswordChanged:
		m.Event = &eventsv1.Envelope_PasswordChanged{PasswordChanged: &eventsv1.PasswordChanged{User: userOut(v.User)}}
	case events.KeyAdded:
		m.Event = &eventsv1.Envelope_KeyAdded{KeyAdded: &eventsv1.KeyAdded{Key: keyOut(v.Key)}}
	case events.KeyRetired:
		m.Event = &eventsv1.Envelope_KeyRetired{KeyRetired: &eventsv1.KeyRetired{Key: keyOut(v.Key)}}
	case events.Heartbeat:
		m.Event = &eventsv1.Envelope_Heartbeat{Heartbeat: &eventsv1.Heartbeat{Epoch: string(v.Epoch)}}
	case events.BarrierPassed:
		m.Event = &eventsv1.Envelope_BarrierPassed{BarrierPassed: &eventsv1.BarrierPassed{}}
	case events.SessionReplayed, events.UserUpdated, events.ClientUpdated, events.OperatorAdded, events.OperatorRemoved,
		events.SecretSealed, events.LifetimesDeclared, events.Noted:
		realmToProto(m, v)
	case events.Unknown:
		return nil, fmt.Errorf("%w: an event of unknown kind %d cannot be written", ErrInvalid, v.Number)
	}
	return m, nil
}

// fromProto gives nil without error where the oneof is empty or unknown: by this the
// caller tells "unknown" from "known".
func fromProto(m *eventsv1.Envelope) (events.Event, error) {
	switch v := m.GetEvent().(type) {
	case *eventsv1.Envelope_SessionStarted:
		return events.SessionStarted{Session: sessionIn(v.SessionStarted.GetSession())}, nil
	case *eventsv1.Envelope_SessionRefreshed:
		return events.SessionRefreshed{Session: sessionIn(v.SessionRefreshed.GetSession())}, nil
	case *eventsv1.Envelope_SessionRevoked:
		return events.SessionRevoked{Session: sessionIn(v.SessionRevoked.GetSession())}, nil
	case *eventsv1.Envelope_Revoked:
		r := v.Revoked.GetRevocation()
		if r.GetKind() > eventsv1.Kind_KIND_ALL || r.GetScope() > eventsv1.Scope_SCOPE_ACCESS_TOKENS {
			return unknownBody(m, v.Revoked)
		}
		return events.Revoked{Revocation: revocationIn(r)}, nil
	case *eventsv1.Envelope_CutsRecorded:
		var cuts []events.Revocation
		for _, r := range v.CutsRecorded.GetCuts() {
			if len(cuts) > maxCuts {
				break // validate refuses it
			}
			cuts = append(cuts, revocationIn(r))
		}
		return events.CutsRecorded{
			Cuts: cuts, Lifted: liftedIn(v.CutsRecorded.GetLifted()), Deadline: fromUnix(v.CutsRecorded.GetDeadlineS()),
		}, nil
	case *eventsv1.Envelope_Lifted:
		l := v.Lifted
		if l.GetKind() > eventsv1.Kind_KIND_ALL {
			return unknownBody(m, l)
		}
		return events.Lifted{Lift: events.Lift{
			RevocationID: events.RevocationID(uuidText(l.GetRevocationId())), Kind: kindIn(l.GetKind()),
			Issuer: events.Issuer(l.GetIssuer()), Target: l.GetTarget(), Until: fromUnix(l.GetUntilS()), Signature: l.GetSignature(),
		}}, nil
	case *eventsv1.Envelope_UserRegistered:
		return events.UserRegistered{User: userIn(v.UserRegistered.GetUser())}, nil
	case *eventsv1.Envelope_PasswordChanged:
		return events.PasswordChanged{User: userIn(v.PasswordChanged.GetUser())}, nil
	case *eventsv1.Envelope_KeyAdded:
		return events.KeyAdded{Key: keyIn(v.KeyAdded.GetKey())}, nil
	case *eventsv1.Envelope_KeyRetired:
		return events.KeyRetired{Key: keyIn(v.KeyRetired.GetKey())}, nil
	case *eventsv1.Envelope_Heartbeat:
		return events.Heartbeat{Epoch: events.Epoch(v.Heartbeat.GetEpoch())}, nil
	case *eventsv1.Envelope_BarrierPassed:
		return events.BarrierPassed{}, nil
	}
	return realmFromProto(m), nil
}

// unknownBody keeps an event whose kind of revocation came after this version.
func unknownBody(m *eventsv1.Envelope, body proto.Message) (events.Event, error) {
	raw, err := proto.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	oneof := m.ProtoReflect().Descriptor().Oneofs().ByName("event")
	number := m.ProtoReflect().WhichOneof(oneof).Number()
	return events.Unknown{Number: int32(number), Raw: raw}, nil
}

func revocationOut(r events.Revocation) *eventsv1.Revocation {
	m := &eventsv1.Revocation{
		Id: uuidBytes(string(r.ID)), Kind: eventsv1.Kind(r.Kind), Issuer: string(r.Issuer), Target: r.Target,
		CutTimeS: unix(r.CutTime), ExceptSession: string(r.Except), Reason: string(r.Reason),
		By: initiatorOut(r.By), UntilS: unixUp(r.Until),
	}
	if !r.Cut.IsZero() {
		m.Cut = positionOut(r.Cut)
	}
	if r.Kind.Wide() {
		m.Scope = eventsv1.Scope(r.Scope) + eventsv1.Scope_SCOPE_SESSIONS
	}
	return m
}

func revocationIn(m *eventsv1.Revocation) events.Revocation {
	r := events.Revocation{
		ID: events.RevocationID(uuidText(m.GetId())), Kind: kindIn(m.GetKind()), Issuer: events.Issuer(m.GetIssuer()),
		Target: m.GetTarget(), Cut: positionIn(m.GetCut()), CutTime: fromUnix(m.GetCutTimeS()),
		Except: events.SessionID(m.GetExceptSession()), Reason: events.Reason(m.GetReason()),
		By: initiatorIn(m.GetBy()), Until: fromUnix(m.GetUntilS()),
	}
	if m.GetScope() == eventsv1.Scope_SCOPE_ACCESS_TOKENS {
		r.Scope = events.ScopeAccessTokens
	}
	return r
}

func kindIn(k eventsv1.Kind) events.Kind {
	if k < 0 || k > eventsv1.Kind_KIND_ALL {
		return events.KindUnknown
	}
	return events.Kind(k)
}

func positionOut(p events.Position) *eventsv1.Position {
	return &eventsv1.Position{Shard: uint32(p.Shard), Sequence: p.Sequence}
}

func positionIn(m *eventsv1.Position) events.Position {
	if m.GetShard() > math.MaxUint16 {
		return events.Position{Sequence: math.MaxUint64} // validate refuses it
	}
	return events.Position{Shard: uint16(m.GetShard()), Sequence: m.GetSequence()} //nolint:gosec // checked above
}

func initiatorOut(i events.Initiator) *eventsv1.Initiator {
	return &eventsv1.Initiator{Role: i.Role, Name: i.Name}
}

func initiatorIn(m *eventsv1.Initiator) events.Initiator {
	return events.Initiator{Role: m.GetRole(), Name: m.GetName()}
}

func sessionOut(s events.Session) *eventsv1.Session {
	m := &eventsv1.Session{
		Id: string(s.ID), Issuer: string(s.Issuer), Subject: string(s.Subject), Client: string(s.Client),
		Scope: s.Scope, Audience: s.Audience, Salt: s.Salt, Generation: s.Generation, KeyId: string(s.KeyID),
		DeviceId: s.DeviceID, DeviceName: s.DeviceName, DeviceSecretHash: s.DeviceSecretHash,
		AuthTimeS: unix(s.AuthTime), Acr: s.ACR, Amr: s.AMR, MintedAtS: unix(s.MintedAt),
		AccessExpiresS: unixUp(s.AccessExpires), IdleLimitS: int64(s.IdleLimit / time.Second),
		AbsoluteExpiresS: unix(s.AbsoluteExpires), DeadlineS: unixUp(s.Deadline), CredentialVersion: s.CredentialVersion,
		ReplayStreak: s.ReplayStreak, Network: s.Network, NewDevice: s.NewDevice, Replaces: string(s.Replaces),
	}
	if !s.Began.IsZero() {
		m.Began = positionOut(s.Began)
	}
	for _, r := range s.Rotations {
		m.Rotations = append(m.Rotations, &eventsv1.Rotation{
			Generation: r.Generation, AtNs: r.At.UnixNano(), SuccessorKeyId: string(r.SuccessorKey),
		})
	}
	if e := s.Ended; e != nil {
		m.Ended = &eventsv1.Ending{
			RevocationId: uuidBytes(string(e.RevocationID)), Reason: string(e.Reason),
			By: initiatorOut(e.By), AtS: unix(e.At),
		}
	}
	return m
}

func sessionIn(m *eventsv1.Session) events.Session {
	s := events.Session{
		ID: events.SessionID(m.GetId()), Issuer: events.Issuer(m.GetIssuer()), Subject: events.Subject(m.GetSubject()),
		Client: events.ClientID(m.GetClient()), Scope: m.GetScope(), Audience: m.GetAudience(), Began: positionIn(m.GetBegan()),
		Salt: m.GetSalt(), Generation: m.GetGeneration(), KeyID: events.KeyID(m.GetKeyId()),
		DeviceID: m.GetDeviceId(), DeviceName: m.GetDeviceName(), DeviceSecretHash: m.GetDeviceSecretHash(),
		AuthTime: fromUnix(m.GetAuthTimeS()), ACR: m.GetAcr(), AMR: m.GetAmr(), MintedAt: fromUnix(m.GetMintedAtS()),
		AccessExpires: fromUnix(m.GetAccessExpiresS()), IdleLimit: seconds(m.GetIdleLimitS()),
		AbsoluteExpires: fromUnix(m.GetAbsoluteExpiresS()), Deadline: fromUnix(m.GetDeadlineS()),
		CredentialVersion: m.GetCredentialVersion(), ReplayStreak: m.GetReplayStreak(), Network: m.GetNetwork(),
		NewDevice: m.GetNewDevice(), Replaces: events.SessionID(m.GetReplaces()),
	}
	for _, r := range m.GetRotations() {
		if len(s.Rotations) > maxRotations {
			break // validate refuses it
		}
		s.Rotations = append(s.Rotations, events.Rotation{
			Generation: r.GetGeneration(), At: time.Unix(0, r.GetAtNs()).UTC(), SuccessorKey: events.KeyID(r.GetSuccessorKeyId()),
		})
	}
	if e := m.GetEnded(); e != nil {
		s.Ended = &events.Ending{
			RevocationID: events.RevocationID(uuidText(e.GetRevocationId())), Reason: events.Reason(e.GetReason()),
			By: initiatorIn(e.GetBy()), At: fromUnix(e.GetAtS()),
		}
	}
	return s
}

// seconds saturates instead of overflowing on hostile input.
func seconds(n int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Second)
	return time.Duration(max(min(n, most), -1)) * time.Second
}

// secondsUp makes a whole second of one that has begun.
func secondsUp(d time.Duration) int64 {
	n := int64(d / time.Second)
	if d%time.Second > 0 {
		n++
	}
	return n
}

func userOut(u events.User) *eventsv1.User {
	return &eventsv1.User{
		Subject: string(u.Subject), Username: u.Username, PasswordHash: u.PasswordHash,
		Roles: u.Roles, Disabled: u.Disabled, Version: u.Version, Spared: string(u.Spared), Entails: entailsOut(u.Entails),
	}
}

func userIn(m *eventsv1.User) events.User {
	return events.User{
		Subject: events.Subject(m.GetSubject()), Username: m.GetUsername(), PasswordHash: m.GetPasswordHash(),
		Roles: m.GetRoles(), Disabled: m.GetDisabled(), Version: m.GetVersion(), Spared: events.SessionID(m.GetSpared()),
		Entails: entailsIn(m.GetEntails()),
	}
}
