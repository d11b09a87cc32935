package app_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

// Issuers that start at the same moment on an empty broker, with nothing but an empty
// key directory in common, are one realm.
func TestIssuersThatStartAtOnce(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, eventstest.Empty())
	shared := t.TempDir()
	first := on(t, s, t.TempDir(), "--keys-dir", filepath.Join(shared, "keys"), "--admin-token-file", filepath.Join(shared, "admin.token"))
	issuers := make([]*issuer, 3)
	var group errgroup.Group
	for n := range issuers {
		c := first
		if n > 0 {
			c = replica(t, first)
		}
		group.Go(func() (err error) {
			issuers[n], err = open(context.Background(), c)
			return err
		})
	}
	err := group.Wait()
	for _, i := range issuers {
		if i != nil {
			t.Cleanup(func() {
				if err := i.stop(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range issuers {
		i.waitFor(t, 200)
	}
	mine := issuers[0].login(t)
	for _, i := range issuers {
		i.call(t, "GET", "/v1/session", mine.Access).want(t, 200)
		mine = decode[tokens](t, i.refresh(t, mine.Refresh, mobile).want(t, 200))
		i.operate(t, "GET", "/admin/v1/subjects/x/sessions", "").want(t, 200)
	}
}

// An issuer does not start on keys that others can read, and says what to do.
func TestKeysThatOthersCanRead(t *testing.T) {
	t.Parallel()
	c := configure(t, t.TempDir())
	i := start(t, c)
	if err := i.stop(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		c.KeysDir, filepath.Join(c.KeysDir, "signing-es256.pem"), filepath.Join(c.KeysDir, "signing-rs256.pem"),
		filepath.Join(c.KeysDir, "refresh-keys.json"), filepath.Join(c.KeysDir, "subject-key.txt"), filepath.Join(c.KeysDir, "realm-root.pem"),
		filepath.Join(c.KeysDir, "broker", "account-issuer.nk"), c.AdminTokenFile,
	} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, more := range []os.FileMode{0o040, 0o004, 0o020} {
			if err := os.Chmod(name, info.Mode().Perm()|more); err != nil {
				t.Fatal(err)
			}
			i, err := open(t.Context(), c)
			if err == nil {
				t.Errorf("%s with mode %o: the issuer started", name, info.Mode().Perm()|more)
				if err := i.stop(); err != nil {
					t.Fatal(err)
				}
			} else if text := err.Error(); !strings.Contains(text, filepath.Base(name)) || !strings.Contains(text, "chmod") && !strings.Contains(text, "want 0600") {
				t.Errorf("%s: %q does not say what to do", name, text)
			}
		}
		if err := os.Chmod(name, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	start(t, c).login(t)
}

// An address that is taken is noticed at once, whichever it is, and named.
func TestAddressesThatAreTaken(t *testing.T) {
	t.Parallel()
	c := configure(t, t.TempDir())
	for _, address := range []string{c.NATSListen, c.Listen, c.AdminListen, c.MetricsListen} {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		i, err := open(t.Context(), c)
		if err == nil {
			err = i.stop()
		}
		if err == nil || !strings.Contains(err.Error(), address) {
			t.Errorf("%s is taken: %v", address, err)
		}
		if took := time.Since(began); took > patience {
			t.Errorf("%s is taken: noticed after %s", address, took)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A broker that does not take the issuer's credentials is waited for, like one that is
// not there yet; what is said at the end is why.
func TestCredentialsThatAreRefused(t *testing.T) {
	t.Parallel()
	s, other := eventstest.RunServer(t, eventstest.Empty()), eventstest.RunServer(t, eventstest.Empty())
	for name, c := range map[string]struct{ creds, says string }{
		"of another broker": {other.Credentials(topology.Issuer), "authorization violation"},
		"of another role":   {s.Credentials(topology.Sidecar), "JOURNAL"},
		"none":              {filepath.Join(t.TempDir(), "none.creds"), "none.creds"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		i, err := open(ctx, on(t, s, t.TempDir(), "--nats-creds", c.creds))
		cancel()
		if err == nil {
			t.Errorf("%s: the issuer started", name)
			if err := i.stop(); err != nil {
				t.Fatal(err)
			}
		} else if !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Two brokers on one directory would each lose what the other acknowledges.
func TestDataDirectoriesAreNotShared(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := configure(t, dir)
	i := start(t, first)
	second := configure(t, dir, "--issuer", first.Issuer)
	if other, err := open(t.Context(), second); err == nil {
		t.Error("two brokers run on one directory")
		if err := other.stop(); err != nil {
			t.Fatal(err)
		}
	} else if !strings.Contains(err.Error(), first.DataDir) || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("got %v", err)
	}
	mine := i.login(t)
	if err := i.stop(); err != nil {
		t.Fatal(err)
	}
	// Once it is free it can be taken, at whatever address.
	start(t, second).call(t, "GET", "/v1/session", mine.Access).want(t, 200)
}
