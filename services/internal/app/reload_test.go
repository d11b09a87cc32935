package app_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// following is an issuer whose clients file is changed while it is used.
type following struct {
	*issuer

	file string
	t    *testing.T
}

// put replaces the file as a deployment tool does; a client each line.
func (f following) put(clients ...string) {
	f.t.Helper()
	text := "clients:\n"
	for _, c := range clients {
		text += "  - " + c + "\n"
	}
	write(f.t, f.file+".new", text)
	if err := os.Rename(f.file+".new", f.file); err != nil {
		f.t.Fatal(err)
	}
}

// metric reads one series; zero if there is none.
func (i *issuer) metric(t *testing.T, series string) float64 {
	t.Helper()
	got := must(t, request{method: http.MethodGet, url: "http://" + i.MetricsListen + "/metrics"}).want(t, 200)
	for line := range strings.Lines(got.body) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			var v float64
			if _, err := fmt.Sscan(rest, &v); err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return 0
}

const (
	appliedReloads = `revocast_issuer_config_reloads_total{outcome="applied"}`
	refusedReloads = `revocast_issuer_config_reloads_total{outcome="refused"}`
	lastReload     = `revocast_issuer_config_last_success_timestamp_seconds`
)

// reloaded waits until one more reload has ended so.
func (f following) reloaded(series string, before float64) {
	f.t.Helper()
	eventually(f.t, func() error {
		if got := f.metric(f.t, series); got != before+1 {
			return fmt.Errorf("%s is %g, want %g", series, got, before+1)
		}
		return nil
	})
}

func entry(id, more string) string {
	return "{id: " + id + ", type: public, grants: [refresh_token], first_party_login: true, " + more + "}"
}

