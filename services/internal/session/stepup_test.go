package session_test

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

func TestSteppingUp(t *testing.T) {
	home, abroad := session.Network(4, "home"), session.Network(4, "abroad")
	ignoring := func(p *session.Policy) {
		p.OnDeviceChange, p.OnNetworkChange, p.OnSuspicion = session.Ignore, session.Ignore, session.Ignore
	}
	for _, c := range []struct {
		name    string
		begin   func(*events.Session)
		refresh func(*session.Refresh)
		after   time.Duration
		want    session.Sign
	}{
		{name: "nothing known"},
		{
			name: "the same device and network", begin: func(n *events.Session) { n.DeviceID, n.Network = "phone", home },
			refresh: func(r *session.Refresh) { r.DeviceID, r.Network = "phone", home },
		},
		{
			name: "another device", begin: func(n *events.Session) { n.DeviceID = "phone" },
			refresh: func(r *session.Refresh) { r.DeviceID = "laptop" }, want: session.SignDevice,
		},
		{
			name: "another device, ignored", begin: func(n *events.Session) { n.DeviceID = "phone" },
			refresh: func(r *session.Refresh) { r.DeviceID = "laptop"; ignoring(&r.Policy) },
		},
		{name: "a device that says nothing", begin: func(n *events.Session) { n.DeviceID = "phone" }},
		{name: "a device where none was", refresh: func(r *session.Refresh) { r.DeviceID = "laptop" }},
		{
			name: "none where one is needed", begin: func(n *events.Session) { n.DeviceID = "phone" },
			refresh: func(r *session.Refresh) { r.Policy.DeviceIDRequired = true; ignoring(&r.Policy) }, want: session.SignDevice,
		},
		{
			name: "one where one is needed", begin: func(n *events.Session) { n.DeviceID = "phone" },
			refresh: func(r *session.Refresh) { r.Policy.DeviceIDRequired = true; r.DeviceID = "phone" },
		},
		{
			name: "one where one is needed and none was", refresh: func(r *session.Refresh) { r.Policy.DeviceIDRequired = true; r.DeviceID = "phone" },
			want: session.SignDevice,
		},
		{
			name: "another network", begin: func(n *events.Session) { n.Network = home },
			refresh: func(r *session.Refresh) { r.Network = abroad }, want: session.SignNetwork,
		},
		{
			name: "another network, ignored", begin: func(n *events.Session) { n.Network = home },
			refresh: func(r *session.Refresh) { r.Network = abroad; ignoring(&r.Policy) },
		},
		{
			name: "a network of the other family", begin: func(n *events.Session) { n.Network = home },
			refresh: func(r *session.Refresh) { r.Network = session.Network(6, "abroad") },
		},
		{name: "an unknown network", begin: func(n *events.Session) { n.Network = home }},
		{name: "not idle for long", refresh: func(r *session.Refresh) { r.Policy.StepUpAfterIdle = time.Hour }, after: time.Hour},
		{name: "idle for long", refresh: func(r *session.Refresh) { r.Policy.StepUpAfterIdle = time.Hour }, after: time.Hour + 1, want: session.SignIdle},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, r := begin(), use(0)
			if c.begin != nil {
				c.begin(&n)
			}
			if c.refresh != nil {
				c.refresh(&r)
			}
			j := started(t, n, policy())
			now := noon.Add(c.after)
			e, err := session.Decide(j.behindBarrier(now), r, noon)
			needed, _ := errors.AsType[*session.StepUpError](err)
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want == "":
			case e != nil || !errors.Is(err, session.ErrStepUp) || needed == nil || needed.Sign != c.want:
				t.Fatalf("got %v, %v; want a step-up for %s", e, err, c.want)
			}
			// A read that may be stale asks nobody for a password.
			if _, err := session.Decide(j.state, r, now); c.want != "" && !errors.Is(err, session.ErrBarrier) {
				t.Errorf("without a barrier: %v", err)
			}
		})
	}
}

// A clock that is fast asks nobody for a password.
func TestIdleIsBrokerTime(t *testing.T) {
	j := started(t, begin(), policy())
	r := use(0)
	r.Policy.StepUpAfterIdle = time.Hour
	fast := noon.Add(time.Hour + time.Minute)
	if _, err := session.Decide(j.behindBarrier(noon.Add(time.Hour)), r, fast); err != nil {
		t.Error(err)
	}
}

// Suspicion stays with the session until a credential has been given.
func TestSuspicionStays(t *testing.T) {
	n := begin()
	j := started(t, n, policy())
	at := noon
	for range session.Suspicious + 1 {
		if g := j.state.Session.Generation; g > 0 {
			j.replayed(t, at, g-1)
		}
		j.rotate(t, at)
	}
	if got := j.state.Session.ReplayStreak; got != session.Suspicious {
		t.Fatalf("a streak of %d", got)
	}
	j.state.Replay = events.Replay{} // expired
	later := at.Add(24 * time.Hour)
	r := use(j.state.Session.Generation)
	if _, err := session.Decide(j.behindBarrier(later), r, later); !errors.Is(err, session.ErrStepUp) {
		t.Errorf("a day later: %v", err)
	}
	r.Policy.OnSuspicion = session.Ignore
	if _, err := session.Decide(j.behindBarrier(later), r, later); err != nil {
		t.Errorf("where policy only notes it: %v", err)
	}
}

// A replay that nothing proves is answered to the device and network of the rotation
// alone.
func TestReplaysFromElsewhere(t *testing.T) {
	home, abroad := session.Network(4, "home"), session.Network(4, "abroad")
	for _, c := range []struct {
		name            string
		bound           bool
		onReplay        session.OnReplay
		device, network string
		want            error
	}{
		{"the same", false, session.ReplaySuccessor, "phone", home, nil},
		{"not known", false, session.ReplaySuccessor, "", "", nil},
		{"another device", false, session.ReplaySuccessor, "laptop", home, session.ErrStepUp},
		{"another network", false, session.ReplaySuccessor, "phone", abroad, session.ErrStepUp},
		{"another network, access only", false, session.ReplayAccessOnly, "phone", abroad, session.ErrStepUp},
		{"another network, refused", false, session.ReplayRefuse, "phone", abroad, session.ErrReplayRefused},
		{"another network, bound", true, session.ReplaySuccessor, "laptop", abroad, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := begin()
			n.DeviceID, n.Network = "phone", session.Network(4, "office")
			if c.bound {
				sum := sha256.Sum256([]byte(secret))
				n.DeviceSecretHash = sum[:]
			}
			j := started(t, n, policy())
			r := use(0)
			r.Proof.DeviceSecret, r.DeviceID, r.Network = secret, "phone", home
			r.Policy.OnReplay, r.Policy.OnNetworkChange = c.onReplay, session.Ignore
			e, err := session.Decide(j.state, r, noon)
			if err != nil {
				t.Fatal(err)
			}
			j.append(t, e, noon)
			if got := j.state.Session.Network; got != home {
				t.Fatalf("the rotation came from %s, it says %s", home, got)
			}
			r.DeviceID, r.Network = c.device, c.network
			want := c.want
			if want == nil {
				want = session.ErrReplay
			}
			if _, err := session.Decide(j.behindReplay(t, noon.Add(time.Second), 0), r, noon); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}
