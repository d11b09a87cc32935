package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/revocast/revocast/services/stack"
)

// INV-1: killed between the two writes of a revocation, the issuer has denied
// already, and records what is missing after a restart, however late. The entry
// lives for an access token's lifetime and the protocol's leeway; the restart comes
// later than that.
func TestKilledBetweenDenialAndRecord(t *testing.T) {
	t.Parallel() // it waits for an entry to expire
	s := start(t, 1, func(c *stack.Config) {
		c.BinDir = mixedBin(t)
		c.IssuerFlags = []string{"--access-ttl", "1s"}
		c.Env = []string{"REVOCAST_FAILPOINT=denied"}
	})
	sidecar := s.Sidecars()[0]
	mine := login(t, s.Issuer(), nil)
	passes(t, sidecar, mine.Access)

	answered := make(chan answer, 1)
	go func() { answered <- revoke(t, s, s.Issuer(), "session", mine.Session) }()
	eventually(t, 20*time.Second, "the failpoint", func() bool {
		return contains(s.Dir().Log("issuer"), "failpoint reached: denied")
	})
	firstDenial(t, sidecar, mine.Access, time.Now())
	// The broker lives in the same process; give AUDIT the moment it has in life.
	eventually(t, 20*time.Second, "AUDIT's copy", func() bool { return audited(t, s) })
	kill(t, s.Issuer())
	if a := <-answered; a.status != 0 {
		t.Fatalf("a revocation that was not recorded was acknowledged: %s", a)
	}
	down := time.Now()
	eventually(t, 3*time.Minute, "the entry's expiry", func() bool { return time.Since(down) > 90*time.Second })

	s.Issuer().Env = without(s.Issuer().Env, "REVOCAST_FAILPOINT=denied")
	up(t, s.Issuer())
	eventually(t, time.Minute, "the finisher's record", func() bool {
		a := do(t, http.MethodGet, "http://"+metricsAddress(s.Issuer())+"/metrics", "", "", "")
		return bytesContain(a.body, `revocast_finisher_events_total{outcome="finished"}`)
	})
	if a := refresh(t, s.Issuer(), mine.Refresh, nil); a.status != http.StatusBadRequest {
		t.Errorf("the session lives on: %s", a)
	}
}

// INV-1: right after the acknowledgement, kill -9 loses nothing.
func TestIssuerKilledAfterAcknowledgement(t *testing.T) {
	s := start(t, 1)
	for range 3 {
		mine := login(t, s.Issuer(), nil)
		if a := revoke(t, s, s.Issuer(), "session", mine.Session); a.status != http.StatusCreated {
			t.Fatalf("revoking: %s", a)
		}
		kill(t, s.Issuer())
		up(t, s.Issuer())
		if a := refresh(t, s.Issuer(), mine.Refresh, nil); a.status != http.StatusBadRequest {
			t.Errorf("refreshed after the restart: %s", a)
		}
		firstDenial(t, s.Sidecars()[0], mine.Access, time.Now())
		if a := do(t, http.MethodGet, s.Issuer().URL()+"/v1/session", "", mine.Access, ""); a.status != http.StatusUnauthorized {
			t.Errorf("the issuer's own endpoint: %s", a)
		}
	}
}

// INV-2, R2: a sidecar killed after a revocation and started while the broker is
// away denies what it had denied and passes the rest.
func TestSidecarKilledAndStartedWithoutBroker(t *testing.T) {
	s := start(t, 1)
	sidecar := s.Sidecars()[0]
	mine, other := login(t, s.Issuer(), nil), login(t, s.Issuer(), nil)
	if a := revoke(t, s, s.Issuer(), "session", mine.Session); a.status != http.StatusCreated {
		t.Fatalf("revoking: %s", a)
	}
	firstDenial(t, sidecar, mine.Access, time.Now())
	passes(t, sidecar, other.Access)
	eventually(t, 20*time.Second, "the entry on disk", func() bool { return onDisk(t, sidecar) })
	kill(t, sidecar)
	kill(t, s.Issuer())

	up(t, sidecar)
	denies(t, sidecar, mine.Access)
	passes(t, sidecar, other.Access)

	up(t, s.Issuer())
	late := login(t, s.Issuer(), nil)
	passes(t, sidecar, late.Access)
	if a := revoke(t, s, s.Issuer(), "session", late.Session); a.status != http.StatusCreated {
		t.Fatalf("revoking: %s", a)
	}
	firstDenial(t, sidecar, late.Access, time.Now())
}

// mixedBin is a directory with the failpoint issuer and the usual sidecar.
func mixedBin(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, from := range map[string]string{"issuer": failpointBin, "sidecar": bin} {
		if err := os.Symlink(filepath.Join(from, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// An issuer killed between the record of a lift and its announcement leaves things
// denied, also after a restart; lifting again completes it.
func TestKilledBetweenLiftAndAnnouncement(t *testing.T) {
	s := start(t, 1, func(c *stack.Config) {
		c.BinDir = mixedBin(t)
		c.Env = []string{"REVOCAST_FAILPOINT=lifted"}
	})
	sidecar := s.Sidecars()[0]
	mine := login(t, s.Issuer(), nil)
	passes(t, sidecar, mine.Access)
	a := revoke(t, s, s.Issuer(), "client", stack.MobileClient)
	if a.status != http.StatusCreated {
		t.Fatalf("revoking: %s", a)
	}
	var done struct {
		ID string `json:"revocation_id"`
	}
	if err := json.Unmarshal(a.body, &done); err != nil {
		t.Fatal(err)
	}
	firstDenial(t, sidecar, mine.Access, time.Now())
	lift := func() answer {
		return operate(t, s, s.Issuer(), http.MethodDelete, "/admin/v1/revocations/"+done.ID, "")
	}
	answered := make(chan answer, 1)
	go func() { answered <- lift() }()
	eventually(t, 20*time.Second, "the failpoint", func() bool {
		return contains(s.Dir().Log("issuer"), "failpoint reached: lifted")
	})
	denies(t, sidecar, mine.Access)
	kill(t, s.Issuer())
	if a := <-answered; a.status != 0 {
		t.Fatalf("a lift that was not announced was acknowledged: %s", a)
	}
	s.Issuer().Env = without(s.Issuer().Env, "REVOCAST_FAILPOINT=lifted")
	up(t, s.Issuer())
	denies(t, sidecar, mine.Access)
	if a := lift(); a.status != http.StatusNoContent {
		t.Fatalf("lifting again: %s", a)
	}
	eventually(t, 20*time.Second, "the lift", func() bool { return auth(t, sidecar, mine.Access).status == http.StatusOK })
	refresh(t, s.Issuer(), mine.Refresh, nil).want(t, http.StatusOK)
}
