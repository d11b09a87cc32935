// Package natsconn is what issuers, sidecars and the command-line tool have in common
// when they are told how to reach the broker: which servers, and by which files a
// connection is secured. Who they are there, credentials say (package natsauth).
//
// The flags are called the same everywhere (--nats-url, --nats-ca, --nats-cert,
// --nats-key), and faults name them.
//
// Invariants:
//
//   - No URL carries a user, a password or a token: URLs are logged.
//   - Where a file is named, TLS is wanted: a server that does not offer it is refused.
//     TLS 1.2 at least (RFC 9325 section 3.1.1), 1.3 where both can.
//   - The files are read again at every attempt to connect. What does not hold together
//     then, half of it being written perhaps, changes nothing: what was read before stays.
package natsconn

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// CheckServers lists every fault of a list of servers, separated by commas as
// [nats.Connect] takes them: nats://host:port, tls://host:port, or host:port alone.
// Without a port it is 4222. One tls:// demands TLS of all.
func CheckServers(list string) error {
	var faults []error
	for i, server := range strings.Split(list, ",") {
		if err := checkServer(strings.TrimSpace(server)); err != nil {
			faults = append(faults, fmt.Errorf("server %d: %w", i+1, err))
		}
	}
	return errors.Join(faults...)
}

func checkServer(server string) error {
	if server == "" {
		return errors.New("empty; want for example nats://127.0.0.1:4222")
	}
	// First of all, so that no other fault shows what should not be seen.
	if strings.Contains(server, "@") {
		return errors.New("a user, password or token does not belong in a URL, which is logged; name a credentials file by --nats-creds")
	}
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	u, err := url.Parse(server)
	switch {
	case err != nil:
		return err // names the URL
	case u.Scheme != "nats" && u.Scheme != "tls":
		return fmt.Errorf("%q: want nats:// or tls://", server)
	case u.Hostname() == "":
		return fmt.Errorf("%q: want a host", server)
	case u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fmt.Errorf("%q: want nothing behind the port", server)
	case u.Port() == "":
		return nil
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
		return fmt.Errorf("%q: want a port from 1 to 65535", server)
	}
	return nil
}

// Options make [nats.Connect] speak TLS by the files; there are none if no file is
// named. The connection fails to open if they cannot be read the first time. Later
// faults go to warn, which is called from the goroutine that connects.
func (f Files) Options(warn func(error)) []nats.Option {
	var certificate nats.TLSCertHandler
	var roots nats.RootCAsHandler
	if f.Cert != "" || f.Key != "" {
		certificate = lasting(f.certificate, warn)
	}
	if f.CA != "" {
		roots = lasting(f.roots, warn)
	}
	if certificate == nil && roots == nil {
		return nil
	}
	return []nats.Option{nats.ClientTLSConfig(certificate, roots)}
}

// lasting reads at every call, and gives what was read last where that fails.
func lasting[T any](read func() (T, error), warn func(error)) func() (T, error) {
	var (
		mu    sync.Mutex
		last  T
		known bool
	)
	return func() (T, error) {
		mu.Lock()
		defer mu.Unlock()
		next, err := read()
		switch {
		case err == nil:
			last, known = next, true
		case !known:
			return last, err
		default:
			warn(fmt.Errorf("staying with what was read before: %w", err))
		}
		return last, nil
	}
}
