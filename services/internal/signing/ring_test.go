package signing

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/refresh"
)

func use(tb testing.TB, k *Keys, r Ring) {
	tb.Helper()
	if err := k.Use(r); err != nil {
		tb.Fatal(err)
	}
}

func sign(tb testing.TB, k *Keys) string {
	tb.Helper()
	token, err := k.Sign(access(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// at is a directory's keys by a clock that the test sets.
func at(tb testing.TB, now *time.Time) *Keys {
	tb.Helper()
	cfg := config(filled(tb))
	cfg.Now = func() time.Time { return *now }
	return open(tb, cfg)
}

// Of the keys in force the newest signs whose time has come, and all are accepted
// until they are over.
func TestKeysFollowEachOther(t *testing.T) {
	now := noon()
	k := at(t, &now)
	old, next := k.First()[0], newPairOf(t, algES256)
	id := func(p *Pair) events.KeyID { return p.public.described.ID }
	use(t, k, Ring{
		Accepted: []Accepted{{next.Public(), time.Time{}}, {old.Public(), noon().Add(2 * time.Minute)}},
		Signers:  []Signer{{next, noon().Add(time.Minute)}, {old, noon().Add(-time.Hour)}},
	})
	for _, step := range []struct {
		after time.Duration
		want  *Pair
	}{{0, old}, {time.Minute - 1, old}, {time.Minute, next}, {time.Hour, next}} {
		now = noon().Add(step.after)
		token := sign(t, k)
		if _, kid, err := k.Verify(token, noon()); err != nil || kid != id(step.want) {
			t.Errorf("after %s %s signs, %v; want %s", step.after, kid, err, id(step.want))
		}
	}
	now = noon()
	token := sign(t, k)
	if _, _, err := k.Verify(token, noon().Add(2*time.Minute-1)); err != nil {
		t.Errorf("before its key is over: %v", err)
	}
	if _, _, err := k.Verify(token, noon().Add(2*time.Minute)); !errors.Is(err, ErrUntrusted) || errors.Is(err, ErrUnknownSigner) {
		t.Errorf("when its key is over: %v", err)
	}

	use(t, k, Ring{Accepted: []Accepted{{Public: next.Public()}}, Signers: []Signer{{next, noon().Add(time.Minute)}}})
	if _, _, err := k.Verify(token, noon()); !errors.Is(err, ErrUnknownSigner) || !errors.Is(err, ErrUntrusted) {
		t.Errorf("of a key that is gone: %v", err)
	}
	if _, kid, err := k.Verify(sign(t, k), noon()); err != nil || kid != id(next) {
		t.Errorf("the only key signs early: %s, %v", kid, err)
	}
	if list := k.Public(); len(list) != 1 || list[0].ID != id(next) {
		t.Errorf("published: %v", list)
	}
}

// No key, or a view of them that is too old, is no reason to refuse for good.
func TestNothingSigns(t *testing.T) {
	now := noon()
	k := at(t, &now)
	pair := k.First()[0]
	r := Ring{Accepted: []Accepted{{Public: pair.Public()}}, Signers: []Signer{{Pair: pair}}, FreshUntil: noon()}
	use(t, k, r)
	token := sign(t, k)
	now = noon().Add(1)
	if got, err := k.Sign(access(t)); !errors.Is(err, events.ErrUnavailable) || got != "" {
		t.Errorf("by an old view: %q, %v", got, err)
	}
	if _, _, err := k.Verify(token, now); err != nil {
		t.Errorf("an old view refuses: %v", err)
	}
	if k.CanSign() == nil {
		t.Error("it says that it signs")
	}
	use(t, k, Ring{})
	if got, err := k.Sign(access(t)); !errors.Is(err, events.ErrUnavailable) || got != "" || k.CanSign() == nil {
		t.Errorf("without a key: %q, %v", got, err)
	}
	w := httptest.NewRecorder()
	k.ServeJWKS(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	if w.Body.String() != `{"keys":[]}` {
		t.Errorf("an empty set is %s", w.Body)
	}
}

func TestMACKeysFollowEachOther(t *testing.T) {
	now := noon()
	k := at(t, &now)
	first := k.RefreshKey()
	next, _ := macKey(t, 1)
	retired, _ := macKey(t, 2)
	use(t, k, Ring{
		MACs:       []refresh.Key{retired},
		MACSigners: []MACSigner{{next, noon().Add(time.Minute)}, {first, noon().Add(-time.Minute)}},
	})
	if got := k.RefreshKey(); got.ID() != first.ID() {
		t.Errorf("before its time: %s", got)
	}
	now = noon().Add(time.Minute)
	if got := k.RefreshKey(); got.ID() != next.ID() {
		t.Errorf("when its time has come: %s", got)
	}
	for _, key := range []refresh.Key{first, next, retired} {
		if got, err := k.RefreshKeyByID(key.ID()); err != nil || got.ID() != key.ID() {
			t.Errorf("%s: %v, %v", key, got, err)
		}
	}
	use(t, k, Ring{})
	if _, err := k.RefreshKeyByID(next.ID()); !errors.Is(err, ErrUnknownKey) || k.RefreshKey().ID() != first.ID() {
		t.Errorf("the directory's keys alone: %v, %s", err, k.RefreshKey())
	}
}

// Everything works while keys change: what is signed verifies, and the document is
// one of those published.
func TestChangeUnderLoad(t *testing.T) {
	k := open(t, config(filled(t)))
	pairs := []*Pair{k.First()[0], newPairOf(t, algES256), newPairOf(t, algES256)}
	all := []Accepted{{Public: pairs[0].Public()}, {Public: pairs[1].Public()}, {Public: pairs[2].Public()}}
	use(t, k, Ring{Accepted: all, Signers: []Signer{{Pair: pairs[0]}}})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				token, err := k.Sign(access(t))
				if err != nil {
					t.Error(err)
					return
				}
				if _, _, err := k.Verify(token, noon()); err != nil {
					t.Errorf("signed and refused: %v", err)
					return
				}
				w := httptest.NewRecorder()
				k.ServeJWKS(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
				var set struct{ Keys []json.RawMessage }
				if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || len(set.Keys) != 3 {
					t.Errorf("%d keys, %v", len(set.Keys), err)
					return
				}
			}
		})
	}
	for i := range 300 {
		use(t, k, Ring{Accepted: all, Signers: []Signer{{Pair: pairs[i%3]}}})
	}
	close(stop)
	wg.Wait()
}

// A public key is read as it is written here, and in no second way.
func TestParsePublic(t *testing.T) {
	for _, algorithm := range []string{algES256, algRS256} {
		p := newPairOf(t, algorithm)
		k := p.Public().Key()
		if got, err := ParsePublic(k); err != nil || got.described.ID != k.ID || got.method.Alg() != algorithm {
			t.Fatalf("%s: %v", algorithm, err)
		}
		other := newPairOf(t, algES256).Public().Key()
		for name, change := range map[string]func(*events.Key){
			"another id": func(k *events.Key) { k.ID = other.ID },
			"another algorithm": func(k *events.Key) {
				k.Algorithm = map[string]string{algES256: algRS256, algRS256: algES256}[algorithm]
			},
			"no algorithm":    func(k *events.Key) { k.Algorithm = "" },
			"another key":     func(k *events.Key) { k.JWK = other.JWK },
			"a member more":   func(k *events.Key) { k.JWK = append([]byte(`{"d":"AA",`), k.JWK[1:]...) },
			"space":           func(k *events.Key) { k.JWK = append([]byte(" "), k.JWK...) },
			"no JSON":         func(k *events.Key) { k.JWK = []byte("x") },
			"nothing":         func(k *events.Key) { k.JWK = nil },
			"an empty object": func(k *events.Key) { k.JWK = []byte("{}") },
			"no coordinates":  func(k *events.Key) { k.JWK = []byte(`{"kty":"EC","crv":"P-256"}`) },
			"no exponent":     func(k *events.Key) { k.JWK = []byte(`{"kty":"RSA","n":"AQAB"}`) },
		} {
			changed := k
			change(&changed)
			if got, err := ParsePublic(changed); err == nil {
				t.Errorf("%s, %s: read as %v", algorithm, name, got.described.ID)
			}
		}
	}
	if _, err := NewPair("none"); err == nil {
		t.Error("a key for no algorithm")
	}
}

func BenchmarkSign(b *testing.B) {
	k := open(b, config(filled(b)))
	c := access(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Sign(c); err != nil {
			b.Fatal(err)
		}
	}
}
