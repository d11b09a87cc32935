package fronttest

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

// Siege is a checker that demands nothing but a token, what it must refuse, and a token
// that it lets pass: of alice.
type Siege struct {
	Check   *front.Checker
	Good    string
	Attacks []tokentest.Attack
}

// Besiege makes a siege. Its checker trusts three issuers.
func Besiege(t *testing.T) Siege {
	t.Helper()
	theirs, same := tokentest.NewIssuer(t, "their-"), tokentest.NewIssuer(t, "")
	rig := verifytest.New(t, gate.DefaultPolicy(), theirs, same)
	now := time.Now()
	return Siege{rig.Checker(t), rig.Issuer.Good(t, now, nil), tokentest.Attacks(t, now, rig.Issuer, theirs, same)}
}

// Attacks holds the front that open puts before a checker to three things: of bad tokens
// it refuses every one, with the right status and for what is wrong with it; a good one
// counts only where and how RFC 6750 wants it; and after each that the transport has
// refused already, a good one passes as before.
func Attacks(t *testing.T, open func(t *testing.T, check *front.Checker) Do) {
	t.Helper()
	s := Besiege(t)
	do := open(t, s.Check)
	bearer := func(raw string) Request {
		return Request{Method: http.MethodPost, Host: "api.example", Target: "/orders/5", Header: http.Header{"Authorization": {"Bearer " + raw}}}
	}
	stands := func(t *testing.T) {
		t.Helper()
		if err := passes(do(t, bearer(s.Good))); err != nil {
			t.Fatalf("the good token: %v", err)
		}
	}
	stands(t)
	transport := 0
	hold := func(t *testing.T, r Request, want answers) {
		t.Helper()
		got := do(t, r)
		if want.pass && passes(got) == nil {
			return
		}
		if want.transport && byTransport(got) {
			transport++
			stands(t)
			return
		}
		if err := want.met(got); err != nil {
			t.Error(err)
		}
	}
	for _, a := range s.Attacks {
		t.Run(a.Name, func(t *testing.T) {
			want := answers{status: http.StatusUnauthorized, challenges: []string{invalidToken(a.Fault)}, transport: awkward(a.Token), pass: a.Blank}
			switch {
			case want.transport: // what arrives may be another token, but a good one it is not
				want.challenges = []string{invalidToken(token.ErrMalformed), invalidToken(token.ErrUntrusted)}
			case strings.Contains(a.Token, ","): // what arrives may be two fields that a proxy has joined
				want.status, want.challenges = http.StatusBadRequest, []string{ambiguous}
			}
			hold(t, bearer(a.Token), want)
		})
	}
	for _, p := range presentations(s.Good, s.Attacks) {
		t.Run(p.name, func(t *testing.T) {
			r := bearer("")
			r.Header = p.header
			if p.target != "" {
				r.Target = p.target
			}
			hold(t, r, p.want)
		})
	}
	stands(t)
	t.Logf("%d tokens and %d presentations, of which the transport refused %d", len(s.Attacks), len(presentations(s.Good, s.Attacks)), transport)
}

// answers are those that an attack may get.
type answers struct {
	status     int
	challenges []string // one of them
	// transport: the server may refuse the request before any front sees it.
	transport bool
	// pass: what arrives may be the good token.
	pass bool
}

// met says what is wrong with a refusal.
func (a answers) met(got Response) error {
	if got.Application != nil {
		return fmt.Errorf("status %d, and it reached the application", got.Status)
	}
	if challenge := got.Header["Www-Authenticate"]; got.Status != a.status || len(challenge) != 1 || !slices.Contains(a.challenges, challenge[0]) {
		return fmt.Errorf("status %d, challenge %q; want %d, %q", got.Status, challenge, a.status, a.challenges)
	}
	if len(got.Header[front.FreshAsOf]) != 1 || got.Header["Retry-After"] != nil {
		return fmt.Errorf("header %v", got.Header)
	}
	return nil
}

