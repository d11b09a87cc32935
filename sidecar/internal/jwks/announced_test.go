package jwks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/jwks"
)

const own = events.Issuer("https://id.example")

// announced is what the realm's root would sign of a JSON Web Key; whether it has, its
// signature says in words.
func announced(t testing.TB, jwk object, until time.Time) events.Key {
	t.Helper()
	text, err := json.Marshal(jwk)
	if err != nil {
		t.Fatal(err)
	}
	kid, _ := jwk["kid"].(string)
	return events.Key{
		ID: events.KeyID(kid), Issuer: own, Algorithm: "ES256", JWK: text, Until: until.Truncate(time.Second), Signature: []byte("announced"),
	}
}

func retired(k events.Key, until time.Time) events.Key {
	k.Until, k.Signature = until.Truncate(time.Second), []byte("retired")
	return k
}

func signed(k events.Key, isRetired bool) bool {
	return string(k.Signature) == map[bool]string{true: "retired", false: "announced"}[isRetired]
}

// ofRealm makes a set of an issuer of the realm whose own keys cannot be had.
func ofRealm(t testing.TB, cfg jwks.Config) *jwks.Set {
	t.Helper()
	cfg.Issuer, cfg.Announced = own, signed
	if cfg.Source == "" {
		cfg.Source = "http://127.0.0.1:1/jwks"
	}
	m, _ := newMetrics(t)
	s, err := jwks.New(quick(cfg), jwks.Deps{Log: zap.NewNop(), Metrics: m})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func announce(t testing.TB, s *jwks.Set, added, withdrawn []events.Key) {
	t.Helper()
	if err := s.Announce(added, withdrawn, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// An announced key counts at once, and for those who wait for it already, whether or
// not the issuer can be reached.
func TestAnnouncedKeyCountsAtOnce(t *testing.T) {
	site := newSite(t)
	hang := make(chan struct{})
	defer close(hang)
	asked := make(chan struct{}, 1)
	site.serve("/jwks", func(http.ResponseWriter, *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-hang
	})
	s := ofRealm(t, jwks.Config{Source: site.URL + "/jwks", Wait: time.Hour, Timeout: time.Hour})
	run(t, s)
	<-asked
	found := make(chan error, 1)
	go func() {
		_, err := s.Find(context.Background(), "k")
		found <- err
	}()
	later := time.Now().Add(time.Hour)
	announce(t, s, []events.Key{announced(t, ecJWK(t, "another"), later)}, nil)
	announce(t, s, []events.Key{announced(t, ecJWK(t, "k"), later)}, nil)
	select {
	case err := <-found:
		if err != nil {
			t.Errorf("who waited: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("who waits is not told")
	}
	if k := mustFind(t, s, "k"); k.Algorithm != jwks.ES256 || !k.Usable(later.Add(-2*time.Second)) || k.Usable(later) {
		t.Errorf("key: %+v", k)
	}
}

// What the issuer's set says or does not say takes an announced key away no earlier
// than its announcement ends, and a retirement no later than it says.
func TestAnnouncedKeyAndPublishedSet(t *testing.T) {
	site := newSite(t)
	first, second := ecJWK(t, "1"), ecJWK(t, "2")
	site.text("/jwks", setOf(t, first))
	s := ofRealm(t, jwks.Config{Source: site.URL + "/jwks"})
	run(t, s)
	one := mustFind(t, s, "1")
	later, soon := time.Now().Add(time.Hour), time.Now().Add(2*time.Second)
	announce(t, s, []events.Key{announced(t, second, later)}, nil)
	two := mustFind(t, s, "2")
	refresh := func(text string) {
		before := site.hits.Load()
		site.text("/jwks", text)
		eventually(t, "two more attempts", func() bool {
			_, _ = s.Find(t.Context(), "unknown") // asks for one
			return site.hits.Load() > before+2
		})
	}
	refresh(setOf(t, first))
	if mustFind(t, s, "2") != two || mustFind(t, s, "1") != one || !two.Usable(time.Now()) {
		t.Fatal("a set that does not list the key yet has dropped or replaced it")
	}
	refresh(setOf(t, first, second))
	if mustFind(t, s, "2") != two || !two.Usable(later.Add(time.Hour)) {
		t.Error("a key that is published ends with its announcement")
	}
	refresh(setOf(t, first))
	if mustFind(t, s, "2") != two || two.Usable(later) || !two.Usable(later.Add(-2*time.Second)) {
		t.Error("a key that is no longer published does not end with its announcement")
	}
	// The root's word is the last one on what a kid means.
	refresh(setOf(t, first, ecJWK(t, "2"), ecJWK(t, "3")))
	if mustFind(t, s, "2") != two {
		t.Error("the web server's key took the place of the root's")
	}
	announce(t, s, nil, []events.Key{retired(announced(t, first, soon), soon), retired(announced(t, second, soon), soon)})
	eventually(t, "both keys are over", func() bool { return !one.Usable(time.Now()) && !two.Usable(time.Now()) })
	answer(t, s, "1", jwks.ErrUnknownKey)
	answer(t, s, "2", jwks.ErrUnknownKey)
	// Said again, an announcement changes nothing of that.
	announce(t, s, []events.Key{announced(t, second, later.Add(time.Hour))}, nil)
	answer(t, s, "2", jwks.ErrUnknownKey)
}

// In whatever order and however often it is said, it comes to the same: a key counts
// until the last announcement ends or the first retirement, if that is earlier.
func TestAnnouncementsInAnyOrder(t *testing.T) {
	jwk := ecJWK(t, "k")
	now := time.Now().Truncate(time.Second)
	rapid.Check(t, func(t *rapid.T) {
		cfg := jwks.Config{Issuer: own, Source: "http://127.0.0.1:1/jwks", Announced: signed, Wait: 1}
		m, err := jwks.NewMetrics(prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		s, err := jwks.New(cfg, jwks.Deps{Log: zap.NewNop(), Metrics: m})
		if err != nil {
			t.Fatal(err)
		}
		hours := rapid.SliceOfN(rapid.IntRange(1, 100), 0, 4)
		var added, withdrawn time.Time
		text, err := json.Marshal(jwk)
		if err != nil {
			t.Fatal(err)
		}
		key := events.Key{ID: "k", Issuer: own, Algorithm: "ES256", JWK: text}
		type statement struct {
			until   time.Time
			retires bool
		}
		var all []statement
		for _, h := range hours.Draw(t, "announced") {
			until := now.Add(time.Duration(h) * time.Hour)
			all = append(all, statement{until, false})
			if until.After(added) {
				added = until
			}
		}
		for _, h := range hours.Draw(t, "retired") {
			until := now.Add(time.Duration(h) * time.Hour)
			all = append(all, statement{until, true})
			if withdrawn.IsZero() || until.Before(withdrawn) {
				withdrawn = until
			}
		}
		all = append(all, all...)
		for _, st := range rapid.Permutation(all).Draw(t, "order") {
			k := key
			k.Until = st.until
			if st.retires {
				err = s.Announce(nil, []events.Key{k}, now)
			} else {
				err = s.Announce([]events.Key{k}, nil, now)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		end := added
		if !withdrawn.IsZero() && withdrawn.Before(end) {
			end = withdrawn
		}
		got, err := s.Find(context.Background(), "k")
		if end.IsZero() {
			if err == nil {
				t.Fatal("a key that nobody announced")
			}
			return
		}
		if err != nil || !got.Usable(end.Add(-time.Second)) || got.Usable(end) {
			t.Fatalf("announced until %s, retired at %s: %v", added, withdrawn, err)
		}
	})
}

func TestAnnouncementsRefused(t *testing.T) {
	ec, later := ecJWK(t, "k"), time.Now().Add(time.Hour)
	good := announced(t, ec, later)
	but := func(f func(*events.Key)) events.Key {
		k := good
		f(&k)
		return k
	}
	text := func(o object) []byte {
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		key   events.Key
		fault bool
	}{
		"of another issuer":   {but(func(k *events.Key) { k.Issuer = "https://other.example" }), false},
		"without an end":      {but(func(k *events.Key) { k.Until = time.Time{} }), false},
		"that is over":        {but(func(k *events.Key) { k.Until = time.Now().Add(-time.Second) }), false},
		"private":             {but(func(k *events.Key) { k.JWK = text(with(ec, object{"d": b64(make([]byte, 32))})) }), true},
		"with another id":     {but(func(k *events.Key) { k.ID = "other" }), true},
		"of another alg":      {but(func(k *events.Key) { k.Algorithm = "RS256" }), true},
		"to encrypt":          {but(func(k *events.Key) { k.JWK = text(with(ec, object{"use": "enc"})) }), true},
		"no JSON":             {but(func(k *events.Key) { k.JWK = []byte("x") }), true},
		"with a member twice": {but(func(k *events.Key) { k.JWK = []byte(`{"kid":"k","kid":"k"}`) }), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := ofRealm(t, jwks.Config{Wait: 1})
			other := announced(t, ecJWK(t, "good"), later)
			if err := s.Announce([]events.Key{c.key, other}, nil, time.Now()); (err != nil) != c.fault {
				t.Errorf("got %v", err)
			}
			mustFind(t, s, "good")
			for _, id := range []events.KeyID{"k", "other"} {
				if k, err := s.Find(t.Context(), id); err == nil {
					t.Errorf("it counts: %+v", k)
				}
			}
		})
	}
	s := ofRealm(t, jwks.Config{Wait: 1})
	for i := range 101 {
		err := s.Announce([]events.Key{announced(t, ecJWK(t, fmt.Sprint(i)), later)}, nil, time.Now())
		if (err != nil) != (i == 100) {
			t.Errorf("key %d: %v", i, err)
		}
	}
}

// What was announced is known again after a restart without network, and only that:
// each signature is verified anew.
func TestAnnouncedKeysAreSaved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "jwks")
	cfg := jwks.Config{Dir: dir, Wait: 1}
	later, soon := time.Now().Add(time.Hour), time.Now().Add(time.Minute)
	kept, ending, over := ecJWK(t, "kept"), ecJWK(t, "ending"), ecJWK(t, "over")
	s := ofRealm(t, cfg)
	announce(t, s, []events.Key{announced(t, kept, later), announced(t, ending, later), announced(t, over, later)},
		[]events.Key{retired(announced(t, ending, later), soon), retired(announced(t, over, later), time.Now().Add(-time.Hour))})
	// Whoever announces does not wait for the disk, and says so.
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) || s.Saved() {
		t.Fatalf("announcing has written: %v", err)
	}
	mustFind(t, s, "kept")
	run(t, s)() // which ends at once, but for what is left to be saved
	if !s.Saved() {
		t.Fatal("Run has not saved what was announced before its end")
	}

	check := func(s *jwks.Set, want map[events.KeyID]bool) {
		t.Helper()
		for id, is := range want {
			if _, err := s.Find(t.Context(), id); (err == nil) != is {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
	s = ofRealm(t, cfg)
	check(s, map[events.KeyID]bool{"kept": true, "ending": true, "over": false})
	if mustFind(t, s, "ending").Usable(soon) || !mustFind(t, s, "kept").Usable(soon) {
		t.Error("a retirement was forgotten")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("saved: %v, %v", files, err)
	}
	saved, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for name, spoil := range map[string]func() error{
		"forged": func() error {
			return os.WriteFile(files[0], []byte(strings.ReplaceAll(string(saved), b64std("announced"), b64std("forged"))), 0o600)
		},
		"retired for added": func() error {
			return os.WriteFile(files[0], []byte(strings.ReplaceAll(string(saved), b64std("announced"), b64std("retired"))), 0o600)
		},
		"cut short":          func() error { return os.Truncate(files[0], int64(len(saved)/2)) },
		"writable by others": func() error { return os.Chmod(files[0], 0o666) },
	} {
		if err := errors.Join(os.WriteFile(files[0], saved, 0o600), os.Chmod(files[0], 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(*testing.T) {
			check(ofRealm(t, cfg), map[events.KeyID]bool{"kept": false, "ending": false, "over": false})
		})
	}
	// An issuer that is not the realm's has nothing announced, whatever lies there.
	if err := errors.Join(os.WriteFile(files[0], saved, 0o600), os.Chmod(files[0], 0o600)); err != nil {
		t.Fatal(err)
	}
	m, _ := newMetrics(t)
	foreign, err := jwks.New(jwks.Config{Issuer: own, Source: "http://127.0.0.1:1/jwks", Dir: dir, Wait: 1}, jwks.Deps{Log: zap.NewNop(), Metrics: m})
	if err != nil {
		t.Fatal(err)
	}
	check(foreign, map[events.KeyID]bool{"kept": false})
}

func b64std(s string) string {
	b, err := json.Marshal([]byte(s))
	if err != nil {
		panic(err)
	}
	return strings.Trim(string(b), `"`)
}

// Announcements, refreshes and look-ups at once; a key that stays is never missed.
func TestAnnounceUnderLoad(t *testing.T) {
	site := newSite(t)
	site.text("/jwks", setOf(t, ecJWK(t, "published")))
	s := ofRealm(t, jwks.Config{Source: site.URL + "/jwks"})
	run(t, s)
	mustFind(t, s, "published")
	later := time.Now().Add(time.Hour)
	announce(t, s, []events.Key{announced(t, ecJWK(t, "announced"), later)}, nil)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, id := range []events.KeyID{"published", "announced"} {
					if k, err := s.Find(context.Background(), id); err != nil || !k.Usable(time.Now()) {
						t.Errorf("%s: %v", id, err)
						return
					}
				}
			}
		})
	}
	for i := range 50 {
		announce(t, s, []events.Key{announced(t, ecJWK(t, fmt.Sprint(i)), later)}, nil)
		_, _ = s.Find(t.Context(), "unknown")
	}
	close(stop)
	all.Wait()
}

// A key that could not be saved when it was announced, since the disk was full, say, is
// saved as soon as it can be: the feed will not say it again (INV-3).
func TestAnnouncedKeyIsSavedLater(t *testing.T) {
	site, dir := newSite(t), t.TempDir()
	site.text("/jwks", setOf(t, ecJWK(t, "published")))
	cfg := jwks.Config{Source: site.URL + "/jwks", Dir: filepath.Join(dir, "keys")}
	s := ofRealm(t, cfg)
	run(t, s)
	mustFind(t, s, "published")
	// A file in the place of the directory stands in for a disk that takes nothing. The
	// published key is found before it is saved, so the directory may still come back once.
	eventually(t, "the file stands", func() bool {
		return errors.Join(os.RemoveAll(cfg.Dir), os.WriteFile(cfg.Dir, nil, 0o600)) == nil
	})
	announce(t, s, []events.Key{announced(t, ecJWK(t, "k"), time.Now().Add(time.Hour))}, nil)
	mustFind(t, s, "k")
	if s.Saved() {
		t.Fatal("it was saved nowhere and says nothing")
	}
	if err := os.Remove(cfg.Dir); err != nil { // whoever saves makes it again
		t.Fatal(err)
	}
	eventually(t, "a start without the issuer knows it", func() bool {
		_, err := ofRealm(t, jwks.Config{Source: "http://127.0.0.1:1/jwks", Dir: cfg.Dir, Wait: 1}).Find(t.Context(), "k")
		return err == nil
	})
}
