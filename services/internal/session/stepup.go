package session

import (
	"errors"
	"time"

	"github.com/revocast/revocast/events"
)

// ErrStepUp refuses the refresh until the user has given a credential again
// (RFC 9470). It changes nothing, so nobody can log another out by it. What asked for
// it is in the [StepUpError].
var ErrStepUp = errors.New("a credential is needed")

// Sign is what made a refresh look like somebody else's.
type Sign string

// The signs, in the order in which they are looked for.
const (
	SignDevice    Sign = "device"    // another device id, or none where one is needed
	SignNetwork   Sign = "network"   // another network than the last refresh's
	SignIdle      Sign = "idle"      // not refreshed for long
	SignSuspicion Sign = "suspicion" // superseded tokens keep being presented
	SignPolicy    Sign = "policy"    // the operator's own hook said so
)

// StepUpError is [ErrStepUp] with its cause.
type StepUpError struct{ Sign Sign }

// Error implements error.
func (e *StepUpError) Error() string { return ErrStepUp.Error() + ": " + string(e.Sign) }

// Is makes it match ErrStepUp.
func (*StepUpError) Is(target error) bool { return target == ErrStepUp }

// signOf gives why a refresh of the current generation needs a credential; empty for
// no reason.
func signOf(s State, c Refresh, now time.Time) Sign {
	if !s.Now.IsZero() {
		now = s.Now
	}
	p := c.Policy
	switch {
	case p.DeviceIDRequired && c.DeviceID == "", otherDevice(s.Session, c):
		return SignDevice
	case p.OnNetworkChange != Ignore && OtherNetwork(s.Session.Network, c.Network):
		return SignNetwork
	case p.StepUpAfterIdle > 0 && now.Sub(s.RotatedAt) > p.StepUpAfterIdle:
		return SignIdle
	case p.OnSuspicion != Ignore && s.Session.ReplayStreak >= Suspicious:
		return SignSuspicion
	}
	return ""
}

// elsewhere gives why a replay that nothing proves is not answered: it comes from
// another device or network than the rotation that it claims to repeat. Policy has no
// say about the network: a rotation and its repetition lie seconds apart.
func elsewhere(n events.Session, c Refresh) Sign {
	switch {
	case otherDevice(n, c):
		return SignDevice
	case OtherNetwork(n.Network, c.Network):
		return SignNetwork
	}
	return ""
}

// otherDevice compares device ids where both are known; where policy needs one, a
// session that has none is another device's.
func otherDevice(n events.Session, c Refresh) bool {
	known := c.DeviceID != "" && (n.DeviceID != "" || c.Policy.DeviceIDRequired)
	return known && c.Policy.OnDeviceChange != Ignore && c.DeviceID != n.DeviceID
}

// OtherNetwork compares networks as [Network] writes them, where both are known and of one address family: a
// host with both uses either.
func OtherNetwork(a, b string) bool {
	return a != "" && b != "" && a[0] == b[0] && a != b
}

// Network writes down a network that is only ever compared: family is 4 or 6, digest
// a keyed hash.
func Network(family int, digest string) string {
	if family == 4 {
		return "4" + digest
	}
	return "6" + digest
}