// passes says what is wrong with what should be alice's.
func passes(got Response) error {
	if got.Status != http.StatusOK || got.Application == nil {
		return fmt.Errorf("status %d, %v", got.Status, got.Header)
	}
	for name, values := range got.Application {
		own := slices.Contains([]string{"X-Auth-Subject", "X-Auth-Session", "X-Auth-Client", "X-Auth-Scope", "X-Auth-Roles", "X-Auth-Expires"}, name)
		if identity.MatchString(name) && (!own || len(values) != 1) {
			return fmt.Errorf("%s: %q", name, values)
		}
	}
	if who, roles := got.Application.Get("X-Auth-Subject"), got.Application.Get("X-Auth-Roles"); who != "alice" || roles != "admin,user" {
		return fmt.Errorf("it passes as %q, %q", who, roles)
	}
	return nil
}

// byTransport reports whether a server has refused what no front has seen.
func byTransport(got Response) bool {
	return got.Application == nil && got.Header["Www-Authenticate"] == nil && slices.Contains([]int{
		0, http.StatusBadRequest, http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge,
	}, got.Status)
}

// awkward reports whether a transport may refuse text in a header, or read it as more
// than one field.
func awkward(text string) bool {
	return len(text) > 8<<10 || strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r >= 0x7f })
}

const (
	realm     = `Bearer realm="` + verifytest.Realm + `"`
	ambiguous = realm + `, error="invalid_request", error_description="The request carries credentials more than once"`
)

// invalidToken is the challenge for a token with that fault (RFC 6750 section 3.1).
func invalidToken(fault error) string {
	var description string
	switch {
	case errors.Is(fault, token.ErrMalformed):
		description = "The access token is malformed"
	case errors.Is(fault, token.ErrUntrusted):
		description = "The access token is not trusted here"
	case errors.Is(fault, token.ErrExpired):
		description = "The access token expired"
	case errors.Is(fault, token.ErrPremature):
		description = "The access token is not valid yet"
	case errors.Is(fault, token.ErrUnsupported):
		description = "Sender-constrained tokens are not supported here"
	}
	return realm + `, error="invalid_token", error_description="` + description + `"`
}

// presentation is a way to bring a token along.
type presentation struct {
	name   string
	header http.Header
	target string
	want   answers
}

