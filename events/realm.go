package events

import "time"

// Client is what the journal says about an OAuth client; the rest of it is the
// issuers' configuration.
type Client struct {
	ID ClientID
	// Disabled: it gets no tokens until it is enabled again.
	Disabled bool
	Reason   Reason
	By       Initiator
	// Entails is as in [User].
	Entails *Revocation
}

// Operator is somebody who may use the admin API.
type Operator struct {
	// Name is unique in the realm; it stands in the audit.
	Name string
	// Role is "viewer", "support" or "operator".
	Role string
	// TokenHash is SHA-256 of the operator's token (256 random bits, so a plain
	// hash hides it); empty for one who has a certificate instead.
	TokenHash []byte
	// Certificate: a client certificate whose common name is Name will do.
	Certificate bool
	// Expires ends it; never zero.
	Expires time.Time
	// By is who added or removed the operator.
	By Initiator
}

// Secret is the secret half of a key, sealed under a key that the journal does not
// hold: what a copy of the journal shows of it is nothing.
type Secret struct {
	ID KeyID
	// Use is "sign" for access tokens, "mac" for refresh tokens.
	Use       string
	Algorithm string
	// Sealed is nonce and ciphertext (AES-256-GCM), bound to ID, Use and Algorithm.
	Sealed []byte
	// Since is when it may first be used, Retired when it was last the current
	// one; zero while it is.
	Since, Retired time.Time
}

// Lifetime is one lifetime of access tokens that issuers have been giving.
type Lifetime struct {
	TTL time.Duration
	// Since is from when it may be given: later than the declaration where it is
	// longer than all before it, so that whoever revokes knows of it by then.
	Since time.Time
	// Seen is until when issuers may be giving it.
	Seen time.Time
}

// Replay is a superseded refresh token, presented once more.
type Replay struct {
	Session SessionID
	// Generation is the one that had been superseded last, as far as was known.
	Generation uint64
	// Count is how often it or an earlier one was presented since, this time
	// included. Callers that come at the same moment may count as one.
	Count uint32
}

// LiftedRevocation is a revocation taken back.
type LiftedRevocation struct {
	ID RevocationID
	// Until is as in [Lift].
	Until time.Time
}

// Note is something that happened and changed no state: what an operator asked
// for, a refusal worth knowing of, a device not seen before.
type Note struct {
	Action  Action
	By      Initiator
	Issuer  Issuer
	Subject Subject
	Session SessionID
	Client  ClientID
	// DeviceID and DeviceName are as the client gave them.
	DeviceID   string
	DeviceName string
	// Address is where the request came from; empty if nowhere is known.
	Address string
	// Detail says more, in words; never a credential.
	Detail string
}

// Action is what a note is about, a short code.
type Action string

// What Revocast notes of sessions. Operators' actions are called "operator." and
// the method and pattern of the endpoint they used.
const (
	ActionLoginFailed       Action = "login_failed"
	ActionLoginThrottled    Action = "login_throttled"
	ActionNewDevice         Action = "new_device"
	ActionConcurrentRefresh Action = "concurrent_refresh"
	ActionLostResponse      Action = "lost_response"
	ActionReplayRefused     Action = "replay_refused"
	ActionReplaySuspected   Action = "replay_suspected"
	ActionProofMissing      Action = "proof_missing"
	ActionStepUpRequired    Action = "step_up_required"
	ActionSessionRefused    Action = "session_limit_refused"
)