// claimsOf reads a token's payload, unverified.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	if err := json.Unmarshal(body, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// Whatever becomes of the clients file, requests under way are served by one whole
// registry; a faulty file changes nothing; and what a good one says counts for the
// sessions that there are.
func TestClientsFileIsFollowed(t *testing.T) {
	t.Parallel()
	const read, both = `scopes: [read], audiences: ["` + audience + `"]`, `scopes: [read, write], audiences: ["` + audience + `"]`
	const steady = both + ", rotation_grace: none" // it is refreshed faster than a grace window remembers
	c := configure(t, t.TempDir())
	f := following{start(t, c), c.Clients, t}
	f.put(entry("steady", steady), entry(mobile, both))
	f.reloaded(appliedReloads, 0)

	// Sessions that are refreshed all the time, none of which may notice anything.
	var refreshing sync.WaitGroup
	stop := make(chan struct{})
	t.Cleanup(refreshing.Wait)
	var once sync.Once
	end := func() { once.Do(func() { close(stop) }) }
	t.Cleanup(end)
	for range 3 {
		token := f.login(t, "client_id", "steady").Refresh
		refreshing.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					if n == 0 {
						t.Error("nothing was refreshed")
					}
					return
				default:
				}
				got, err := send(request{
					method: http.MethodPost, url: f.public + "/oauth/token", contentType: formType,
					body: form("grant_type", "refresh_token", "refresh_token", token, "client_id", "steady"),
				})
				var next tokens
				if err := errors.Join(err, json.Unmarshal([]byte(got.body), &next)); err != nil || got.status != 200 || next.Scope != "read write" {
					t.Errorf("refresh %d: %d %s, %v", n, got.status, got.body, err)
					return
				}
				token = next.Refresh
			}
		})
	}

	mine := f.login(t)
	t.Run("lifetimes and scopes", func(t *testing.T) {
		f.put(entry("steady", steady), entry(mobile, read+", access_ttl: 3m"))
		f.reloaded(appliedReloads, 1)
		next := decode[tokens](t, f.refresh(t, mine.Refresh, mobile).want(t, 200))
		if next.Scope != "read" || next.ExpiresIn > 180 || next.ExpiresIn < 150 {
			t.Errorf("scope %q for %d s", next.Scope, next.ExpiresIn)
		}
		if metadata := f.call(t, "GET", "/.well-known/oauth-authorization-server", "").want(t, 200); !strings.Contains(metadata.body, `"scopes_supported":["read","write"]`) {
			t.Errorf("metadata %s", metadata.body)
		}
		// What is given back is there again.
		f.put(entry("steady", steady), entry(mobile, both))
		f.reloaded(appliedReloads, 2)
		if mine = decode[tokens](t, f.refresh(t, next.Refresh, mobile).want(t, 200)); mine.Scope != "read write" {
			t.Errorf("scope %q", mine.Scope)
		}
	})
	t.Run("faults", func(t *testing.T) {
		before, last := f.metric(t, refusedReloads), f.metric(t, lastReload)
		f.put(entry("steady", steady), entry(mobile, both+", replay: sometimes, max_sessions: -1"), "{id: half}")
		f.reloaded(refusedReloads, before)
		f.refresh(t, mine.Refresh, mobile).want(t, 200)
		for _, fault := range []string{"replay: want", "max_sessions: want", `client 3 (\"half\")`, "audiences: at least one"} {
			if !strings.Contains(f.log.String(), fault) {
				t.Errorf("the log does not say %q", fault)
			}
		}
		if err := os.Remove(f.file); err != nil {
			t.Fatal(err)
		}
		f.reloaded(refusedReloads, before+1)
		if got := f.metric(t, lastReload); got != last || time.Since(time.Unix(int64(got), 0)) > time.Hour {
			t.Errorf("last success at %f, was %f", got, last)
		}
		applied := f.metric(t, appliedReloads)
		f.put(entry("steady", steady), entry(mobile, both))
		f.reloaded(appliedReloads, applied)
		mine = decode[tokens](t, f.refresh(t, mine.Refresh, mobile).want(t, 200))
	})
	t.Run("signal", func(t *testing.T) {
		applied := f.metric(t, appliedReloads)
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { // other tests may send it too
			if f.metric(t, appliedReloads) <= applied {
				return errors.New("nothing was reloaded")
			}
			return nil
		})
	})
	t.Run("roles", func(t *testing.T) {
		roles := func(more string) (claims map[string]any) {
			applied := f.metric(t, appliedReloads)
			f.put(entry("steady", steady), entry(mobile, both+more))
			f.reloaded(appliedReloads, applied)
			mine = decode[tokens](t, f.refresh(t, mine.Refresh, mobile).want(t, 200))
			f.call(t, "GET", "/v1/session", mine.Access).want(t, 200)
			return claimsOf(t, mine.Access)
		}
		reader := func(v any) bool { list, _ := v.([]any); return slices.Equal(list, []any{"reader"}) }
		const other = "https://api.revocast.test/roles"
		if c := roles(", roles: [reader, editor]"); !reader(c["roles"]) {
			t.Errorf("allowed: %v", c)
		}
		if c := roles(", roles: [editor]"); c["roles"] != nil {
			t.Errorf("not allowed: %v", c)
		}
		if c := roles(", roles_claim: none"); c["roles"] != nil {
			t.Errorf("left out: %v", c)
		}
		if c := roles(`, roles_claim: "` + other + `"`); c["roles"] != nil || !reader(c[other]) {
			t.Errorf("under another name: %v", c)
		}
	})
	t.Run("audiences", func(t *testing.T) {
		applied := f.metric(t, appliedReloads)
		f.put(entry("steady", steady), entry(mobile, `audiences: ["https://second.test"]`))
		f.reloaded(appliedReloads, applied)
		if aud := claimsOf(t, f.login(t).Access)["aud"]; aud != "https://second.test" {
			t.Errorf("a new session's token is for %v", aud)
		}
		// A token of before is still good for logging out, but there is no other.
		f.call(t, "GET", "/v1/session", mine.Access).want(t, 200)
		f.refresh(t, mine.Refresh, mobile).want(t, 400)
		f.put(entry("steady", steady), entry(mobile, `audiences: ["https://second.test", "`+audience+`"]`))
		f.reloaded(appliedReloads, applied+1)
		mine = decode[tokens](t, f.refresh(t, mine.Refresh, mobile).want(t, 200))
	})
	t.Run("clients", func(t *testing.T) {
		applied := f.metric(t, appliedReloads)
		f.put(entry("steady", steady), entry("another", both))
		f.reloaded(appliedReloads, applied)
		f.login(t, "client_id", "another")
		f.refresh(t, mine.Refresh, mobile).want(t, 401)
		f.postJSON(t, "/v1/login", "username", alice, "password", alicePassword, "client_id", mobile).want(t, 403)
	})
	end()
}
