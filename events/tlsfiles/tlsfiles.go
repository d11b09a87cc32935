// Package tlsfiles secures a listener by files: a certificate, its key, and the
// authorities whose client certificates are believed. What the files say from now on is
// in force for every connection from then on, without a restart; connections that are
// open stay.
//
// Invariants:
//
//   - TLS 1.3 or nothing (RFC 8446), unless 1.2 is asked for, which RFC 9325 section
//     3.1.1 allows.
//   - A certificate, its key and the authorities come into force together. Files that
//     do not hold together change nothing: the ones before stay.
//   - A client certificate that is presented is verified, or there is no connection.
//     Whether one has to be presented is told; where none has to, what is behind the
//     listener decides what that means.
//   - No session is resumed: each connection proves itself anew, against the
//     authorities of that moment.
package tlsfiles

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxFile bounds a file in bytes.
	maxFile = 1 << 20
	// lookEvery is how often the files are looked at.
	lookEvery = 2 * time.Second
)

// Files name PEM files, and say what is demanded of who connects. Cert and Key belong
// together; ClientCA is empty where clients are not asked for a certificate.
type Files struct {
	Cert, Key, ClientCA string
	// Demand: a client without a certificate is not spoken to. It needs ClientCA.
	Demand bool
	// TLS12 allows TLS 1.2 besides.
	TLS12 bool
}

// Check names what is missing.
func (f Files) Check() error {
	switch {
	case (f.Cert == "") != (f.Key == ""):
		return errors.New("a certificate and its key go together")
	case f.ClientCA != "" && f.Cert == "":
		return errors.New("client certificates are sent over TLS alone: it needs a certificate and a key")
	case f.Demand && f.ClientCA == "":
		return errors.New("no authority is named whose client certificates are believed")
	}
	return nil
}

// Source is what the files said when they were last read without a fault. It is safe
// for concurrent use.
type Source struct {
	files   Files
	current atomic.Pointer[tls.Config]

	reloading sync.Mutex // one after the other
	seen      [sha256.Size]byte
}

// Open reads the files for the first time.
func Open(files Files) (*Source, error) {
	s := &Source{files: files}
	return s, s.Reload()
}

// Reload reads the files again. After an error everything is as before.
func (s *Source) Reload() error {
	_, err := s.reload(true)
	return err
}

// reload reports whether the files say something else than when they were last read, by
// anyone, faults included. Unless it is to be done anyway nothing else makes it take
// them.
func (s *Source) reload(anyway bool) (changed bool, err error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	var texts contents
	for i, name := range []string{s.files.Cert, s.files.Key, s.files.ClientCA} {
		if name == "" {
			continue
		}
		var failed error
		if texts[i], failed = read(name); failed != nil {
			err = errors.Join(err, failed)
		}
	}
	sum := texts.sum()
	if changed = sum != s.seen; !changed && !anyway {
		return false, nil
	}
	s.seen = sum
	if err != nil {
		return changed, err
	}
	next, err := load(s.files, texts)
	if err != nil {
		return changed, err
	}
	s.current.Store(next)
	return changed, nil
}

// contents are those of certificate, key and authorities.
type contents [3][]byte

// sum tells them apart; a file that cannot be read is an empty one.
func (c contents) sum() [sha256.Size]byte {
	var sums []byte
	for _, text := range c {
		sum := sha256.Sum256(text)
		sums = append(sums, sum[:]...)
	}
	return sha256.Sum256(sums)
}

func read(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	}
	return text, nil
}

func load(files Files, texts contents) (*tls.Config, error) {
	if err := files.Check(); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(texts[0], texts[1])
	if err != nil {
		return nil, fmt.Errorf("reading certificate %s and key %s: %w", files.Cert, files.Key, err)
	}
	c := files.config()
	c.Certificates = []tls.Certificate{pair}
	if files.ClientCA == "" {
		return c, nil
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(bytes.TrimSpace(texts[2])) {
		return nil, fmt.Errorf("reading client authorities: %s holds no certificate", files.ClientCA)
	}
	c.ClientAuth = tls.VerifyClientCertIfGiven
	if files.Demand {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

// config is what does not depend on what the files say.
func (f Files) config() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}, SessionTicketsDisabled: true}
	if f.TLS12 {
		c.MinVersion = tls.VersionTLS12
	}
	return c
}

// Config is for a listener or a server. It asks the source at every connection.
func (s *Source) Config() *tls.Config {
	c := s.files.config()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current.Load(), nil }
	return c
}

// Run reads the files again whenever one of them has changed, until ctx ends, and tells
// what came of it: nil, or why everything stays as it was, half of them being written
// perhaps. It looks every two seconds.
func (s *Source) Run(ctx context.Context, tell func(error)) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if changed, err := s.reload(false); changed {
				tell(err)
			}
		}
	}
}

// Peer is the client certificate that a connection has proved; nil if it has not.
func Peer(state *tls.ConnectionState) *x509.Certificate {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return nil
	}
	return state.VerifiedChains[0][0]
}
