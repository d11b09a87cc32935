package eventstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA is an authority of one test, for connections secured by TLS.
type CA struct {
	// File is its certificate.
	File string

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pool        *x509.CertPool
}

// NewCA makes an authority. Its name tells it from others.
func NewCA(t testing.TB, name string) *CA {
	t.Helper()
	key := newECKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c := &CA{File: filepath.Join(t.TempDir(), "ca.pem"), certificate: certificate, key: key, pool: x509.NewCertPool()}
	c.pool.AddCert(certificate)
	writePEM(t, c.File, "CERTIFICATE", der)
	return c
}

// Issue writes a certificate for 127.0.0.1 and its key, in place of what the files
// hold.
func (c *CA) Issue(t testing.TB, certFile, keyFile string, serial int64, use x509.ExtKeyUsage) {
	t.Helper()
	key := newECKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{use}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, c.certificate, &key.PublicKey, c.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, certFile, "CERTIFICATE", der)
	writePEM(t, keyFile, "PRIVATE KEY", private)
}

// Client issues a client's certificate into a directory of its own.
func (c *CA) Client(t testing.TB, serial int64) (certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	c.Issue(t, certFile, keyFile, serial, x509.ExtKeyUsageClientAuth)
	return certFile, keyFile
}

// MutualTLS makes a single server that only talks to clients with a certificate of
// the authority. admit may be nil; its error refuses a certificate all the same.
func (c *CA) MutualTLS(t testing.TB, admit func(*x509.Certificate) error) Option {
	t.Helper()
	pair := func(serial int64, use x509.ExtKeyUsage) []tls.Certificate {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		c.Issue(t, cert, key, serial, use)
		p, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{p}
	}
	server := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: pair(1<<32, x509.ExtKeyUsageServerAuth),
		ClientCAs: c.pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
	if admit != nil {
		server.VerifyConnection = func(s tls.ConnectionState) error { return admit(s.PeerCertificates[0]) }
	}
	return TLS(server, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: pair(1<<32+1, x509.ExtKeyUsageClientAuth), RootCAs: c.pool})
}

func newECKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// writePEM replaces a file in one step, as whoever rotates certificates should.
func writePEM(t testing.TB, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(name+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}
