package events

import "time"

// Event is one fact, past tense. The set is closed: a switch over it names every
// member, so adding one makes each reader decide what it means.
//
//sumtype:decl
type Event interface{ event() }

// Envelope is an event with what identifies it.
type Envelope struct {
	// ID is the message id on the wire and stays the same however often the
	// event is published or delivered.
	ID EventID
	// At is when the issuer's command began, by the issuer's own clock. It
	// informs; order and windows come from positions and broker timestamps.
	At time.Time
	// Event is never nil in an envelope that the codec has accepted.
	Event Event
}

// The members of the sum.
type (
	// SessionStarted opens a session; generation 0 of its refresh token.
	SessionStarted struct{ Session Session }
	// SessionRefreshed rotates the refresh token by exactly one generation.
	SessionRefreshed struct{ Session Session }
	// SessionRevoked ends a session for good; Session.Ended says why.
	SessionRevoked struct{ Session Session }

	// Revoked denies what its revocation names: the feed's main event.
	Revoked struct{ Revocation Revocation }
	// CutsRecorded is the journal's record of the revocations in force for one
	// token, subject, client, key or for everyone: all but a session's, which
	// are that session's end.
	CutsRecorded struct {
		Cuts []Revocation
		// Lifted are revocations taken back, remembered for as long as anything
		// could bring them again.
		Lifted []LiftedRevocation
		// Deadline is when the broker may forget them: after every session that
		// existed at the newest cut. Zero: never.
		Deadline time.Time
	}
	// Lifted takes one revocation back. Only with the realm root's signature
	// does it mean anything, since it allows.
	Lifted struct{ Lift Lift }

	// UserRegistered creates a user.
	UserRegistered struct{ User User }
	// PasswordChanged replaces a user's password hash.
	PasswordChanged struct{ User User }

	// UserUpdated changes roles, whether the user may log in, or how the password is
	// hashed; not the password.
	UserUpdated struct{ User User }
	// ClientUpdated says whether a client may be used.
	ClientUpdated struct{ Client Client }

	// KeyAdded publishes a signing key, KeyRetired withdraws one.
	KeyAdded struct{ Key Key }
	// KeyRetired says that nothing new is signed with the key.
	KeyRetired struct{ Key Key }
	// SecretSealed keeps the secret half of a key where every issuer finds it.
	SecretSealed struct{ Secret Secret }

	// OperatorAdded lets somebody use the admin API; OperatorRemoved no longer.
	OperatorAdded struct{ Operator Operator }
	// OperatorRemoved ends what OperatorAdded began.
	OperatorRemoved struct{ Operator Operator }

	// LifetimesDeclared says how long access tokens may still live.
	LifetimesDeclared struct{ Lifetimes []Lifetime }

	// SessionReplayed says that a superseded refresh token was presented. It is
	// the barrier behind which that is judged, and changes nothing.
	SessionReplayed struct{ Replay Replay }

	// Noted puts on record what changes no state. It stands in AUDIT alone.
	Noted struct{ Note Note }

	// Heartbeat is what the server itself publishes to the feed every second.
	// Seen without a gap, it proves that everything before it has been seen.
	Heartbeat struct{ Epoch Epoch }
	// BarrierPassed is an append made only for its position and its time.
	BarrierPassed struct{}

	// Unknown is an event of a kind that this version does not know. It is a
	// value, not an error: each reader says what not knowing means to it.
	Unknown struct {
		// Number is the kind's field number in the schema.
		Number int32
		// Raw is the undecoded body. The receiver owns it.
		Raw []byte
	}
)

func (SessionStarted) event()    {}
func (SessionRefreshed) event()  {}
func (SessionRevoked) event()    {}
func (Revoked) event()           {}
func (CutsRecorded) event()      {}
func (Lifted) event()            {}
func (UserRegistered) event()    {}
func (PasswordChanged) event()   {}
func (UserUpdated) event()       {}
func (ClientUpdated) event()     {}
func (KeyAdded) event()          {}
func (KeyRetired) event()        {}
func (SecretSealed) event()      {}
func (OperatorAdded) event()     {}
func (OperatorRemoved) event()   {}
func (LifetimesDeclared) event() {}
func (SessionReplayed) event()   {}
func (Noted) event()             {}
func (Heartbeat) event()         {}
func (BarrierPassed) event()     {}
func (Unknown) event()           {}

// Reason is a short machine-readable code, lower case with underscores. The
// constants are those Revocast itself gives; operators may give others.
type Reason string

// Reasons that Revocast gives by itself.
const (
	ReasonLogout         Reason = "logout"
	ReasonLogoutOthers   Reason = "logout_others"
	ReasonLogoutAll      Reason = "logout_everywhere"
	ReasonTokenReuse     Reason = "refresh_token_reuse"
	ReasonPasswordChange Reason = "password_change"
	ReasonAdmin          Reason = "administrator"
	ReasonClientRequest  Reason = "client_request"
	ReasonStaleLogin     Reason = "credentials_changed_during_login"
	ReasonIdle           Reason = "idle_limit"
	ReasonSessionLimit   Reason = "session_limit"
	ReasonStepUp         Reason = "step_up"
	ReasonUserDisabled   Reason = "user_disabled"
	ReasonClientDisabled Reason = "client_disabled"
	ReasonRolesChanged   Reason = "roles_changed"
	ReasonPasswordReset  Reason = "password_reset"
)

// Initiator says who caused an event.
type Initiator struct {
	// Role is who asked: "user", "client", "operator" or "policy" (CAEP 1.0
	// section 2 has the same idea as initiating_entity).
	Role string
	// Name tells one operator or client from another; empty for users, whose
	// subject the event already carries.
	Name string
}

