package provider_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/signals/provider"
)

type members = map[string]any

var b64 = base64.RawURLEncoding.EncodeToString

func rsaKey(t *testing.T, bits int) members {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return members{"kty": "RSA", "kid": "rsa", "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}
}

func ecKey(t *testing.T) members {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return members{"kty": "EC", "crv": "P-256", "kid": "ec", "x": b64(point[1:33]), "y": b64(point[33:])}
}

func edKey(t *testing.T) members {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return members{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(public)}
}

func with(m members, changes ...any) members {
	next := maps.Clone(m)
	for i := 0; i < len(changes); i += 2 {
		next[changes[i].(string)] = changes[i+1]
	}
	return next
}

func set(keys ...members) string {
	text, err := json.Marshal(members{"keys": keys, "more": true})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// read runs keys on what is given until the test ends.
func read(t *testing.T, rule string, pace provider.Pace) *provider.Keys {
	t.Helper()
	keys, _ := readUntil(t, rule, pace)
	return keys
}

// readUntil runs keys until stop is called, or the test ends.
func readUntil(t *testing.T, rule string, pace provider.Pace) (_ *provider.Keys, stop func()) {
	t.Helper()
	return readLogged(t, rule, pace, zap.NewNop())
}

// readLogged is the same with a log.
func readLogged(t *testing.T, rule string, pace provider.Pace, log *zap.Logger) (_ *provider.Keys, stop func()) {
	t.Helper()
	p, err := provider.Parse(rule)
	if err != nil {
		t.Fatal(err)
	}
	reads, err := provider.NewReads(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	keys := provider.New(p, pace, log, reads)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := keys.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return keys, stop
}

// quick is a pace for tests that wait.
func quick() provider.Pace {
	return provider.Pace{Throttle: 20 * time.Millisecond, Timeout: 10 * time.Second}
}

func fromFile(t *testing.T, text string) *provider.Keys {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return read(t, "issuer=https://id.example,audience=a,jwks="+name, quick())
}

func TestKeysAreForOneAlgorithm(t *testing.T) {
	keys := fromFile(t, set(rsaKey(t, 2048), with(ecKey(t), "use", "sig", "alg", "ES256"), with(edKey(t), "key_ops", []string{"verify"})))
	for id, algorithm := range map[events.KeyID]string{"rsa": provider.RS256, "ec": provider.ES256, "ed": provider.EdDSA} {
		if key, err := keys.Find(t.Context(), id); err != nil || key.Algorithm != algorithm || key.Public == nil {
			t.Errorf("%s: %+v, %v", id, key, err)
		}
	}
}

// A key for encryption is nothing to complain about; any other that is left out is.
func TestKeysForEncryption(t *testing.T) {
	enc := with(rsaKey(t, 2048), "kid", "enc", "use", "enc", "alg", "RSA-OAEP")
	for name, c := range map[string]struct {
		key       members
		complains bool
	}{"for encryption": {enc, false}, "for neither": {with(enc, "use", "tls"), true}, "with its secret half": {with(enc, "d", "AQ"), true}} {
		t.Run(name, func(t *testing.T) {
			log, complaints := observer.New(zap.WarnLevel)
			file := filepath.Join(t.TempDir(), "keys.json")
			if err := os.WriteFile(file, []byte(set(ecKey(t), c.key)), 0o600); err != nil {
				t.Fatal(err)
			}
			keys, _ := readLogged(t, "issuer=https://id.example,audience=a,jwks="+file, quick(), zap.New(log))
			if _, err := keys.Find(t.Context(), "ec"); err != nil {
				t.Error(err)
			}
			if _, err := keys.Find(t.Context(), "enc"); !errors.Is(err, provider.ErrUnknownKey) {
				t.Errorf("it counts: %v", err)
			}
			if n := complaints.Len(); (n > 0) != c.complains {
				t.Errorf("%d complaints", n)
			}
		})
	}
}

// A key that must not verify signatures is left out, whatever else is in the set.
func TestKeysThatDoNotCount(t *testing.T) {
	rsa, ec, ed := rsaKey(t, 2048), ecKey(t), edKey(t)
	even, err := base64.RawURLEncoding.DecodeString(rsa["n"].(string))
	if err != nil {
		t.Fatal(err)
	}
	even[len(even)-1] &^= 1
	for name, key := range map[string]members{
		"private":               with(ec, "d", b64(make([]byte, 32))),
		"private in name":       with(ec, "d", nil),
		"symmetric":             {"kty": "oct", "kid": "ec", "k": "AAAA"},
		"weak":                  with(rsaKey(t, 1024), "kid", "ec"),
		"even":                  with(rsa, "kid", "ec", "n", b64(even)),
		"exponent one":          with(rsa, "kid", "ec", "e", "AQ"),
		"exponent huge":         with(rsa, "kid", "ec", "e", b64([]byte{1, 0, 0, 0, 1})),
		"padded":                with(rsa, "kid", "ec", "e", "AQAB=="),
		"for encryption":        with(ec, "use", "enc"),
		"for another operation": with(ec, "key_ops", []string{"sign"}),
		"for another algorithm": with(ec, "alg", "ES384"),
		"RSA for PSS":           with(rsa, "kid", "ec", "alg", "PS256"),
		"of another curve":      with(ec, "crv", "P-384"),
		"no point":              with(ec, "x", b64(make([]byte, 32))),
		"shifted":               with(ec, "x", ec["x"].(string)[:42], "y", ec["y"]),
		"short":                 with(ed, "kid", "ec", "x", b64(make([]byte, 31))),
		"of another kind":       with(ed, "kid", "ec", "kty", "AKP"),
		"x a number":            with(ec, "x", 7),
		"kid twice":             with(rsa, "kid", "ec2"),
	} {
		t.Run(name, func(t *testing.T) {
			keys := fromFile(t, set(with(ed, "kid", "good"), key, with(rsa, "kid", "ec2"), with(rsa, "kid", "")))
			if _, err := keys.Find(t.Context(), "good"); err != nil {
				t.Errorf("the other key of the set: %v", err)
			}
			wanted := events.KeyID("ec")
			if key["kid"] == "ec2" {
				wanted = "ec2"
			}
			if key, err := keys.Find(t.Context(), wanted); !errors.Is(err, provider.ErrUnknownKey) {
				t.Errorf("it counts: %+v, %v", key, err)
			}
		})
	}
}

func TestSetsThatAreNone(t *testing.T) {
	good := set(edKey(t))
	for name, text := range map[string]string{
		"nothing": "", "a list": "[" + good + "]", "null": "null", "no keys": "{}", "keys an object": `{"keys":{}}`, "an empty one": `{"keys":[]}`,
		"a member twice": strings.Replace(good, "{", `{"keys":[],`, 1), "not UTF-8": strings.Replace(good, `"more"`, "\"\xff\"", 1),
		"two of them": good + good, "too many": set(make([]members, 101)...), "too long": good + strings.Repeat(" ", 256<<10),
	} {
		if key, err := fromFile(t, text).Find(t.Context(), "ed"); !errors.Is(err, provider.ErrUnavailable) {
			t.Errorf("%s: %+v, %v", name, key, err)
		}
	}
}

// site serves what it is told to, and counts.
type site struct {
	*httptest.Server

	mu       sync.Mutex
	metadata string
	keys     string
	status   int
	location string
	asked    atomic.Int32
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{status: http.StatusOK, keys: set(edKey(t))}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		text := s.metadata
		if r.URL.Path == "/keys" {
			s.asked.Add(1)
			text = s.keys
		}
		if s.location != "" {
			w.Header().Set("Location", s.location)
		}
		w.WriteHeader(s.status)
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(s.Close)
	s.metadata = fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, s.URL, s.URL+"/keys")
	return s
}

func (s *site) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func TestMetadata(t *testing.T) {
	s := newSite(t)
	rule := "issuer=" + s.URL + ",audience=a"
	if _, err := read(t, rule, quick()).Find(t.Context(), "ed"); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"another issuer":      fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, s.URL+"/", s.URL+"/keys"),
		"no issuer":           fmt.Sprintf(`{"jwks_uri":%q}`, s.URL+"/keys"),
		"no keys":             fmt.Sprintf(`{"issuer":%q}`, s.URL),
		"keys in the clear":   fmt.Sprintf(`{"issuer":%q,"jwks_uri":"http://id.example/keys"}`, s.URL),
		"keys from a file":    fmt.Sprintf(`{"issuer":%q,"jwks_uri":"file:///etc/passwd"}`, s.URL),
		"issuer twice":        fmt.Sprintf(`{"issuer":"x","issuer":%q,"jwks_uri":%q}`, s.URL, s.URL+"/keys"),
		"something else":      "<html>",
		"a list of something": "[]",
	} {
		s.change(func() { s.metadata = text })
		if _, err := read(t, rule, quick()).Find(t.Context(), "ed"); !errors.Is(err, provider.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	s, other := newSite(t), newSite(t)
	s.change(func() { s.status, s.location = http.StatusFound, other.URL+"/keys" })
	if _, err := read(t, "issuer="+s.URL+",audience=a,jwks="+s.URL+"/keys", quick()).Find(t.Context(), "ed"); !errors.Is(err, provider.ErrUnavailable) {
		t.Error(err)
	}
	if other.asked.Load() != 0 {
		t.Error("it was followed")
	}
}

// A key that is new is found by who asks for it, one that was withdrawn is forgotten
// with the next reading, and a set that cannot be read again counts for a while.
func TestKeysFollowTheProvider(t *testing.T) {
	s := newSite(t)
	pace := quick()
	pace.Keep = 500 * time.Millisecond
	keys := read(t, "issuer="+s.URL+",audience=a", pace)
	if _, err := keys.Find(t.Context(), "ed"); err != nil {
		t.Fatal(err)
	}
	s.change(func() { s.keys = set(with(edKey(t), "kid", "next")) })
	if _, err := keys.Find(t.Context(), "next"); err != nil {
		t.Errorf("a new key: %v", err)
	}
	if _, err := keys.Find(t.Context(), "ed"); !errors.Is(err, provider.ErrUnknownKey) {
		t.Errorf("a withdrawn key: %v", err)
	}
	s.change(func() { s.status = http.StatusInternalServerError })
	if _, err := keys.Find(t.Context(), "another"); !errors.Is(err, provider.ErrUnavailable) {
		t.Errorf("while it is down: %v", err)
	}
	// Not for ever. Until then it may be found, or may already have run out.
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := keys.Find(t.Context(), "next")
		if errors.Is(err, provider.ErrUnavailable) {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("an old set still counts: %v", err)
		}
	}
	s.change(func() { s.status = http.StatusOK })
	for deadline := time.Now().Add(time.Minute); ; {
		if _, err := keys.Find(t.Context(), "next"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it is back and nobody has noticed")
		}
	}
}

// However many ask for keys that do not exist, the provider is asked as often as the
// throttle allows; nobody who asks for a key that is known waits for that.
func TestStrangersDoNotMakeUsAsk(t *testing.T) {
	s := newSite(t)
	pace := provider.Pace{Throttle: 100 * time.Millisecond, Timeout: 10 * time.Second}
	keys := read(t, "issuer="+s.URL+",audience=a", pace)
	if _, err := keys.Find(t.Context(), "ed"); err != nil {
		t.Fatal(err)
	}
	began, before := time.Now(), s.asked.Load()
	var asking sync.WaitGroup
	var refused atomic.Int32
	for n := range 1000 {
		asking.Go(func() {
			_, err := keys.Find(t.Context(), events.KeyID(fmt.Sprint(n)))
			switch {
			case errors.Is(err, provider.ErrUnavailable):
				refused.Add(1) // there were too many
			case !errors.Is(err, provider.ErrUnknownKey):
				t.Error(err)
			}
		})
	}
	asking.Wait()
	if most := 2 + int32(time.Since(began)/pace.Throttle); s.asked.Load()-before > most {
		t.Errorf("asked %d times, at most %d", s.asked.Load()-before, most)
	}
	if refused.Load() == 1000 {
		t.Error("nobody was answered")
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := keys.Find(done, "ed"); err != nil {
		t.Errorf("a known key: %v", err)
	}
	if _, err := keys.Find(done, "unknown"); !errors.Is(err, provider.ErrUnavailable) {
		t.Errorf("by who has given up: %v", err)
	}
}

// Who waits for a provider that hangs is let go when the issuer stops.
func TestStoppingLetsGo(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-release
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(release) })
	keys, stop := readUntil(t, "issuer="+s.URL+",audience=a", provider.Pace{Throttle: time.Hour, Timeout: time.Hour})
	<-asked
	found := make(chan error, 1)
	go func() {
		_, err := keys.Find(t.Context(), "k")
		found <- err
	}()
	stop()
	if err := <-found; !errors.Is(err, provider.ErrUnavailable) {
		t.Error(err)
	}
	if _, err := keys.Find(t.Context(), "k"); !errors.Is(err, provider.ErrUnavailable) {
		t.Errorf("later: %v", err)
	}
}
