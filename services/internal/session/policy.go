package session

import "time"

// OnReplay says what a replay gives to a client that proves nothing.
type OnReplay uint8

const (
	// ReplayRefuse gives nothing. It is the zero value: silence denies.
	ReplayRefuse OnReplay = iota
	// ReplayAccessOnly gives an access token without a refresh token.
	ReplayAccessOnly
	// ReplaySuccessor gives the same successor again.
	ReplaySuccessor
)

// OnLimit says what a login does that would be one session too many.
type OnLimit uint8

const (
	// RefuseNew refuses the login. It is the zero value: silence denies.
	RefuseNew OnLimit = iota
	// EvictOldest ends the oldest sessions first.
	EvictOldest
)

// OnSign says what a sign of theft leads to that is no proof of it.
type OnSign uint8

const (
	// StepUp asks for a credential (RFC 9470). It is the zero value: silence denies.
	StepUp OnSign = iota
	// Ignore goes on; what is worth noting is noted all the same.
	Ignore
)

// Policy is what a client's configuration says about its sessions.
type Policy struct {
	// AccessTTL is the lifetime of an access token.
	AccessTTL time.Duration
	// Grace is how long after a rotation the superseded token is a replay
	// rather than reuse, in broker time.
	Grace time.Duration
	// IdleLimit ends a session that is not refreshed for so long; zero: never.
	IdleLimit time.Duration
	// AbsoluteLimit ends a session so long after it began; zero: never.
	AbsoluteLimit time.Duration
	OnReplay      OnReplay
	// NoRotation leaves the refresh token as it is. Only clients that authenticate
	// may have it (RFC 9700 section 4.14.2); for others it means nothing.
	NoRotation bool

	// MaxSessions is how many sessions of this client a user may have at a time;
	// zero: any number.
	MaxSessions int
	OnLimit     OnLimit

	// StepUpAfterIdle asks for a credential after so long without a refresh, in
	// broker time; zero: never.
	StepUpAfterIdle time.Duration
	// OnDeviceChange is about a refresh with another device id than the login's.
	OnDeviceChange OnSign
	// OnNetworkChange is about a refresh from another network than the last one.
	OnNetworkChange OnSign
	// OnSuspicion is about a session whose superseded tokens keep being presented.
	OnSuspicion OnSign
	// DeviceIDRequired: no session is opened, and none refreshed, without a device id.
	DeviceIDRequired bool

	// HighGradeFor is how long after the authentication access tokens are of high
	// grade; zero: grades are not used.
	HighGradeFor time.Duration
	// HighGradeScopes are in tokens of high grade only.
	HighGradeScopes []string

	// Scopes and Audiences are those that the client may have now, whatever it had
	// when a session began; nil: any. [Policy.Narrow] applies them, and the next two.
	Scopes    []string
	Audiences []string
	// RolesClaim is the claim that carries the user's roles; empty leaves them out.
	RolesClaim string
	// Roles are those that tokens may carry; nil: all that the user has.
	Roles []string
}