// Revocation is one entry of the denylist.
type Revocation struct {
	ID     RevocationID
	Kind   Kind
	Issuer Issuer
	// Target is the jti, sid, sub, client_id or kid, as Kind says; empty for all.
	Target string
	// Cut spares what came after it: tokens whose session began (or which were
	// minted, see Scope) beyond this position. Zero spares nothing. Wide kinds.
	Cut Position
	// CutTime is the same for tokens that carry no position (other issuers'):
	// compared inclusively with auth_time, else iat, in whole seconds. Zero
	// spares nothing.
	CutTime time.Time
	Scope   Scope
	// Except is a session that a subject's revocation spares; empty for none.
	Except SessionID
	Reason Reason
	By     Initiator
	// Until is when the last token this can deny could no longer be accepted
	// anywhere, leeway and clock skew included.
	Until time.Time
}

// Lift takes a revocation back.
type Lift struct {
	RevocationID RevocationID
	// Kind, Issuer and Target repeat what the revocation named, so that a
	// reader finds it without a search.
	Kind   Kind
	Issuer Issuer
	Target string
	// Until is how long the lift itself must be remembered: as long as any
	// redelivery of the revocation could bring it back.
	Until time.Time
	// Signature is by the realm's root key over the other fields (package
	// codec, SignedLift). Ed25519, 64 bytes.
	Signature []byte
}

// Session is the whole state of one login, as of the event that carries it.
//
// Positions and broker times of the carrying message itself cannot be in it:
// they exist only once it is stored. A reader takes them from the record.
type Session struct {
	ID       SessionID
	Issuer   Issuer
	Subject  Subject
	Client   ClientID
	Scope    string
	Audience []string

	// Began is the position of SessionStarted (`ssq`). Zero in that very event.
	Began Position

	// Salt, 32 random bytes, goes into the MAC of every refresh token of this
	// session. Without the issuer's key it forges nothing, and the key forges
	// nothing without it.
	Salt []byte
	// Generation counts rotations; only its refresh token is current.
	Generation uint64
	// Rotations are the earlier generations still inside the grace window, at
	// most eight, oldest first.
	Rotations []Rotation
	// KeyID is the refresh-token MAC key of the current generation.
	KeyID KeyID

	// DeviceID and DeviceName are what the client said about itself: hints.
	DeviceID   string
	DeviceName string
	// Network stands for the network that the session was opened or last
	// refreshed from: a keyed hash of the address's prefix, a hint. Empty where
	// the address is not known.
	Network string
	// NewDevice says that no session of the user had this device id before,
	// though there were sessions.
	NewDevice bool
	// Replaces is the session that this one took over from by a step-up.
	Replaces SessionID
	// ReplayStreak is how many generations in a row were presented again after
	// they had been superseded, up to the last one.
	ReplayStreak uint32
	// DeviceSecretHash is SHA-256 of the device secret (128 random bits or
	// more, so a plain hash hides it); empty if none was given.
	DeviceSecretHash []byte

	AuthTime time.Time
	ACR      string
	AMR      []string
	// CredentialVersion is the version of the user's credential that opened the
	// session.
	CredentialVersion uint64

	// MintedAt is the `iat` given with the current generation; a replay gives
	// the same. AccessExpires is the greatest `exp` minted for the session.
	MintedAt      time.Time
	AccessExpires time.Time
	// IdleLimit is how long an unused refresh token lives; AbsoluteExpires ends
	// the session however busy it is (zero: never).
	IdleLimit       time.Duration
	AbsoluteExpires time.Time
	// Deadline is when the broker may forget this message: no later message of
	// the session may expire before it.
	Deadline time.Time

	// Ended is nil while the session lives.
	Ended *Ending
}

// Rotation remembers when a generation was superseded, in broker time.
type Rotation struct {
	Generation uint64
	At         time.Time
	// SuccessorKey is the MAC key of the generation that came next: what is replayed
	// is derived again as it was, whichever key has come into use meanwhile. Empty in
	// records from before keys were rotated.
	SuccessorKey KeyID
}

// Ending says how a session ended.
type Ending struct {
	RevocationID RevocationID
	Reason       Reason
	By           Initiator
	At           time.Time
}

// User is the whole state of one user.
type User struct {
	Subject  Subject
	Username string
	// PasswordHash is in PHC string format (argon2id).
	PasswordHash string
	Roles        []string
	Disabled     bool
	// Version grows by one with every change that ends the user's sessions: a new
	// password, and being disabled. A session opened under an earlier one is over,
	// unless Spared names it.
	Version uint64
	// Spared is the session from which the password was changed, if that was the
	// last change of Version; empty otherwise.
	Spared SessionID
	// Entails is the revocation that follows from the very change that carries it;
	// nil for none. It has no cut: that is the change's own position.
	Entails *Revocation
}

// Key is the public half of a signing key.
type Key struct {
	ID KeyID
	// Issuer is whose tokens it signs; a key is good for no other.
	Issuer    Issuer
	Algorithm string
	// JWK is the public key as a JSON Web Key (RFC 7517).
	JWK []byte
	// NotBefore is when the first token may be signed with it, so that verifiers
	// know it by then.
	NotBefore time.Time
	// Until is when no token signed with it can be accepted any more. In the journal
	// it is zero until the key is retired. In an announcement on the feed it is never
	// zero: a later announcement extends it, and an old one that somebody repeats
	// allows nothing that is over.
	Until time.Time
	// Signature is by the realm's root key; empty inside the journal.
	Signature []byte
}
