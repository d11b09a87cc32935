package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	// dialWithin bounds how long the application may take to accept a connection, the
	// TLS handshake included twice.
	dialWithin = 5 * time.Second
	// idleConns is how many connections to the application are kept for the next
	// request, and idleFor for how long.
	idleConns = 256
	idleFor   = 90 * time.Second
	// maxResponseHeader bounds the header of the application's answer in bytes.
	maxResponseHeader = 256 << 10
	// maxSocketPath is what the kernel allows a socket's path, nearly.
	maxSocketPath = 100
)

// Upstream is where the application is. The zero Upstream is nowhere.
type Upstream struct {
	// scheme is http or https.
	scheme string
	// network and address are what is dialled, host is what an URL calls it.
	network, address, host string
	// h2c: HTTP/2 without TLS is spoken.
	h2c bool
}

// ParseUpstream reads http://host:port, https://host:port, h2c://host:port (HTTP/2
// without TLS) or unix:/path (HTTP/1.1). There is nothing behind the port: the
// application gets the paths that were judged.
func ParseUpstream(s string) (Upstream, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path == "" || len(path) > maxSocketPath {
			return Upstream{}, fmt.Errorf("%q: want unix: and a path of at most %d bytes", s, maxSocketPath)
		}
		return Upstream{scheme: "http", network: "unix", address: path, host: "localhost"}, nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return Upstream{}, errors.New("want http://, https://, h2c:// and a host, or unix: and a path")
	case u.User != nil:
		return Upstream{}, errors.New("a user or password does not belong in a URL, which is logged")
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "h2c", u.Hostname() == "":
		return Upstream{}, fmt.Errorf("%q: want http://, https://, h2c:// and a host, or unix: and a path", s)
	case strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return Upstream{}, fmt.Errorf("%q: want nothing behind the port", s)
	}
	up := Upstream{scheme: u.Scheme, network: "tcp", host: u.Host, h2c: u.Scheme == "h2c"}
	port := u.Port()
	switch {
	case port != "":
	case up.scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	up.address = net.JoinHostPort(u.Hostname(), port)
	if up.h2c {
		up.scheme = "http"
	}
	return up, nil
}

// transports carry requests: all but upgrades, and those, which HTTP/1.1 alone knows.
type transports struct {
	usual, upgrading *http.Transport
}

// RoundTrip implements [http.RoundTripper].
func (t transports) RoundTrip(r *http.Request) (*http.Response, error) {
	if len(r.Header["Upgrade"]) > 0 {
		return t.upgrading.RoundTrip(r)
	}
	return t.usual.RoundTrip(r)
}

func (t transports) closeIdle() {
	t.usual.CloseIdleConnections()
	t.upgrading.CloseIdleConnections()
}

// transports are made for the application: its certificate must come from one of the
// authorities in the file ca, or from the system's if that is empty.
func (u Upstream) transports(ca string, answerWithin time.Duration) (transports, error) {
	var roots *x509.CertPool
	if ca != "" {
		text, err := os.ReadFile(ca) //nolint:gosec // the operator names the file
		if err != nil {
			return transports{}, err
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(text) {
			return transports{}, fmt.Errorf("%s holds no certificate", ca)
		}
	}
	var usual, upgrading http.Protocols
	usual.SetHTTP1(!u.h2c)
	usual.SetHTTP2(u.scheme == "https")
	usual.SetUnencryptedHTTP2(u.h2c)
	upgrading.SetHTTP1(true)
	return transports{u.transport(usual, roots, answerWithin), u.transport(upgrading, roots, answerWithin)}, nil
}

func (u Upstream) transport(protocols http.Protocols, roots *x509.CertPool, answerWithin time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: dialWithin}
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, u.network, u.address)
		},
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout: dialWithin, ResponseHeaderTimeout: answerWithin, ExpectContinueTimeout: time.Second,
		MaxIdleConns: idleConns, MaxIdleConnsPerHost: idleConns, IdleConnTimeout: idleFor, MaxResponseHeaderBytes: maxResponseHeader,
		// What the application sends is passed on as it is.
		DisableCompression: true, Protocols: &protocols,
	}
}
