package mint

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/revocast/revocast/events/claims"
	"github.com/revocast/revocast/loadtest/internal/token"
)

// Bad is a token that nothing may let pass.
type Bad struct {
	// What is wrong with it, in words.
	What  string
	Token token.Token
}

// Spoil gives tokens made of a good one by who has no key for it: of each kind one. Of one
// that is no JWT there are fewer.
func Spoil(good token.Token) []Bad {
	raw := good.Raw()
	// Long enough for any bound on tokens, short enough for the header of a request.
	all := []Bad{
		bad("not a token", "loadtest-this-is-no-token"),
		bad("truncated", raw[:len(raw)/2]),
		bad("oversized", raw+strings.Repeat("A", 10<<10)),
	}
	head, rest, _ := strings.Cut(raw, ".")
	payload, signature, jwt := strings.Cut(rest, ".")
	if !jwt || signature == "" || strings.Contains(signature, ".") {
		return all
	}
	return append(all,
		bad("a wrong signature", head+"."+payload+"."+other(signature)),
		bad("another's claims", head+"."+encode(`{"iss":"`+Name+`","sub":"root"}`)+"."+signature),
		bad("no signature", head+"."+payload+"."),
		bad("alg none", encode(`{"alg":"none","typ":"at+jwt","kid":"`+keyID+`"}`)+"."+payload+"."),
		bad("alg none, signed", encode(`{"alg":"none","typ":"at+jwt","kid":"`+keyID+`"}`)+"."+payload+"."+signature),
		bad("a symmetric alg", encode(`{"alg":"HS256","typ":"at+jwt","kid":"`+keyID+`"}`)+"."+payload+"."+signature),
		bad("a fourth part", raw+"."+signature),
	)
}

func bad(what, raw string) Bad { return Bad{what, token.New(raw)} }

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// other changes bits in the first character of a text in base64url, which has none to
// spare there.
func other(text string) string {
	first := "A"
	if text[0] == 'A' {
		first = "B"
	}
	return first + text[1:]
}

// Bad gives tokens that this issuer would not make, or that another made in its name: of
// each kind one, and what [Spoil] makes of a good one.
func (i *Issuer) Bad() ([]Bad, error) {
	now := time.Now()
	good, err := i.claims(0, now, time.Hour)
	if err != nil {
		return nil, fmt.Errorf("minting bad tokens: %w", err)
	}
	genuine, err := sign(i.signer, good)
	if err != nil {
		return nil, fmt.Errorf("minting bad tokens: %w", err)
	}
	all := Spoil(token.New(genuine))
	life := func(from, until time.Duration) func(*claims.Access) {
		return func(c *claims.Access) { c.IssuedAt, c.Expires = now.Add(from).Unix(), now.Add(until).Unix() }
	}
	for _, one := range []struct {
		what   string
		change func(*claims.Access)
	}{
		{"expired", life(-2*time.Hour, -time.Hour)},
		{"from the future", life(time.Hour, 2*time.Hour)},
		{"living for too long", life(0, 48*time.Hour)},
		{"for others", func(c *claims.Access) { c.Audience = claims.Audience{"https://others.invalid"} }},
		{"of another issuer", func(c *claims.Access) { c.Issuer = "https://others.invalid" }},
	} {
		c := good
		one.change(&c)
		raw, err := sign(i.signer, c)
		if err != nil {
			return nil, fmt.Errorf("minting bad tokens: %w", err)
		}
		all = append(all, bad(one.what, raw))
	}
	forger, err := New(string(i.algorithm), i.audience)
	if err != nil {
		return nil, err
	}
	forged, err := sign(forger.signer, good)
	if err != nil {
		return nil, fmt.Errorf("minting bad tokens: %w", err)
	}
	return append(all, bad("of another's key", forged)), nil
}
