// Package natsconntest tries package natsconn with real certificates and a real
// broker. It is apart so that natsconn's module does without them.
package natsconntest

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/natsconn"
	"github.com/revocast/revocast/events/topology"
)

func write(t *testing.T, name string, parts ...[]byte) string {
	t.Helper()
	if err := os.WriteFile(name, bytes.Join(parts, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func content(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Each fault is told with its flag and its file.
func TestFaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	ca, other := eventstest.NewCA(t, "ours"), eventstest.NewCA(t, "other")
	cert, key := ca.Client(t, 2)
	_, otherKey := ca.Client(t, 3)
	authority := content(t, ca.File)
	ca.Issue(t, at("server.pem"), at("server.key"), 4, x509.ExtKeyUsageServerAuth)
	several := write(t, at("several.pem"), []byte("# ours\n"), authority, []byte("\n# and theirs\n"), content(t, other.File))
	empty := write(t, at("empty.pem"))
	damaged := []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")

	for name, c := range map[string]struct {
		files natsconn.Files
		says  string
	}{
		"authority":    {natsconn.Files{CA: ca.File}, ""},
		"several":      {natsconn.Files{CA: several}, ""},
		"certificate":  {natsconn.Files{Cert: cert, Key: key}, ""},
		"all of it":    {natsconn.Files{CA: ca.File, Cert: cert, Key: key}, ""},
		"no authority": {natsconn.Files{CA: at("none.pem")}, "--nats-ca: open " + at("none.pem")},
		"a directory":  {natsconn.Files{CA: dir}, "--nats-ca: read " + dir},
		"empty":        {natsconn.Files{CA: empty}, "--nats-ca " + empty + ": holds no certificate"},
		"a key for it": {natsconn.Files{CA: key}, `--nats-ca ` + key + `: holds a "PRIVATE KEY"`},
		"cut off":      {natsconn.Files{CA: write(t, at("cut.pem"), authority, authority[:len(authority)/2])}, "only 1 of 2 PEM blocks"},
		"cut in two":   {natsconn.Files{CA: write(t, at("mid.pem"), authority[:len(authority)/2], authority)}, "only 0 of 2 PEM blocks"},
		"no DER":       {natsconn.Files{CA: write(t, at("der.pem"), authority, damaged)}, "certificate 2: x509"},
		"too large":    {natsconn.Files{CA: write(t, at("large.pem"), authority, make([]byte, 1<<20))}, "is larger than 1048576 bytes"},

		"no key":         {natsconn.Files{Cert: cert}, "--nats-cert " + cert + ": needs its key; name it by --nats-key"},
		"no certificate": {natsconn.Files{Key: key}, "--nats-key " + key + ": needs its certificate; name it by --nats-cert"},
		"lost key":       {natsconn.Files{Cert: cert, Key: at("none.key")}, "--nats-key: open " + at("none.key")},
		"lost pair":      {natsconn.Files{Cert: at("none.pem"), Key: key}, "--nats-cert: open " + at("none.pem")},
		"another's key":  {natsconn.Files{Cert: cert, Key: otherKey}, "--nats-cert " + cert + ", --nats-key " + otherKey + ": tls: private key does not match"},
		"switched":       {natsconn.Files{Cert: key, Key: cert}, "switched"},
		"a server's":     {natsconn.Files{Cert: at("server.pem"), Key: at("server.key")}, "lacks clientAuth"},
	} {
		err := c.files.Check()
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		// Who connects all the same learns it too.
		conn, connecting := nats.Connect("nats://127.0.0.1:1", append(c.files.Options(func(error) {}), nats.RetryOnFailedConnect(true))...)
		if connecting == nil {
			conn.Close()
		}
		if fmt.Sprint(connecting) != fmt.Sprint(err) {
			t.Errorf("%s: connecting says %v, checking %v", name, connecting, err)
		}
	}
	err := natsconn.Files{CA: empty, Cert: cert}.Check()
	if err == nil || !strings.Contains(err.Error(), "--nats-ca") || !strings.Contains(err.Error(), "--nats-cert") {
		t.Errorf("of two faults: %v", err)
	}
}

// What the files say when a connection is opened again counts; what cannot be read
// then does not, and is told.
func TestReadAgain(t *testing.T) {
	t.Parallel()
	ca, other := eventstest.NewCA(t, "ours"), eventstest.NewCA(t, "other")
	var seen atomic.Int64
	s := eventstest.RunServer(t, eventstest.Empty(), ca.MutualTLS(t, func(c *x509.Certificate) error {
		seen.Store(c.SerialNumber.Int64())
		return nil
	}))
	var warned atomic.Pointer[string]
	var files natsconn.Files
	files.CA = write(t, filepath.Join(t.TempDir(), "ca.pem"), content(t, ca.File))
	files.Cert, files.Key = ca.Client(t, 2)
	conn, err := nats.Connect(s.URL(), append(files.Options(func(err error) { warned.Store(new(err.Error())) }),
		nats.UserCredentials(s.Credentials(topology.Sidecar)), nats.CustomInboxPrefix(topology.Sidecar.InboxPrefix()),
		nats.MaxReconnects(-1), nats.ReconnectWait(1), nats.ReconnectJitter(0, 0), nats.IgnoreAuthErrorAbort())...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	again := func(serial int64) {
		t.Helper()
		before := conn.Stats().Reconnects
		warned.Store(nil)
		if err := conn.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
		eventstest.Eventually(t, func(context.Context) error {
			if conn.Stats().Reconnects == before || !conn.IsConnected() {
				return errors.New("not connected again")
			}
			return nil
		})
		if got := seen.Load(); got != serial {
			t.Errorf("certificate %d, want %d", got, serial)
		}
		if state, err := conn.TLSConnectionState(); err != nil || state.Version < 0x0303 {
			t.Errorf("TLS %x, %v", state.Version, err)
		}
	}
	if seen.Load() != 2 {
		t.Errorf("certificate %d, want 2", seen.Load())
	}
	ca.Issue(t, files.Cert, files.Key, 3, x509.ExtKeyUsageClientAuth)
	again(3)
	if w := warned.Load(); w != nil {
		t.Errorf("warned of good files: %s", *w)
	}

	cert, key := ca.Client(t, 4)
	write(t, files.Cert, content(t, cert)) // its key is yet to come
	again(3)
	if w := warned.Load(); w == nil || !strings.Contains(*w, "staying with what was read before: --nats-cert "+files.Cert) {
		t.Errorf("half a rotation: %v", w)
	}
	write(t, files.Key, content(t, key))
	again(4)

	if err := os.Remove(files.CA); err != nil {
		t.Fatal(err)
	}
	again(4)
	if w := warned.Load(); w == nil || !strings.Contains(*w, "--nats-ca: open "+files.CA) {
		t.Errorf("a lost authority: %v", w)
	}

	// An authority that is taken away is not believed any more.
	write(t, files.CA, content(t, other.File))
	if err := conn.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	eventstest.Eventually(t, func(context.Context) error {
		if _, unknown := errors.AsType[x509.UnknownAuthorityError](conn.LastError()); !unknown || conn.IsConnected() {
			return fmt.Errorf("connected: %v, %w", conn.IsConnected(), conn.LastError())
		}
		return nil
	})
	write(t, files.CA, content(t, other.File), content(t, ca.File))
	eventstest.Eventually(t, func(context.Context) error {
		if !conn.IsConnected() {
			return conn.LastError()
		}
		return nil
	})
}

// Files ask for TLS; a server without it is not talked to.
func TestTLSIsDemanded(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, eventstest.Empty())
	for name, files := range map[string]natsconn.Files{
		"authority":   {CA: eventstest.NewCA(t, "ours").File},
		"certificate": func() (f natsconn.Files) { f.Cert, f.Key = eventstest.NewCA(t, "ours").Client(t, 2); return f }(),
	} {
		conn, err := nats.Connect(s.URL(), append(files.Options(func(error) {}), nats.UserCredentials(s.Credentials(topology.Sidecar)))...)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, nats.ErrSecureConnWanted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
