// Package tlsfiles secures a listener by files: a certificate, its key, and the
// authorities whose client certificates are believed. What the files say from now on is
// in force for every connection from then on, without a restart.
//
// Invariants:
//
//   - TLS 1.3 or nothing (RFC 8446; RFC 9325 section 3.1.1 would allow more).
//   - A certificate, its key and the authorities come into force together. Files that
//     do not hold together change nothing: the ones before stay.
//   - A client certificate that is presented is verified, or there is no connection.
//     None has to be presented; what is behind the listener decides what that means.
//   - No session is resumed: each connection proves itself anew, against the
//     authorities of that moment.
package tlsfiles

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/services/internal/reload"
)

// maxFile bounds what is compared of a file in bytes.
const maxFile = 1 << 20

// Files name PEM files. Cert and Key belong together; ClientCA is empty where clients
// are not asked for a certificate.
type Files struct{ Cert, Key, ClientCA string }

// Check names what is missing.
func (f Files) Check() error {
	switch {
	case (f.Cert == "") != (f.Key == ""):
		return errors.New("a certificate and its key go together")
	case f.ClientCA != "" && f.Cert == "":
		return errors.New("client certificates are sent over TLS alone: it needs a certificate and a key")
	}
	return nil
}

// Source is what the files said when they were last read without a fault. It is safe
// for concurrent use.
type Source struct {
	files   Files
	log     *zap.Logger
	watched []*reload.File
	current atomic.Pointer[tls.Config]

	reloading sync.Mutex // one after the other
}

// Open reads the files for the first time.
func Open(files Files, log *zap.Logger) (*Source, error) {
	s := &Source{files: files, log: log}
	for _, name := range []string{files.Cert, files.Key, files.ClientCA} {
		if name != "" {
			s.watched = append(s.watched, reload.Open(name, maxFile, log))
		}
	}
	return s, s.Reload()
}

// Reload reads the files again. After an error everything is as before.
func (s *Source) Reload() error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	next, err := load(s.files)
	if err != nil {
		return err
	}
	s.current.Store(next)
	return nil
}

func load(files Files) (*tls.Config, error) {
	if err := files.Check(); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		return nil, fmt.Errorf("reading certificate %s and key %s: %w", files.Cert, files.Key, err)
	}
	c := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"},
		SessionTicketsDisabled: true,
	}
	if files.ClientCA == "" {
		return c, nil
	}
	text, err := os.ReadFile(files.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("reading client authorities: %w", err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("reading client authorities: %s holds no certificate", files.ClientCA)
	}
	c.ClientAuth = tls.VerifyClientCertIfGiven
	return c, nil
}

// Config is for a listener or a server. It asks the source at every connection.
func (s *Source) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current.Load(), nil },
	}
}

// Run reloads whenever one of the files changes, until ctx ends. Where the files do not
// hold together, half of them being written perhaps, it says so and waits.
func (s *Source) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, file := range s.watched {
		group.Go(func() error { return file.Run(ctx, s.changed) })
	}
	return group.Wait()
}

func (s *Source) changed() {
	if err := s.Reload(); err != nil {
		s.log.Error("certificate stays as it was", zap.Error(err))
		return
	}
	s.log.Info("certificate read again", zap.String("file", s.files.Cert))
}

// Peer is the client certificate that a connection has proved; nil if it has not.
func Peer(state *tls.ConnectionState) *x509.Certificate {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return nil
	}
	return state.VerifiedChains[0][0]
}
