package clients_test

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/clients"
)

func unprepared(clients.Registry) {}

func TestLive(t *testing.T) {
	file := write(t, one("public", "access_ttl: 10m"))
	l, err := clients.Open(file, defaults())
	if err != nil {
		t.Fatal(err)
	}
	has := func(id string, longest time.Duration, scopes int) {
		t.Helper()
		if c, ok := l.Find(events.ClientID(id)); !ok || c.ID == "" {
			t.Errorf("%s is not known", id)
		}
		if _, ok := l.Authenticate(events.ClientID(id), ""); !ok {
			t.Errorf("%s is not known to be public", id)
		}
		if got := l.MaxAccessTTL(); got != longest {
			t.Errorf("longest access token %s, want %s", got, longest)
		}
		if got := l.Scopes(); len(got) != scopes {
			t.Errorf("scopes %v", got)
		}
	}
	has("c", 10*time.Minute, 2)

	replace(t, file, "clients:\n  - {id: d, type: public, audiences: [a], access_ttl: 1m}\n")
	has("c", 10*time.Minute, 2) // until it is told
	told := false
	if err := l.Reload(func(next clients.Registry) {
		_, told = next.Find("d")
		has("c", 10*time.Minute, 2) // first one is told, then it is in force
	}); err != nil || !told {
		t.Fatalf("told: %t, %v", told, err)
	}
	has("d", defaults().AccessTTL, 0) // never less than what clients get by default
	if _, ok := l.Find("c"); ok {
		t.Error("c is still known")
	}

	for _, bad := range []string{"", "clients:\n  - {id: e, type: odd}\n", "clients:\n  - {id: e, type: public, audiences: [a]}\n  - {id: f}\n"} {
		replace(t, file, bad)
		if err := l.Reload(func(clients.Registry) { t.Error("told of a faulty file") }); err == nil {
			t.Errorf("%q was accepted", bad)
		}
		has("d", defaults().AccessTTL, 0)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := l.Reload(unprepared); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	has("d", defaults().AccessTTL, 0)
}

func TestOpenRefuses(t *testing.T) {
	if _, err := clients.Open(write(t, "clients: 7\n"), defaults()); err == nil {
		t.Error("a faulty file was accepted")
	}
	none, err := clients.Open("", defaults())
	if err != nil {
		t.Fatal(err)
	}
	if err := none.Reload(unprepared); err != nil {
		t.Error(err)
	}
	if _, ok := none.Find("c"); ok || none.MaxAccessTTL() != defaults().AccessTTL {
		t.Error("without a file somebody is known")
	}
}

// Whoever reads while files follow each other sees one of them, never parts of two.
func TestLiveIsSeenWhole(t *testing.T) {
	text := func(n int) string {
		return fmt.Sprintf("clients:\n  - {id: c, type: public, audiences: [a%d], scopes: [s%d], access_ttl: %dm}\n"+
			"  - {id: d, type: public, audiences: [a%d], scopes: [s%d], access_ttl: %dm}\n", n, n, n, n, n, n)
	}
	file := write(t, text(10))
	l, err := clients.Open(file, defaults())
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r := l.Registry()
				c, _ := r.Find("c")
				d, ok := r.Find("d")
				want := fmt.Sprintf("a%.0f", c.Policy.AccessTTL.Minutes())
				if !ok || c.Audiences[0] != want || d.Audiences[0] != want || c.Scopes[0][1:] != want[1:] || r.MaxAccessTTL() != c.Policy.AccessTTL {
					t.Errorf("%+v\n%+v", c, d)
					return
				}
			}
		})
	}
	for n := range 100 {
		replace(t, file, text(n+10))
		if err := l.Reload(unprepared); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	readers.Wait()
}

func replace(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
