package tlsfiles_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events/tlsfiles"
)

const patience = 20 * time.Second

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// sign gives a certificate and its key.
func (a authority) sign(t *testing.T, name string, usage x509.ExtKeyUsage, until time.Time) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-2 * time.Hour),
		NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, a.cert, private.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// site is a server on loopback that tells who has called.
type site struct {
	files    tlsfiles.Files
	source   *tlsfiles.Source
	url      string
	ca       authority
	clientCA authority
}

func newSite(t *testing.T, change ...func(*tlsfiles.Files)) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{
		files: tlsfiles.Files{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), ClientCA: filepath.Join(dir, "clients.crt")},
		ca:    newAuthority(t, "servers"), clientCA: newAuthority(t, "clients"),
	}
	for _, f := range change {
		f(&s.files)
	}
	s.serve(t, "first", s.clientCA)
	var err error
	if s.source, err = tlsfiles.Open(s.files); err != nil {
		t.Fatal(err)
	}
	var listener net.ListenConfig
	l, err := listener.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ReadHeaderTimeout: patience, TLSConfig: s.source.Config(), ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name := "nobody"
			if peer := tlsfiles.Peer(r.TLS); peer != nil {
				name = peer.Subject.CommonName
			}
			_, _ = io.WriteString(w, name)
		}),
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(running.Wait)
	t.Cleanup(func() { _ = server.Close() })
	s.url = "https://" + l.Addr().String()
	return s
}

// serve writes the files anew.
func (s *site) serve(t *testing.T, name string, clients authority) {
	t.Helper()
	cert, key := s.ca.sign(t, name, x509.ExtKeyUsageServerAuth, time.Now().Add(time.Hour))
	write(t, s.files.Cert, cert)
	write(t, s.files.Key, key)
	write(t, s.files.ClientCA, clients.pem)
}

// call gives what the server answers and its certificate's name.
func (s *site) call(t *testing.T, change func(*tls.Config)) (answer, server string, err error) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.ca.cert)
	config := &tls.Config{RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	change(config)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: config}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(s.url) //nolint:noctx // bounded by the client
	if err != nil {
		return "", "", err
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return "", "", err
	}
	if resp.TLS.DidResume {
		t.Error("a session was resumed")
	}
	return string(body), resp.TLS.PeerCertificates[0].Subject.CommonName, nil
}

func as(t *testing.T, a authority, name string, usage x509.ExtKeyUsage, until time.Time) func(*tls.Config) {
	t.Helper()
	cert, key := a.sign(t, name, usage, until)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *tls.Config) {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
}

func nothing(*tls.Config) {}

func TestWhoCalls(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	soon := time.Now().Add(time.Hour)
	stranger := newAuthority(t, "clients") // of the same name
	for name, c := range map[string]struct {
		change func(*tls.Config)
		answer string // none: no connection
	}{
		"no certificate":          {nothing, "nobody"},
		"a client's":              {as(t, s.clientCA, "carl", x509.ExtKeyUsageClientAuth, soon), "carl"},
		"expired":                 {as(t, s.clientCA, "carl", x509.ExtKeyUsageClientAuth, time.Now().Add(-time.Minute)), ""},
		"a server's":              {as(t, s.clientCA, "carl", x509.ExtKeyUsageServerAuth, soon), ""},
		"of another authority":    {as(t, stranger, "carl", x509.ExtKeyUsageClientAuth, soon), ""},
		"of the servers' own one": {as(t, s.ca, "carl", x509.ExtKeyUsageClientAuth, soon), ""},
		"TLS 1.2":                 {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, ""},
	} {
		answer, _, err := s.call(t, c.change)
		if answer != c.answer || (err == nil) != (c.answer != "") {
			t.Errorf("%s: got %q, %v", name, answer, err)
		}
	}
}

// Where a certificate is demanded there is nothing without one, and what was asked for
// only may be TLS 1.2.
func TestDemand(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(f *tlsfiles.Files) { f.Demand, f.TLS12 = true, true })
	carl := as(t, s.clientCA, "carl", x509.ExtKeyUsageClientAuth, time.Now().Add(time.Hour))
	if answer, _, err := s.call(t, nothing); err == nil {
		t.Errorf("without a certificate: %q", answer)
	}
	for _, version := range []uint16{tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		answer, _, err := s.call(t, func(c *tls.Config) { carl(c); c.MaxVersion = version; c.MinVersion = tls.VersionTLS11 })
		if (answer == "carl") != (version >= tls.VersionTLS12) || (err == nil) != (version >= tls.VersionTLS12) {
			t.Errorf("%s: %q, %v", tls.VersionName(version), answer, err)
		}
	}
}

// New files come into force without a restart, together or not at all.
func TestReload(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	carl := as(t, s.clientCA, "carl", x509.ExtKeyUsageClientAuth, time.Now().Add(time.Hour))
	other := newAuthority(t, "other clients")

	cert, err := os.ReadFile(s.files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	s.serve(t, "second", other)
	if _, server, err := s.call(t, carl); err != nil || server != "first" {
		t.Errorf("before reloading: %s, %v", server, err)
	}
	write(t, s.files.Cert, cert) // not of this key
	if err := s.source.Reload(); err == nil {
		t.Error("a certificate of another key was taken")
	}
	if answer, server, err := s.call(t, carl); err != nil || server != "first" || answer != "carl" {
		t.Errorf("after a fault: %s, %s, %v", answer, server, err)
	}
	s.serve(t, "second", other)
	if err := s.source.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, server, err := s.call(t, nothing); err != nil || server != "second" {
		t.Errorf("after reloading: %s, %v", server, err)
	}
	if answer, _, err := s.call(t, carl); err == nil {
		t.Errorf("an authority taken away is still believed: %s", answer)
	}
	for name, damage := range map[string]func(){
		"no certificate": func() { write(t, s.files.Cert, nil) },
		"no key":         func() { s.serve(t, "third", other); write(t, s.files.Key, nil) },
		"no authority":   func() { s.serve(t, "third", other); write(t, s.files.ClientCA, []byte("none")) },
		"no file":        func() { s.serve(t, "third", other); _ = os.Remove(s.files.ClientCA) },
	} {
		damage()
		if err := s.source.Reload(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, server, err := s.call(t, nothing); err != nil || server != "second" {
		t.Errorf("after faults: %s, %v", server, err)
	}
}

// Whoever writes the files need not tell anybody.
func TestRunNotices(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.source.Run(ctx, func(error) {}); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	s.serve(t, "second", s.clientCA)
	deadline := time.Now().Add(patience)
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		_, server, err := s.call(t, nothing)
		if err != nil {
			t.Fatal(err)
		}
		if server == "second" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the new certificate was not noticed")
		}
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		files tlsfiles.Files
		says  string
	}{
		"nothing":            {tlsfiles.Files{}, ""},
		"both":               {tlsfiles.Files{Cert: "c", Key: "k"}, ""},
		"all":                {tlsfiles.Files{Cert: "c", Key: "k", ClientCA: "a"}, ""},
		"no key":             {tlsfiles.Files{Cert: "c"}, "go together"},
		"no certificate":     {tlsfiles.Files{Key: "k"}, "go together"},
		"demanded of nobody": {tlsfiles.Files{Cert: "c", Key: "k", Demand: true}, "no authority"},
		"clients but no TLS": {tlsfiles.Files{ClientCA: "a"}, "over TLS alone"},
	} {
		err := c.files.Check()
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if tlsfiles.Peer(nil) != nil || tlsfiles.Peer(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}) != nil {
		t.Error("an unverified certificate is somebody's")
	}
}
