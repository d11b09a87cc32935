// Package remote finds out from which address a request really comes, behind
// however many reverse proxies.
//
// The peer of the connection cannot be made up; X-Forwarded-For can, by whoever
// sends it first. Each proxy appends the address that it was called from. So the
// header is read from its right end, for as long as the addresses are those of
// proxies that the operator trusts; the first that is not is the client's. What
// stands further left is the client's own claim and is not looked at.
//
// It is this project's own: the one library for it, realclientip-go, has not
// changed since 2022, does not ask whether the peer itself is trusted, and gives
// nothing where it meets garbage.
//
// Invariants:
//
//   - Without trusted proxies the header is not read at all.
//   - No header makes a request come from an address that a trusted proxy has not
//     written down, or from nowhere if its peer is known.
package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// header is a list of addresses, the client's first and the last proxy's but one
// at its end. No RFC describes it; RFC 7239's Forwarded, which would replace it, is
// written by few proxies.
const header = "X-Forwarded-For"

// Proxies are the networks whose word about a client's address counts. The zero
// Proxies are none. They do not change and are safe for concurrent use.
type Proxies struct{ networks []netip.Prefix }

// ParseProxies reads networks in CIDR notation, and single addresses. Every fault is
// reported at once.
func ParseProxies(cidrs []string) (Proxies, error) {
	var p Proxies
	var faults []error
	for _, text := range cidrs {
		network, err := parseNetwork(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("%.60q: %w", text, err))
		}
		p.networks = append(p.networks, network)
	}
	if err := errors.Join(faults...); err != nil {
		return Proxies{}, err
	}
	return p, nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if address, err2 := netip.ParseAddr(text); err2 == nil && address.Zone() == "" {
		network, err = netip.PrefixFrom(address, address.BitLen()), nil
	}
	switch {
	case err != nil:
		return netip.Prefix{}, errors.New("want a network such as 10.0.0.0/8, or an address")
	case network.Addr().Is4In6():
		return netip.Prefix{}, errors.New("write an IPv4 network as one")
	case network != network.Masked():
		return netip.Prefix{}, fmt.Errorf("has bits beyond its length: want %s", network.Masked())
	case network.Bits() == 0:
		return netip.Prefix{}, errors.New("trusts everybody to say who he is")
	}
	return network, nil
}

// Handler lets next know the address by [Addr].
func (p Proxies) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address := p.client(r.RemoteAddr, r.Header[header])
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, address)))
	})
}

type key struct{}

// Addr is the address that the request comes from, without a zone and never an IPv4
// address in IPv6 clothes. It is the zero Addr where none is known: the request did
// not pass [Proxies.Handler], or did not come over TCP.
func Addr(r *http.Request) netip.Addr {
	address, _ := r.Context().Value(key{}).(netip.Addr)
	return address
}

// client walks from the peer towards the client. What it cannot read it does not
// pass: the last address that it knows is then as far as anyone vouches for.
func (p Proxies) client(peer string, forwarded []string) netip.Addr {
	address, ok := parse(peer)
	if !ok {
		return netip.Addr{}
	}
	for _, line := range slices.Backward(forwarded) {
		for more := true; more; {
			if !p.trusts(address) {
				return address
			}
			comma := strings.LastIndexByte(line, ',')
			before, ok := parse(strings.Trim(line[comma+1:], " \t"))
			if !ok {
				return address
			}
			address = before
			if more = comma >= 0; more {
				line = line[:comma]
			}
		}
	}
	return address
}

func (p Proxies) trusts(address netip.Addr) bool {
	return slices.ContainsFunc(p.networks, func(n netip.Prefix) bool { return n.Contains(address) })
}

// parse takes an address, and an address with a port, which some proxies write.
func parse(text string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(text)
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(text)
		address = withPort.Addr()
	}
	address = address.WithZone("").Unmap()
	if err != nil || address.IsUnspecified() || address.IsMulticast() {
		return netip.Addr{}, false
	}
	return address, true
}