// presentations are ways that RFC 6750 does not know, or not alone, and some that it
// does.
func presentations(good string, attacks []tokentest.Attack) (all []presentation) {
	bad := attacks[slices.IndexFunc(attacks, func(a tokentest.Attack) bool { return a.Name == "expired" })].Token
	none := answers{status: http.StatusUnauthorized, challenges: []string{realm}}
	malformed := answers{status: http.StatusUnauthorized, challenges: []string{invalidToken(token.ErrMalformed)}}
	bound := answers{status: http.StatusUnauthorized, challenges: []string{invalidToken(token.ErrUnsupported)}}
	twice := answers{status: http.StatusBadRequest, challenges: []string{ambiguous}}
	alice := answers{pass: true}
	field := func(want answers, values map[string]string) {
		for name, value := range values {
			want.transport = awkward(value)
			all = append(all, presentation{name, http.Header{"Authorization": {value}}, "", want})
		}
	}
	header := func(want answers, name string, h http.Header) {
		all = append(all, presentation{name, h, "", want})
	}
	field(alice, map[string]string{
		"in lower case": "bearer " + good, "in capitals": "BEARER " + good, "mixed": "bEaReR " + good, "after spaces": "Bearer     " + good,
	})
	field(none, map[string]string{
		"no field": "", "bare": good, "a tab for the space": "Bearer\t" + good, "no-break space": "Bearer\u00a0" + good, "no space": "Bearer" + good,
		"scheme with a colon": "Bearer: " + good, "scheme in quotes": `"Bearer" ` + good, "scheme encoded": "Bearer%20" + good, "scheme longer": "Bearers " + good,
		"scheme Token": "Token " + good, "scheme JWT": "JWT " + good, "look-alike": "B\u0435arer " + good, "scheme with a mark": "\ufeffBearer " + good,
		"Basic": "Basic " + tokentest.Encode([]byte("alice:"+good)), "scheme with an equals sign": "Bearer=" + good,
	})
	field(malformed, map[string]string{
		"Bearer alone": "Bearer", "Bearer twice": "Bearer Bearer " + good, "another Bearer behind": "Bearer " + bad + " Bearer " + good,
		"two in one": "Bearer " + good + " " + good, "quotes": `Bearer "` + good + `"`, "angle brackets": "Bearer <" + good + ">", "named": "Bearer token=" + good,
		"as a parameter": `Bearer access_token="` + good + `"`, "joined by a semicolon": "Bearer " + good + ";" + good, "space and tab": "Bearer \t" + good,
		"a colon before": "Bearer :" + good, "in a URL": "Bearer https://x/#access_token=" + good,
	})
	field(bound, map[string]string{"DPoP": "DPoP " + good, "dpop": "dpop " + good})
	field(twice, map[string]string{
		"joined": "Bearer " + good + ", Bearer " + good, "joined without a space": "Bearer " + bad + ",Bearer " + good, "joined to nothing": "Bearer " + good + ",",
		"parameters": `Bearer realm="x", token="` + good + `"`, "joined to another scheme": "Bearer " + good + ", Basic YTpi",
	})
	header(twice, "two fields", http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}})
	header(twice, "two fields, the first bad", http.Header{"Authorization": {"Bearer " + bad, "Bearer " + good}})
	header(twice, "two fields, the second bad", http.Header{"Authorization": {"Bearer " + good, "Bearer " + bad}})
	header(twice, "two fields, the second empty", http.Header{"Authorization": {"Bearer " + good, ""}})
	header(twice, "two spellings", http.Header{"Authorization": {"Bearer " + good}, "aUTHORIZATION": {"Bearer " + good}})
	crowd := twice
	crowd.transport = true
	header(crowd, "a thousand fields", http.Header{"Authorization": slices.Repeat([]string{"Bearer x"}, 1000)})
	header(none, "nothing at all", http.Header{})
	header(none, "cookie", http.Header{"Cookie": {"access_token=" + good + "; Authorization=Bearer " + good}})
	header(none, "for a proxy", http.Header{"Proxy-Authorization": {"Bearer " + good}})
	header(none, "other fields", http.Header{
		"X-Authorization": {"Bearer " + good}, "Authorization-Bearer": {good}, "X-Forwarded-Authorization": {"Bearer " + good}, "X-Original-Authorization": {"Bearer " + good},
		"X-Access-Token": {good}, "Access-Token": {good}, "X-Forwarded-Access-Token": {good}, "Authorization-": {"Bearer " + good}, "_authorization": {"Bearer " + good},
	})
	header(none, "identity, and no token", http.Header{"X-Auth-Subject": {"root"}, "X-Auth-Roles": {"root"}, "X_auth_subject": {"root"}, "X.Auth.Subject": {"root"}, "X-Revocast-Fresh-As-Of": {"2099-01-01T00:00:00.000Z"}})
	header(alice, "identity beside the token", http.Header{
		"Authorization": {"Bearer " + good}, "X-Auth-Subject": {"root", "admin"}, "x-auth-roles": {"root"}, "X_Auth_Roles": {"root"}, "X-Auth_Subject": {"root"}, "X-Auth-New": {"root"},
		"X.Auth.Subject": {"root"}, "X-Auth.Roles": {"root"}, "x.auth_session": {"root"},
	})
	many := http.Header{"Authorization": {"Bearer " + bad}}
	for i := range 5000 {
		many.Set(fmt.Sprint("X-", i), "x")
	}
	all = append(all,
		presentation{"very many fields", many, "", answers{status: http.StatusUnauthorized, challenges: []string{invalidToken(token.ErrExpired)}, transport: true}},
		presentation{"in the query", http.Header{}, "/orders/5?access_token=" + good, none},
		presentation{"in the query as a field", http.Header{}, "/orders/5?Authorization=Bearer%20" + good, none},
		presentation{"a bad one beside the query's", http.Header{"Authorization": {"Bearer " + bad}}, "/orders/5?access_token=" + good, answers{
			status: http.StatusUnauthorized, challenges: []string{invalidToken(token.ErrExpired)},
		}},
		presentation{"a bad one in the query", http.Header{"Authorization": {"Bearer " + good}}, "/orders/5?access_token=" + bad, alice},
	)
	slices.SortFunc(all, func(a, b presentation) int { return strings.Compare(a.name, b.name) })
	return all
}
