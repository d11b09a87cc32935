package token

import (
	"fmt"
	"slices"
	"strings"

	"github.com/revocast/revocast/sidecar/internal/jwks"
	"github.com/revocast/revocast/sidecar/internal/strict"
)

// parsed is a token whose form is right and of which nothing else is known.
type parsed struct {
	algorithm string
	// typ is "" only where the header has none.
	typ     string
	key     string
	payload strict.Object
	// size is the length of the decoded payload, which the claims keep alive.
	size int
	// signed is what the signature covers (RFC 7515 section 5.2).
	signed    string
	signature []byte
}

const (
	// maxSignature is RSA's with the largest key allowed.
	maxSignature = 1024
	// An ordinary access token nests twice and has twenty members.
	maxDepth, maxMembers = 10, 128
)

// parse reads the compact form (RFC 7515 section 7.1): three parts, each
// base64url without padding, the first two one JSON object each.
func parse(raw string, maxBytes int) (parsed, error) {
	if len(raw) > maxBytes {
		return parsed{}, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, maxBytes)
	}
	header, rest, ok1 := strings.Cut(raw, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok1 || !ok2 {
		return parsed{}, fmt.Errorf("%w: fewer than three parts", ErrMalformed)
	}
	p := parsed{signed: raw[:len(header)+1+len(payload)]}
	var err error
	if err = p.readHeader(header); err != nil {
		return parsed{}, err
	}
	if p.payload, p.size, err = object(payload, strict.Limits{Depth: maxDepth, Members: maxMembers}); err != nil {
		return parsed{}, fmt.Errorf("%w: payload: %w", ErrMalformed, err)
	}
	// A fourth part would be a dot in the third, which is not of the alphabet.
	if p.signature, err = strict.DecodeBase64(signature); err != nil {
		return parsed{}, fmt.Errorf("%w: signature: %w", ErrMalformed, err)
	}
	if len(p.signature) == 0 || len(p.signature) > maxSignature {
		return parsed{}, fmt.Errorf("%w: signature of %d bytes", ErrMalformed, len(p.signature))
	}
	return p, nil
}

func object(part string, limits strict.Limits) (strict.Object, int, error) {
	text, err := strict.DecodeBase64(part)
	if err != nil {
		return strict.Object{}, 0, err
	}
	o, err := strict.ParseObject(string(text), limits)
	return o, len(text), err
}

// readHeader takes the three parameters that count. It refuses those that bring a
// key or a place to fetch one, which only a forger has use for here, and those
// that change how the rest is to be read (crit and b64, RFC 7797).
func (p *parsed) readHeader(part string) error {
	header, _, err := object(part, strict.Limits{Depth: 4, Members: 20})
	if err != nil {
		return fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	for _, name := range []string{"crit", "b64", "jku", "jwk", "x5u", "x5c"} {
		if header.Has(name) {
			return fmt.Errorf("%w: header has %s", ErrMalformed, name)
		}
	}
	p.algorithm, p.typ, p.key = text(header, "alg"), text(header, "typ"), text(header, "kid")
	switch {
	case !slices.Contains(jwks.Algorithms(), p.algorithm):
		return fmt.Errorf("%w: alg is not on the list", ErrUntrusted)
	case header.Has("typ") && !printable(p.typ):
		return fmt.Errorf("%w: typ is no media type", ErrUntrusted)
	case !jwks.ValidKeyID(p.key):
		return fmt.Errorf("%w: kid is missing or not 1 to 256 visible ASCII characters", ErrMalformed)
	}
	return nil
}

// text reads a member that should be a string; "" if it is missing or not.
func text(o strict.Object, name string) string {
	v, _ := o.Get(name)
	s, _ := v.Text()
	return s
}
