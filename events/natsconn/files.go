package natsconn

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// maxFile bounds what is read of a file in bytes: four times the authorities of a
// usual system.
const maxFile = 1 << 20

// Files name PEM files. The zero value names none: TLS is then spoken where a URL or
// the server asks for it, and the system's authorities are believed.
type Files struct {
	// CA has the authorities that the servers' certificates must come from. They
	// take the place of the system's.
	CA string
	// Cert and Key are the client's own certificate, with its chain, and its key;
	// both or neither.
	Cert, Key string
}

// Check reads the files and lists every fault, each with its flag and its file.
func (f Files) Check() error {
	var faults []error
	if f.CA != "" {
		_, err := f.roots()
		faults = append(faults, err)
	}
	if f.Cert != "" || f.Key != "" {
		_, err := f.certificate()
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// roots is strict where [x509.CertPool.AppendCertsFromPEM] skips: an authority that
// is missing because a file was cut off would show as a broker that nobody believes.
func (f Files) roots() (*x509.CertPool, error) {
	text, err := read("--nats-ca", f.CA)
	if err != nil {
		return nil, err
	}
	pool, found := x509.NewCertPool(), 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("--nats-ca %s: holds a %.40q; want certificates alone", f.CA, block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("--nats-ca %s: certificate %d: %w", f.CA, found+1, err)
		}
		pool.AddCert(certificate)
		found++
	}
	switch begun := bytes.Count(text, []byte("-----BEGIN ")); {
	case begun != found:
		return nil, fmt.Errorf("--nats-ca %s: only %d of %d PEM blocks can be read", f.CA, found, begun)
	case found == 0:
		return nil, fmt.Errorf("--nats-ca %s: holds no certificate in PEM", f.CA)
	}
	return pool, nil
}

func (f Files) certificate() (none tls.Certificate, err error) {
	switch {
	case f.Key == "":
		return none, fmt.Errorf("--nats-cert %s: needs its key; name it by --nats-key", f.Cert)
	case f.Cert == "":
		return none, fmt.Errorf("--nats-key %s: needs its certificate; name it by --nats-cert", f.Key)
	}
	certificate, err1 := read("--nats-cert", f.Cert)
	key, err2 := read("--nats-key", f.Key)
	if err := errors.Join(err1, err2); err != nil {
		return none, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return none, fmt.Errorf("--nats-cert %s, --nats-key %s: %w", f.Cert, f.Key, err)
	}
	// Servers refuse any other, and say no more than "bad certificate".
	if uses := pair.Leaf.ExtKeyUsage; len(uses) > 0 && !slices.Contains(uses, x509.ExtKeyUsageClientAuth) && !slices.Contains(uses, x509.ExtKeyUsageAny) {
		return none, fmt.Errorf("--nats-cert %s: is no client's certificate; its extended key usage lacks clientAuth", f.Cert)
	}
	return pair, nil
}

func read(flag, name string) ([]byte, error) {
	file, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	defer func() { _ = file.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", flag, err)
	case len(text) > maxFile:
		return nil, fmt.Errorf("%s %s: is larger than %d bytes", flag, name, maxFile)
	}
	return text, nil
}
