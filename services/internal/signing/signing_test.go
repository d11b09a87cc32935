package signing

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/claims"
)

const (
	issuer   = "https://id.example"
	audience = "https://api.example"
)

// template is a key directory as a first start leaves it, file by file: making RSA
// keys is most of what the tests would do otherwise.
var template = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if _, err := Open(config(filepath.Join(dir, "keys"))); err != nil {
		return nil, err
	}
	return contents(filepath.Join(dir, "keys"))
})

func contents(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	for _, e := range entries {
		if all[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// filled makes a directory like the template.
func filled(tb testing.TB) string {
	tb.Helper()
	files, err := template()
	if err != nil {
		tb.Fatal(err)
	}
	dir := filepath.Join(tb.TempDir(), "keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	for name, data := range files {
		put(tb, dir, name, data)
	}
	return dir
}

func put(tb testing.TB, dir, name string, data []byte) {
	tb.Helper()
	// By a rename, as an operator's tool would do it under a running issuer.
	tmp := filepath.Join(tb.TempDir(), "f")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		tb.Fatal(err)
	}
}

func config(dir string) Config {
	return Config{Dir: dir, Issuer: issuer, Audiences: []string{audience}}
}

func open(tb testing.TB, cfg Config) *Keys {
	tb.Helper()
	k, err := Open(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func newUUID(tb testing.TB) string {
	tb.Helper()
	u, err := uuid.NewV7()
	if err != nil {
		tb.Fatal(err)
	}
	return u.String()
}

// noon is when the tokens of these tests are minted.
func noon() time.Time { return time.Unix(1_795_000_000, 0) }

func access(tb testing.TB) claims.Access {
	tb.Helper()
	return claims.Access{
		Issuer: issuer, Subject: "u-7", Audience: claims.Audience{audience}, ClientID: "app",
		IssuedAt: noon().Unix(), Expires: noon().Add(5 * time.Minute).Unix(), ID: newUUID(tb), Session: newUUID(tb),
		SessionAt: "0:1795000000000001", MintedAt: "0:1795000000000002", Scope: "read write", Roles: []string{"admin"},
		AuthTime: noon().Unix(), AMR: []string{"pwd"},
	}
}

func TestFirstStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "keys")
	first := open(t, config(dir))
	modes := map[string]fs.FileMode{
		".": 0o700, fileES256: 0o600, fileRS256: 0o600, fileRefresh: 0o600, fileSubject: 0o600,
		fileRoot: 0o600, fileRootPub: 0o644, fileVersion: 0o600,
	}
	for name, want := range modes {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	before, err := contents(dir)
	if err != nil || len(before) != len(modes)-1 {
		t.Errorf("%d files, %v: something is left over", len(before), err)
	}

	second := open(t, config(dir))
	sameKeys(t, first, second)
	if after, err := contents(dir); err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("a second start changed files: %v", err)
	}
}

func sameKeys(t *testing.T, a, b *Keys) {
	t.Helper()
	key := func(k *Keys) events.SubjectKey { return k.Keyer().Key(events.KindSubject, issuer, "u-7") }
	if !bytes.Equal(a.ring.Load().jwks, b.ring.Load().jwks) || !a.Root().Equal(b.Root()) || key(a) != key(b) || a.RefreshKey().ID() != b.RefreshKey().ID() {
		t.Error("two issuers on one directory have different keys")
	}
	token, err := a.Sign(access(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Verify(token, noon()); err != nil {
		t.Errorf("one refuses what the other signed: %v", err)
	}
}

// However many issuers start at once on nothing, they have the same keys.
func TestConcurrentFirstStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	all := make([]*Keys, 4)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			<-start
			var err error
			if all[i], err = Open(config(dir)); err != nil {
				t.Errorf("issuer %d: %v", i, err)
			}
		})
	}
	close(start)
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, k := range all[1:] {
		sameKeys(t, all[0], k)
	}
	files, err := contents(dir)
	if err != nil || len(files) != 7 {
		t.Errorf("%d files left, %v", len(files), err)
	}
}

// A first start that was cut off anywhere is finished by the next, which keeps what
// is there.
func TestInterruptedFirstStart(t *testing.T) {
	order := []string{fileES256, fileRS256, fileRefresh, fileSubject, fileRoot, fileRootPub, fileVersion}
	files, err := template()
	if err != nil {
		t.Fatal(err)
	}
	for n := 2; n < len(order); n++ { // from 2 on, so as not to make RSA keys
		t.Run(fmt.Sprintf("after %d files", n), func(t *testing.T) {
			dir := filled(t)
			for _, name := range order[n:] {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			put(t, dir, ".new-0123456789abcdef", []byte("half a fi"))
			sameKeys(t, open(t, config(dir)), open(t, config(dir)))
			after, err := contents(dir)
			if err != nil {
				t.Fatal(err)
			}
			for i, name := range order {
				if _, ok := after[name]; !ok || i < n && !bytes.Equal(after[name], files[name]) {
					t.Errorf("%s was lost or replaced", name)
				}
			}
		})
	}
}

// After the first start a missing file is a loss that only a human can mend.
func TestMissingFileIsNotMadeAgain(t *testing.T) {
	for _, name := range []string{fileES256, fileRS256, fileRefresh, fileSubject, fileRoot, fileRootPub} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t)
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(config(dir)); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "restore") {
				t.Errorf("got %v", err)
			}
			if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
				t.Error("it was made again")
			}
		})
	}
}

func TestConfigNamesEveryFault(t *testing.T) {
	_, err := Open(Config{Algorithm: "none", MaxSkew: -1})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, word := range []string{"directory", "issuer", "audience", `"none"`, "skew"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not name %s", err, word)
		}
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	k := open(t, config(filled(t)))
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		_, _ = fmt.Fprintf(&out, verb+"\n", k)
		_, _ = fmt.Fprintf(&out, verb+"\n", []any{k})
	}
	if n := strings.Count(out.String(), k.String()); n != 14 || out.Len() > 14*40 {
		t.Errorf("they print %q", out.String())
	}
	if text, err := k.MarshalText(); err != nil || string(text) != k.String() {
		t.Errorf("they encode as %s, %v", text, err)
	}
}
