package app_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/revocast/revocast/events/eventstest"
)

// says waits until the log names a reason for there being no connection.
func (r *record) says(t *testing.T, reason string) {
	t.Helper()
	eventually(t, func() error {
		for line := range strings.Lines(r.String()) {
			if strings.Contains(line, "connecting to the broker: ") && strings.Contains(line, reason) {
				return nil
			}
		}
		return fmt.Errorf("nothing logged that says %q:\n%s", reason, r)
	})
}

// A broker that wants TLS and certificates of its clients. While it is away the
// issuer's certificate is replaced, and the old one is not taken any more. When the
// broker comes with a certificate of nobody known, the log says so.
func TestBrokerOverTLS(t *testing.T) {
	t.Parallel()
	ca, other := eventstest.NewCA(t, "ours"), eventstest.NewCA(t, "other")
	var refused atomic.Int64
	s := eventstest.RunServer(t, ca.MutualTLS(t, func(c *x509.Certificate) error {
		if c.SerialNumber.Int64() == refused.Load() {
			return errors.New("this certificate is refused")
		}
		return nil
	}))
	authorities := filepath.Join(t.TempDir(), "ca.pem")
	believe := func(a *eventstest.CA) {
		t.Helper()
		text, err := os.ReadFile(a.File)
		if err != nil {
			t.Fatal(err)
		}
		write(t, authorities, string(text))
	}
	believe(ca)
	cert, key := ca.Client(t, 2)
	i := start(t, on(t, s, t.TempDir(), "--nats-ca", authorities, "--nats-cert", cert, "--nats-key", key))
	i.login(t)

	s.Stop()
	i.waitFor(t, 503)
	refused.Store(2)
	ca.Issue(t, cert, key, 3, x509.ExtKeyUsageClientAuth)
	s.Start(t)
	i.waitFor(t, 200)
	i.login(t)

	s.Stop()
	i.waitFor(t, 503)
	believe(other)
	s.Start(t)
	i.log.says(t, "certificate signed by unknown authority")
	believe(ca)
	i.waitFor(t, 200)
	i.login(t)
}

// An issuer that starts waits for its broker, says what is wrong with it, and goes on
// when it is put right.
func TestStartWithTheWrongAuthority(t *testing.T) {
	t.Parallel()
	ca := eventstest.NewCA(t, "ours")
	s := eventstest.RunServer(t, ca.MutualTLS(t, nil))
	good, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	authorities := eventstest.NewCA(t, "other").File
	cert, key := ca.Client(t, 2)
	c := on(t, s, t.TempDir(), "--nats-ca", authorities, "--nats-cert", cert, "--nats-key", key)
	ctx, cancel := context.WithCancel(t.Context())
	var log record
	var opening sync.WaitGroup
	defer opening.Wait()
	defer cancel()
	opened := make(chan *issuer, 1)
	opening.Go(func() {
		i, err := openLogging(ctx, c, &log)
		if err != nil {
			t.Error(err)
			return
		}
		opened <- i
	})
	log.says(t, "certificate signed by unknown authority")
	write(t, authorities, string(good))
	opening.Wait()
	if t.Failed() {
		return
	}
	i := <-opened
	defer func() { _ = i.stop() }()
	i.waitFor(t, 200)
}
