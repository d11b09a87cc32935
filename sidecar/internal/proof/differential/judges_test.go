package differential

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// leeway is both judges'.
const leeway = 5 * time.Second

// claims are what a judge has read of a token it accepts: whole seconds, times beyond
// cut off.
type claims struct {
	issuer, subject, client, id, session, scope string
	audience, roles                             []string
	expires, issued                             int64
}

// differ names the claims that c and other have read otherwise.
func (c claims) differ(other claims) error {
	var faults []error
	for name, pair := range map[string][2]any{
		"iss": {c.issuer, other.issuer}, "sub": {c.subject, other.subject}, "client_id": {c.client, other.client}, "jti": {c.id, other.id},
		"sid": {c.session, other.session}, "scope": {c.scope, other.scope}, "exp": {c.expires, other.expires}, "iat": {c.issued, other.issued},
	} {
		if pair[0] != pair[1] {
			faults = append(faults, fmt.Errorf("%s read as %q and %q", name, pair[0], pair[1]))
		}
	}
	for name, pair := range map[string][2][]string{"aud": {c.audience, other.audience}, "roles": {c.roles, other.roles}} {
		if !slices.Equal(pair[0], pair[1]) {
			faults = append(faults, fmt.Errorf("%s read as %q and %q", name, pair[0], pair[1]))
		}
	}
	return errors.Join(faults...)
}

// verdict is what a judge says of a token: its claims, or why it is refused.
type verdict struct {
	claims claims
	err    error
}

func (v verdict) String() string {
	if v.err != nil {
		return "refused: " + v.err.Error()
	}
	return fmt.Sprintf("accepted: %+v", v.claims)
}

// judge says what a token is worth at a time.
type judge func(raw string, now time.Time) verdict

type preparer struct{}

func (preparer) Prepare(*denylist.Token) {}

// policy is the rule that both are given: all of RFC 9068 for one audience.
func policy() token.Trust {
	return token.Trust{Issuer: issuerID, Audiences: []string{tokentest.Audience}}
}

// ours is the verifier under a rule. What it accepts it is asked for again, when the
// answer comes from its cache.
func ours(t *testing.T, w *world, trust token.Trust, leeway time.Duration) judge {
	t.Helper()
	m, err := token.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	cfg := token.Config{Leeway: leeway, CacheBytes: 1 << 20}
	v, err := token.New(cfg, []token.Issuer{{Trust: trust, Keys: w.issuer.Keys(t)}}, preparer{}, m)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	return func(raw string, now time.Time) verdict {
		verified, err := v.Verify(ctx, raw, now)
		if errors.Is(err, token.ErrKeysUnavailable) {
			t.Fatal(err)
		}
		if err != nil {
			return verdict{err: err}
		}
		if again, err := v.Verify(ctx, raw, now); err != nil || again.Claims.Subject != verified.Claims.Subject {
			t.Fatalf("accepted, and the second time %+v, %v: %s", again, err, raw)
		}
		c := verified.Claims
		return verdict{claims: claims{
			issuer: string(c.Issuer), subject: string(c.Subject), client: string(c.Client), id: string(c.ID), session: string(c.Session), scope: c.Scope,
			audience: c.Audience.Slice(), roles: c.Roles.Slice(), expires: c.Expires.Unix(), issued: c.IssuedAt.Unix(),
		}}
	}
}

// theirs is jwx, as strict as its options make it: keys with an algorithm each, the
// compact form only, `crit` honoured, no null for a text, times not in RFC 3339 and
// to the fraction. What RFC 9068 asks for beyond that is checked as jwx has one do it.
func theirs(w *world) judge {
	jwt.Settings(jwt.WithNumericDateParsePedantic(true), jwt.WithNumericDateParsePrecision(9))
	return func(raw string, now time.Time) verdict {
		var message jws.Message
		payload, err := jws.Verify([]byte(raw), jws.WithKeySet(w.published), jws.WithCompact(), jws.WithCritValidation(true), jws.WithMessage(&message))
		if err != nil {
			return verdict{err: err}
		}
		if err := checkHeader(message.Signatures()[0].ProtectedHeaders()); err != nil {
			return verdict{err: err}
		}
		tok, err := jwt.Parse(payload, jwt.WithVerify(false), jwt.WithStrictStringClaims(true),
			jwt.WithClock(jwt.ClockFunc(func() time.Time { return now })), jwt.WithAcceptableSkew(leeway),
			jwt.WithIssuer(issuerID), jwt.WithAudience(tokentest.Audience),
			jwt.WithRequiredClaim(jwt.ExpirationKey), jwt.WithRequiredClaim(jwt.IssuedAtKey),
			jwt.WithValidator(jwt.ValidatorFunc(checkTexts)),
		)
		if err != nil {
			return verdict{err: err}
		}
		c, err := read(tok)
		return verdict{claims: c, err: err}
	}
}

// checkHeader is what RFC 9068 section 4 says of the header.
func checkHeader(h jws.Headers) error {
	typ, _ := h.Type()
	if !strings.EqualFold(typ, "at+jwt") && !strings.EqualFold(typ, "application/at+jwt") {
		return fmt.Errorf("typ %q", typ)
	}
	alg, _ := h.Algorithm()
	if !slices.Contains([]jwa.SignatureAlgorithm{jwa.ES256(), jwa.RS256(), jwa.EdDSA()}, alg) {
		return fmt.Errorf("alg %q", alg)
	}
	return nil
}

// checkTexts wants the texts of RFC 9068 section 2.2, and that others are texts if there.
func checkTexts(_ context.Context, tok jwt.Token) error {
	for _, name := range []string{"sub", "client_id", "jti"} {
		var s string
		if err := tok.Get(name, &s); err != nil || s == "" {
			return fmt.Errorf("%s is no text or empty: %w", name, err)
		}
	}
	for _, name := range []string{"sid", "scope"} {
		var s string
		if tok.Has(name) && tok.Get(name, &s) != nil {
			return fmt.Errorf("%s is no text", name)
		}
	}
	_, err := rolesOf(tok)
	return err
}

// read takes what jwx has read.
func read(tok jwt.Token) (claims, error) {
	var c claims
	for name, to := range map[string]*string{
		"iss": &c.issuer, "sub": &c.subject, "client_id": &c.client, "jti": &c.id, "sid": &c.session, "scope": &c.scope,
	} {
		if err := tok.Get(name, to); err != nil && tok.Has(name) {
			return claims{}, err
		}
	}
	c.audience, _ = tok.Audience()
	expires, _ := tok.Expiration()
	issued, _ := tok.IssuedAt()
	c.expires, c.issued = expires.Unix(), issued.Unix()
	var err error
	c.roles, err = rolesOf(tok)
	return c, err
}

// rolesOf reads roles as most do: an array of strings, or one string.
func rolesOf(tok jwt.Token) ([]string, error) {
	var value any
	if err := tok.Get("roles", &value); err != nil && tok.Has("roles") {
		return nil, err
	}
	switch value := value.(type) {
	case string:
		return []string{value}, nil
	case []any:
		roles := make([]string, len(value))
		for i, each := range value {
			var ok bool
			if roles[i], ok = each.(string); !ok {
				return nil, errors.New("a role is no text")
			}
		}
		return roles, nil
	}
	if tok.Has("roles") {
		return nil, errors.New("roles are no texts")
	}
	return nil, nil
}
