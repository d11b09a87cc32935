package guard_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/guard"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/password"
	"github.com/revocast/revocast/services/internal/throttle"
)

// Ten thousand wrong passwords, from everywhere and with whatever a stranger may claim
// about a device, slow down strangers and never the devices that the user is known on.
func TestStrangersNeverLockTheOwnerOut(t *testing.T) {
	h := open(t, limits(t), cheap())
	phone, laptop := from("198.51.100.1", alice), from("198.51.100.2", alice)
	phone.DeviceSecret, phone.DeviceID, laptop.DeviceID = secret(), "phone-1", "laptop-1"
	h.in(t, phone)
	h.in(t, laptop)

	const attempts = 10_000
	var verified, slowed int
	for n := range attempts {
		l := wrong(from(anywhere(), alice))
		switch n % 100 { // each of these takes the time that hides what was looked up
		case 1:
			l.DeviceID = fmt.Sprint("guess-", n)
		case 2:
			l.DeviceSecret = secret()
		case 3:
			l.DeviceID = phone.DeviceID // known, but only the secret proves that device
		}
		switch _, err := h.Login(t.Context(), l); {
		case errors.Is(err, issue.ErrCredentials):
			verified++
		case wait(t, err) > 0:
			slowed++
		default:
			t.Fatalf("attempt %d: %v", n, err)
		}
		if n%1000 != 999 {
			continue
		}
		// The owner logs in at once, even from where the attacker has just been.
		for _, known := range []issue.Login{phone, laptop} {
			h.in(t, known)
			known.Address = l.Address
			h.in(t, known)
		}
	}
	if verified != 100 || slowed != attempts-100 {
		t.Errorf("%d passwords were tried, want the user's limit of 100; %d slowed", verified, slowed)
	}
	if got := h.throttled(t, "login_user"); got == 0 {
		t.Error("not counted")
	}
	// On a device that nobody knows the owner has to wait like anyone, and not for long.
	tablet := from("198.51.100.3", alice)
	_, err := h.Login(t.Context(), tablet)
	after := wait(t, err)
	if after <= 0 || after > 6*time.Second {
		t.Errorf("a new device waits %s: %v", after, err)
	}
	h.pass(after)
	h.in(t, tablet)
}

// An attacker at one address slows nobody at another, known device or not.
func TestOneAddressHarmsNoOther(t *testing.T) {
	h := open(t, limits(t), cheap())
	verified := 0
	for range 10_000 {
		_, err := h.Login(t.Context(), wrong(from("192.0.2.7", alice)))
		if wait(t, err) == 0 {
			verified++
		}
	}
	if verified != 10 {
		t.Errorf("%d passwords were tried, want 10", verified)
	}
	h.in(t, from("198.51.100.1", alice))
	// The attacker's neighbours have their own names to log in with.
	h.in(t, func() issue.Login { l := from("192.0.2.7", "carol"); h.register(t, l); return l }())
	// A /64 is one host; the next one is another.
	for n := range 50 {
		_, err := h.Login(t.Context(), wrong(from(fmt.Sprintf("2001:db8::%x", n), alice)))
		if limited := wait(t, err) > 0; limited != (n >= 10) {
			t.Errorf("attempt %d from a /64: %v", n, err)
		}
	}
	h.in(t, from("2001:db8:0:1::1", alice))
}

