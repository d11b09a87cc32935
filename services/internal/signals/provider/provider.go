// Package provider is what an issuer knows of the identity providers that may tell it
// something: who they are, what they call it, and the public keys they sign with
// (OpenID Connect Discovery 1.0, RFC 7517).
//
// Invariants:
//
//   - A key belongs to the provider whose set it came from and to one algorithm. Those
//     that could sign, are weak, are not for signatures or share their kid with another
//     are left out; the others of the set still count.
//   - Keys come over https, or over http from the loopback interface, and never by a
//     redirect.
//   - However many ask for keys that do not exist, a provider is asked once in a while,
//     and keys that are known are given without waiting.
//   - A set that could not be read again for an hour counts no longer.
package provider

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/claims"
)

// The algorithms that keys may be for, in exact case (RFC 7518 section 3.1, RFC 8037
// section 3.1).
const (
	RS256 = "RS256"
	ES256 = "ES256"
	EdDSA = "EdDSA"
)

// Algorithms lists them.
func Algorithms() []string { return []string{RS256, ES256, EdDSA} }

// Provider is one identity provider, as its operator declares it.
type Provider struct {
	// Issuer is the `iss` of what it signs, compared byte by byte.
	Issuer events.Issuer
	// Audiences are the names that it knows its clients by; what it signs must be for
	// one of them, and for nobody else.
	Audiences []string
	// JWKS is the URL or file of its keys; empty finds them by its metadata.
	JWKS string
	// Algorithms are those accepted. Left out it is RS256 alone, the default of OpenID
	// Connect Core 1.0 section 3.1.3.7.
	Algorithms []string
	// Typed demands that log-out tokens say in `typ` that they are some.
	Typed bool
}

// maxIssuer bounds an issuer, which stands in revocations as who asked for them.
const maxIssuer = 256

// Parse reads the form that the flag takes and validates it:
//
//	issuer=URL,audience=NAME…[,jwks=URL-or-file][,alg=RS256]…[,typ=logout+jwt]
func Parse(s string) (Provider, error) {
	var p Provider
	var faults []error
	seen := map[string]bool{}
	for word := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(word, "=")
		if value == "" {
			faults = append(faults, fmt.Errorf("%q: want name=value", word))
			continue
		}
		if many := name == "audience" || name == "alg"; seen[name] && !many {
			faults = append(faults, fmt.Errorf("%s: given twice", name))
		}
		seen[name] = true
		switch name {
		case "issuer":
			p.Issuer = events.Issuer(value)
		case "audience":
			p.Audiences = append(p.Audiences, value)
		case "jwks":
			p.JWKS = value
		case "alg":
			p.Algorithms = append(p.Algorithms, value)
		case "typ":
			if p.Typed = value == claims.TypeLogoutToken; !p.Typed {
				faults = append(faults, fmt.Errorf("typ %q: want %s, or leave it out", value, claims.TypeLogoutToken))
			}
		default:
			faults = append(faults, fmt.Errorf("%s: no such setting", name))
		}
	}
	if len(p.Algorithms) == 0 {
		p.Algorithms = []string{RS256}
	}
	if err := errors.Join(append(faults, p.validate())...); err != nil {
		return Provider{}, fmt.Errorf("provider %q: %w", s, err)
	}
	return p, nil
}

func (p Provider) validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	switch u, err := parseURL(string(p.Issuer)); {
	case p.Issuer == "":
		fault("issuer: missing")
	case err != nil:
		fault("issuer: %w", err)
	case u.RawQuery != "" || u.ForceQuery:
		fault("issuer: a URL with a query")
	case len(p.Issuer) > maxIssuer:
		fault("issuer: longer than %d bytes", maxIssuer)
	}
	if strings.Contains(p.JWKS, "://") {
		if _, err := parseURL(p.JWKS); err != nil {
			fault("jwks: %w", err)
		}
	}
	if len(p.Audiences) == 0 {
		fault("audience: missing; what the provider tells others would count here")
	}
	for _, a := range p.Algorithms {
		if !slices.Contains(Algorithms(), a) {
			fault("alg %q: want one of %s", a, strings.Join(Algorithms(), ", "))
		}
	}
	return errors.Join(faults...)
}

// parseURL reads an address that keys may come from: https, or http to the loopback
// interface, where nobody stands in between; no user, who would reach logs.
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.Contains(s, "#") {
		return nil, errors.New("want an absolute URL without user and fragment")
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	if u.Scheme != "https" && (u.Scheme != "http" || !ip.IsLoopback() && u.Hostname() != "localhost") {
		return nil, errors.New("want https, or http on loopback")
	}
	return u, nil
}
