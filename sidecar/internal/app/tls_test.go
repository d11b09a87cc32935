package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/sidecar/internal/config"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// secured reaches the broker by TLS, and only by the second of two URLs.
func secured(s *eventstest.Server, ca, cert, key string) func(*config.Config) {
	return func(c *config.Config) {
		c.NATSURL = "tls://127.0.0.1:1,tls://" + strings.TrimPrefix(s.URL(), "nats://")
		c.NATSCA, c.NATSCert, c.NATSKey = ca, cert, key
	}
}

// A broker that wants TLS and certificates of its clients. While it is away the
// sidecar's certificate is replaced, and the old one is not taken any more.
func TestBrokerOverTLS(t *testing.T) {
	t.Parallel()
	ca := eventstest.NewCA(t, "ours")
	var refused atomic.Int64
	s := eventstest.RunServer(t, ca.MutualTLS(t, func(c *x509.Certificate) error {
		if c.SerialNumber.Int64() == refused.Load() {
			return errors.New("this certificate is refused")
		}
		return nil
	}))
	i := newIssuance(t, s)
	cert, key := ca.Client(t, 2)
	r := startSidecar(t, s, i.public(), t.TempDir(), secured(s, ca.File, cert, key))
	signer, k := newKey(t, "k-1", unreachable)
	i.announce(t, events.KeyAdded{Key: codec.SignKey(i.root, eventstest.Realm, k)})
	i.revoke(t, revocation(events.KindSession, "first"))
	r.becomes(t, tokenWith(t, signer, "here"), http.StatusOK)
	r.becomes(t, tokenWith(t, signer, "first"), http.StatusUnauthorized)

	s.Stop()
	refused.Store(2)
	ca.Issue(t, cert, key, 3, x509.ExtKeyUsageClientAuth)
	s.Start(t)
	i.js = newIssuance(t, s).js
	i.revoke(t, revocation(events.KindSession, "second"))
	r.becomes(t, tokenWith(t, signer, "second"), http.StatusUnauthorized)
	r.becomes(t, tokenWith(t, signer, "here"), http.StatusOK)
	if report := r.fsck(t); !report.Clean {
		t.Errorf("fsck over TLS: %+v", report)
	}
}

// A broker that cannot prove itself, or does not know the sidecar, is not followed.
// The log says why, and mending the files is enough.
func TestWrongCertificates(t *testing.T) {
	t.Parallel()
	ours, other := eventstest.NewCA(t, "ours"), eventstest.NewCA(t, "other")
	s := eventstest.RunServer(t, ours.MutualTLS(t, nil))
	i := newIssuance(t, s)
	good, err := os.ReadFile(ours.File)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := ours.Client(t, 2)
	strangerCert, strangerKey := other.Client(t, 2)
	// By TLS 1.3 a client is refused when its handshake is over: it reads the alert, or
	// finds the connection closed.
	const refusedByBroker = "remote"
	for name, c := range map[string]struct {
		ca, cert, key string
		says          string
		mend          func(*testing.T, *running)
	}{
		"another authority": {
			other.File, cert, key, "certificate signed by unknown authority",
			func(t *testing.T, r *running) {
				t.Helper()
				if err := os.WriteFile(r.cfg.NATSCA, good, 0o600); err != nil {
					t.Fatal(err)
				}
			},
		},
		"another's client": {
			ours.File, strangerCert, strangerKey, refusedByBroker,
			func(t *testing.T, r *running) {
				t.Helper()
				ours.Issue(t, r.cfg.NATSCert, r.cfg.NATSKey, 3, x509.ExtKeyUsageClientAuth)
			},
		},
		"no certificate": {ours.File, "", "", refusedByBroker, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := launchSidecar(t, s, i.public(), t.TempDir(), secured(s, c.ca, c.cert, c.key), func(c *config.Config) {
				c.NATSURL = s.URL() // nats:// too: the files demand TLS
			})
			r.saysWhy(t, c.says)
			if err := r.node.Unready(); err == nil {
				t.Error("ready")
			}
			if c.mend != nil {
				c.mend(t, r)
				eventstest.Eventually(t, func(context.Context) error { return r.node.Unready() })
			}
		})
	}
}

// saysWhy waits until the log has a reason for not connecting that contains the words.
func (r *running) saysWhy(t *testing.T, words string) {
	t.Helper()
	eventstest.Eventually(t, func(context.Context) error {
		for _, line := range r.logged.All() {
			if reason, ok := strings.CutPrefix(line.Message, "connecting to the broker: "); ok && strings.Contains(reason, words) {
				return nil
			}
		}
		return fmt.Errorf("nothing logged that says %q: %v", words, r.logged.All())
	})
}

// A sidecar whose broker comes back with a certificate that it does not believe says so,
// and is there again once the authorities are right.
func TestReconnectsToAStranger(t *testing.T) {
	t.Parallel()
	ours, other := eventstest.NewCA(t, "ours"), eventstest.NewCA(t, "other")
	s := eventstest.RunServer(t, ours.MutualTLS(t, nil))
	cert, key := ours.Client(t, 2)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	believe := func(file string) {
		t.Helper()
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(ca, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	believe(ours.File)
	r := startSidecar(t, s, newIssuance(t, s).public(), t.TempDir(), secured(s, ca, cert, key), func(c *config.Config) {
		c.NATSURL = s.URL()
	})
	believe(other.File)
	s.Stop()
	s.Start(t)
	r.saysWhy(t, "unknown authority")
	believe(ours.File)
	eventstest.Eventually(t, func(context.Context) error {
		if phase := r.node.Syncer.State().Phase; phase != replica.Following {
			return fmt.Errorf("phase %v", phase)
		}
		return nil
	})
}