func (h *house) register(t *testing.T, l issue.Login) {
	t.Helper()
	hasher, err := password.New(cheap())
	if err != nil {
		t.Fatal(err)
	}
	hash, err := hasher.Hash(t.Context(), l.Password)
	if err == nil {
		_, err = h.service.Register(t.Context(), l.Username, hash, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// One address that tries many names runs into its own limit, which its neighbours
// share unless they are known.
func TestOneAddressManyNames(t *testing.T) {
	h := open(t, limits(t), cheap())
	phone := from("192.0.2.7", alice)
	phone.DeviceSecret = secret()
	h.in(t, phone)
	verified := 0
	for n := range 1000 {
		_, err := h.Login(t.Context(), wrong(from("192.0.2.7", fmt.Sprint("user-", n))))
		if wait(t, err) == 0 {
			verified++
		}
	}
	if verified != 300 || h.throttled(t, "login_address") != 700 {
		t.Errorf("%d passwords were tried, want 300", verified)
	}
	h.in(t, phone)
	if _, err := h.Login(t.Context(), from("192.0.2.7", alice)); wait(t, err) == 0 {
		t.Errorf("got %v", err)
	}
}

// Whoever only succeeds is never slowed, however many log in at once.
func TestOnlyFailuresCount(t *testing.T) {
	h := open(t, strictest(t), cheap())
	var all sync.WaitGroup
	for range 60 {
		all.Go(func() {
			if _, err := h.Login(t.Context(), from("192.0.2.7", alice)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for range 60 {
		h.in(t, from("192.0.2.7", alice))
	}
	if _, err := h.Login(t.Context(), wrong(from("192.0.2.7", alice))); !errors.Is(err, issue.ErrCredentials) {
		t.Errorf("got %v", err)
	}
	if _, err := h.Login(t.Context(), from("192.0.2.7", alice)); wait(t, err) == 0 {
		t.Errorf("a failure did not count: %v", err)
	}
}

// Many at once try no more passwords than the limit allows.
func TestParallelGuesses(t *testing.T) {
	h := open(t, limits(t), cheap())
	var verified, slowed atomic.Int32
	var all sync.WaitGroup
	for range 300 {
		all.Go(func() {
			_, err := h.Login(t.Context(), wrong(from("192.0.2.7", alice)))
			switch {
			case errors.Is(err, issue.ErrCredentials):
				verified.Add(1)
			case wait(t, err) > 0:
				slowed.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if verified.Load() != 10 || slowed.Load() != 290 {
		t.Errorf("%d tried, %d slowed", verified.Load(), slowed.Load())
	}
}

// Who hangs up before the answer has failed: otherwise hashing would be free.
func TestHangingUpCounts(t *testing.T) {
	h := open(t, limits(t), cheap())
	for n := range 30 {
		ctx, hangUp := context.WithCancel(t.Context())
		hangUp()
		_, err := h.Login(ctx, from("192.0.2.7", alice))
		if err == nil {
			t.Fatal("logged in")
		}
		if limited := wait(t, err) > 0; limited != (n >= 10) {
			t.Errorf("attempt %d: %v", n, err)
		}
	}
}

// Nobody learns from being slowed whether there is such a user, or whether the user is
// disabled: the same attempts get the same answers.
func TestEverybodyIsSlowedAlike(t *testing.T) {
	h := open(t, limits(t), cheap())
	answers := func(name string) (all []string) {
		for n := range 120 {
			l := from(fmt.Sprintf("192.0.2.%d", n%8), name)
			if n%3 == 0 {
				l.DeviceID, l.DeviceSecret = "device", "AAAAAAAAAAAAAAAAAAAAAA"
			}
			_, err := h.Login(t.Context(), wrong(l))
			all = append(all, fmt.Sprint(err))
		}
		return all
	}
	first := answers(alice)
	if !slices.ContainsFunc(first, func(s string) bool { return s != first[0] }) {
		t.Fatal("nothing was slowed")
	}
	for _, name := range []string{bob, "nobody-of-this-name"} {
		if got := answers(name); !slices.Equal(got, first) {
			t.Errorf("%s: %v\nalice: %v", name, got, first)
		}
	}
	// Also with the password right: a disabled user cannot even learn that.
	if _, err := h.Login(t.Context(), from("198.51.100.9", bob)); !errors.Is(err, issue.ErrCredentials) {
		t.Errorf("disabled: %v", err)
	}
}

// And they take the same time: medians of one run, taken in turns.
func TestEverybodyTakesTheSameTime(t *testing.T) {
	l := limits(t)
	l.Login, l.User, l.Address = throttle.Off(), throttle.Off(), throttle.Off()
	h := open(t, l, password.Config{})
	sameTime(t, "refused", 15, func(name string) error {
		_, err := h.Login(t.Context(), wrong(from("192.0.2.7", name)))
		if !errors.Is(err, issue.ErrCredentials) {
			return err
		}
		return nil
	})
	h = open(t, strictest(t), cheap())
	for range 5 {
		h.in(t, from("192.0.2.1", alice)) // to find sessions takes no longer than to find none
	}
	sameTime(t, "throttled", 51, func(name string) error {
		l := wrong(from("192.0.2.7", name))
		l.DeviceID = "device"
		_, err := h.Login(t.Context(), l)
		if wait(t, err) == 0 && !errors.Is(err, issue.ErrCredentials) {
			return err
		}
		return nil
	})
}

func sameTime(t *testing.T, what string, samples int, attempt func(name string) error) {
	t.Helper()
	names := []string{alice, bob, "nobody-of-this-name"}
	took := map[string][]time.Duration{}
	for range samples {
		for _, name := range names {
			began := time.Now()
			if err := attempt(name); err != nil {
				t.Fatal(err)
			}
			took[name] = append(took[name], time.Since(began))
		}
	}
	var medians []time.Duration
	for _, name := range names {
		slices.Sort(took[name])
		medians = append(medians, took[name][samples/2])
	}
	ratio := float64(slices.Max(medians)) / float64(slices.Min(medians))
	t.Logf("%s: %v, greatest to least %.2f", what, medians, ratio)
	if ratio > 2 {
		t.Errorf("%s: %v for %v", what, medians, names)
	}
}

// What an attempt is told to wait is enough, left alone.
func TestRetryAfterIsHonest(t *testing.T) {
	h := open(t, limits(t), cheap())
	for range 40 {
		_, err := h.Login(t.Context(), wrong(from("192.0.2.7", alice)))
		if after := wait(t, err); after > 0 {
			h.pass(after)
			if _, err := h.Login(t.Context(), wrong(from("192.0.2.7", alice))); !errors.Is(err, issue.ErrCredentials) {
				t.Fatalf("after %s: %v", after, err)
			}
		}
	}
	if h.throttled(t, "login_user_address") == 0 {
		t.Error("never slowed")
	}
}

// Whoever has an access token cannot try passwords with it either, and harms only the
// session that it is of.
func TestPasswordChange(t *testing.T) {
	h := open(t, limits(t), cheap())
	caller := func() issue.Caller {
		c, err := h.service.Authenticate(t.Context(), h.in(t, from("192.0.2.7", alice)).AccessToken, true)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	stolen, mine := caller(), caller()
	for n := range 50 {
		_, err := h.ChangePassword(t.Context(), stolen, "wonderland-43", "builder-42")
		if limited := wait(t, err) > 0; limited != (n >= 10) || !limited && !errors.Is(err, issue.ErrCredentials) {
			t.Errorf("attempt %d: %v", n, err)
		}
	}
	if _, err := h.ChangePassword(t.Context(), mine, word, "another-word-42"); err != nil {
		t.Error(err)
	}
}

// However many fail, the audit hears of a user once a minute, and of not too many.
func TestNotesAreBounded(t *testing.T) {
	h := open(t, limits(t), cheap())
	for range 3 {
		for range 50 {
			_, _ = h.Login(t.Context(), wrong(from("192.0.2.7", alice)))
		}
		h.pass(time.Minute)
	}
	failed, slowed := h.noted.about(events.ActionLoginFailed), h.noted.about(events.ActionLoginThrottled)
	if len(failed) != 3 || len(slowed) != 3 {
		t.Fatalf("%d and %d notes about alice in three minutes", len(failed), len(slowed))
	}
	if n := failed[0]; n.Address != "192.0.2.7" || n.Client != client || n.Issuer != issuer || n.Subject == "" || n.Session != "" {
		t.Errorf("noted %+v", n)
	}
	for n := range 500 {
		_, _ = h.Login(t.Context(), wrong(from(anywhere(), fmt.Sprint("user-", n))))
	}
	if got := len(h.noted.about(events.ActionLoginFailed)); got != 103 {
		t.Errorf("%d notes in a minute of failures, want 100", got-3)
	}
}

// The zero Limits let nobody in.
func TestZeroLimits(t *testing.T) {
	h := open(t, guard.Limits{}, cheap())
	if _, err := h.Login(t.Context(), from("192.0.2.7", alice)); wait(t, err) == 0 {
		t.Errorf("got %v", err)
	}
}

// A device is known for as long as the user is logged in on it.
func TestDevicesAreForgottenWithTheirSessions(t *testing.T) {
	h := open(t, strictest(t), cheap())
	phone := from("192.0.2.7", alice)
	phone.DeviceID = "phone-1"
	g := h.in(t, phone)
	if _, err := h.Login(t.Context(), wrong(from("192.0.2.7", alice))); !errors.Is(err, issue.ErrCredentials) {
		t.Fatal(err)
	}
	caller, err := h.service.Authenticate(t.Context(), h.in(t, phone).AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, sid := range []events.SessionID{g.Session, caller.Session} {
		if err := h.service.EndOwn(t.Context(), caller, sid); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Login(t.Context(), phone); wait(t, err) == 0 {
		t.Errorf("logged out there, and still known: %v", err)
	}
	// Another user's device is nobody else's.
	if _, err := h.Login(t.Context(), from("198.51.100.1", bob)); !errors.Is(err, issue.ErrCredentials) {
		t.Error(err)
	}
}
