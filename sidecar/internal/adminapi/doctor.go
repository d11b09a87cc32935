package adminapi

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/clock"
	"github.com/revocast/revocast/sidecar/internal/front/bearer"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/verify"
)

// Diagnosis is the answer of GET /v1/doctor: whether a rule takes the token, what each
// check says, and which revocations can reach it. Whether one does, and how fresh the
// view is, GET /v1/explain tells.
type Diagnosis struct {
	// Taken: a rule takes the token, so it passes unless it is revoked.
	Taken   bool      `json:"taken"`
	Summary string    `json:"summary"`
	At      time.Time `json:"at"`
	// Rule is the rule of the token's issuer or, if Nearest, the one that comes nearest.
	// Absent if the token could not be read.
	Rule    *Rule `json:"rule,omitempty"`
	Nearest bool  `json:"nearest,omitempty"`
	// Verified: a key of the rule's issuer has signed the token. Only then is there
	// anything more than whether checks hold.
	Verified bool    `json:"verified"`
	Checks   []Check `json:"checks"`
	Claims   *Claims `json:"claims,omitempty"`
	// Reach has all six kinds of revocation, in order; empty unless Verified.
	Reach []Reach `json:"reach"`
	Cuts  *Cuts   `json:"cuts,omitempty"`
	// Advice is what to do about what is missing besides the checks' own.
	Advice []string `json:"advice,omitempty"`
}

// Check is one thing that is asked of a token.
type Check struct {
	Check  string `json:"check"`
	Passes bool   `json:"passes"`
	Fault  string `json:"fault,omitempty"`
	// Says is what the token says, if it is verified; Wants is what the rule does.
	Says  string `json:"says,omitempty"`
	Wants string `json:"wants,omitempty"`
	// Advice is what to do about a fault.
	Advice string `json:"advice,omitempty"`
}

// Reach says whether a kind of revocation can name the token.
type Reach struct {
	Kind    string `json:"kind"`
	Reaches bool   `json:"reaches"`
	// Claim is where the rule looks for what is named, and ID what is there.
	Claim  string `json:"claim,omitempty"`
	ID     string `json:"id,omitempty"`
	Advice string `json:"advice,omitempty"`
}

// Cuts say by what a revocation of a subject, a client or all tells the tokens before
// it from those after it: "ssq", "tsq", "auth_time" or "iat"; "none" if it denies the
// token whenever it was made.
type Cuts struct {
	Sessions     string `json:"sessions"`
	AccessTokens string `json:"access_tokens"`
}

func (a *API) doctor(w http.ResponseWriter, r *http.Request) {
	raw, outcome := bearer.Credentials(r.Header["Authorization"])
	if outcome != gate.Unjudged {
		answer(w, Diagnosis{
			Summary: "No token could be found in the Authorization field.", At: clock.Now().UTC(), Reach: []Reach{},
			Checks: []Check{{Check: "form", Fault: "not one token after Bearer", Advice: formAdvice}},
		})
		return
	}
	answer(w, diagnosisOf(a.parts.Verifier.Diagnose(r.Context(), raw), clock.Now()))
}

func diagnosisOf(d verify.Diagnosis, now time.Time) Diagnosis {
	x := Diagnosis{Taken: d.Taken, At: now.UTC(), Verified: d.Token != nil, Checks: []Check{}, Reach: []Reach{}}
	var faults []string
	for _, c := range d.Checks {
		x.Checks = append(x.Checks, checkOf(&d, c))
		if c.Fault != "" {
			faults = append(faults, c.Name)
		}
		x.Nearest = x.Nearest || c.Name == "issuer" && c.Fault != ""
	}
	switch {
	case d.Taken:
		x.Summary = "The rule of issuer " + string(d.Rule.Issuer) + " takes it."
	case d.Rule == nil:
		x.Summary = "It is no token that any rule could take."
	case x.Nearest:
		x.Summary = "No rule takes it. The rule of issuer " + string(d.Rule.Issuer) + " comes nearest, and refuses it for: " + strings.Join(faults, ", ") + "."
	default:
		x.Summary = "The rule of its issuer, " + string(d.Rule.Issuer) + ", refuses it for: " + strings.Join(faults, ", ") + "."
	}
	if d.Rule != nil {
		x.Rule = ruleOf(*d.Rule)
	}
	if d.Token == nil {
		return x
	}
	x.Claims = claimsOf(&d.Token.Claims)
	x.Claims.Issuer = d.Issuer // which the rule's may not be
	x.Reach = reachOf(d.Rule, &d.Token.Claims)
	x.Cuts = cutsOf(&d.Token.Claims)
	x.Advice = adviceOf(&d, x.Cuts)
	return x
}

// checkOf adds what both sides say. Of a token that is not verified it is the rule
// alone.
func checkOf(d *verify.Diagnosis, c token.Check) Check {
	k := Check{Check: c.Name, Passes: c.Fault == "", Fault: c.Fault}
	if !k.Passes {
		k.Advice = checkAdvice(c.Name)
	}
	if d.Rule == nil {
		return k
	}
	r := d.Rule
	switch c.Name {
	case "issuer":
		k.Wants = string(r.Issuer)
	case "type":
		k.Wants = r.Type
	case "algorithm":
		k.Wants = strings.Join(r.Algorithms, ", ")
	case "audience":
		k.Wants = strings.Join(r.Audiences, ", ")
	case "require":
		k.Wants = strings.Join(requirements(*r), ", ")
	case "lifetime":
		if r.MaxLifetime > 0 {
			k.Wants = "at most " + r.MaxLifetime.String()
		}
	case "key":
		k.Wants = "one of " + cmp.Or(r.JWKS, "those that the issuer's metadata leads to")
	}
	if d.Token == nil {
		return k
	}
	t := &d.Token.Claims
	switch c.Name {
	case "issuer":
		k.Says = string(d.Issuer)
	case "type":
		k.Says = cmp.Or(d.Type, "none")
	case "algorithm":
		k.Says = d.Algorithm
	case "audience":
		k.Says = strings.Join(t.Audience.Slice(), ", ")
	case "lifetime":
		if !t.Expires.IsZero() && !t.IssuedAt.IsZero() {
			k.Says = t.Expires.Sub(t.IssuedAt).String()
		}
	case "key":
		k.Says = string(t.Key)
	case "time":
		k.Says = timesOf(t)
	}
	return k
}

func timesOf(c *token.Claims) string {
	var said []string
	for _, at := range []struct {
		name string
		time time.Time
	}{{"iat", c.IssuedAt}, {"nbf", c.NotBefore}, {"exp", c.Expires}} {
		if !at.time.IsZero() {
			said = append(said, at.name+" "+at.time.UTC().Format(time.RFC3339))
		}
	}
	return strings.Join(said, ", ")
}

// reachOf says for each kind whether the token has what an entry would have to name.
func reachOf(rule *token.Trust, c *token.Claims) []Reach {
	n := &rule.Names
	client := "client_id"
	if !rule.Profile() {
		client = "client_id or azp"
	}
	name := func(kind events.Kind, claim token.Path, usual, id, setting, without string) Reach {
		r := Reach{Kind: kind.String(), Reaches: id != "", Claim: cmp.Or(claim.String(), usual), ID: id}
		if r.Reaches {
			return r
		}
		r.Advice = without + " Have the provider put " + r.Claim + " into its access tokens"
		if rule.Foreign {
			r.Advice += ", or name the claim that has it by " + setting + "="
		}
		r.Advice += "."
		return r
	}
	return []Reach{
		name(events.KindToken, n.ID, "jti", string(c.ID), "id", "It cannot be revoked by itself."),
		name(events.KindSession, n.Session, "sid", string(c.Session), "session", "Logging out of one session does not reach it."),
		name(events.KindSubject, n.Subject, "sub", string(c.Subject), "subject", "Revoking its user does not reach it."),
		name(events.KindClient, n.Client, client, string(c.Client), "client", "Revoking its client does not reach it."),
		{Kind: events.KindKey.String(), Reaches: true, Claim: "kid", ID: string(c.Key)},
		{Kind: events.KindAll.String(), Reaches: true, Claim: "iss", ID: string(c.Issuer)},
	}
}

// cutsOf words what [events.Revocation.Denies] goes by.
func cutsOf(c *token.Claims) *Cuts {
	if c.SessionAt.IsZero() && c.MintedAt.IsZero() {
		cuts := &Cuts{"none", "none"}
		if !c.AuthTime.IsZero() && c.AuthTime.Unix() != 0 {
			cuts = &Cuts{"auth_time", "auth_time"}
		}
		if !c.IssuedAt.IsZero() && c.IssuedAt.Unix() != 0 {
			cuts.AccessTokens = "iat"
			if cuts.Sessions == "none" {
				cuts.Sessions = "iat"
			}
		}
		return cuts
	}
	cuts := &Cuts{"none", "none"}
	if !c.MintedAt.IsZero() {
		cuts.AccessTokens = "tsq"
	}
	switch {
	case c.Session == "":
		cuts.Sessions = cuts.AccessTokens
	case !c.SessionAt.IsZero():
		cuts.Sessions = "ssq"
	}
	return cuts
}

// adviceOf is about what no single check or kind shows.
func adviceOf(d *verify.Diagnosis, cuts *Cuts) (advice []string) {
	c := &d.Token.Claims
	if c.ID == "" && c.Session == "" && c.Subject == "" {
		advice = append(advice, "Only revocations of its client, its key and all reach it, which reach many others, too.")
	}
	switch cuts.Sessions {
	case "iat":
		advice = append(advice, "A revocation of its subject, client or all can tell its age by iat alone. What the provider refreshes afterwards passes again: end the session there as well, or have the provider put auth_time into its access tokens.")
	case "none":
		advice = append(advice, "A revocation of its subject, client or all denies it and all like it until the revocation ends, also those made afterwards: it has neither auth_time nor iat.")
	}
	if d.Rule.Foreign && d.Rule.MaxLifetime > token.ForeignLifetime {
		advice = append(advice, fmt.Sprintf("Its rule lets tokens live %s. Start the issuers with --foreign-max-lifetime of at least that, or what they revoke without naming an end may pass again: tokens, and the sessions that the provider says it has ended.", d.Rule.MaxLifetime))
	}
	return advice
}

const formAdvice = "Give the access token as it was issued, three parts with dots between and nothing around them. If the provider's are opaque or encrypted, ask it for a JWT: let the request for it name an API (audience, resource or scope) of your own. It has to be signed with ES256, RS256 or EdDSA, by a key that its header names."

func checkAdvice(check string) string {
	switch check {
	case "form":
		return formAdvice
	case "issuer":
		return "Trust the token's issuer by a rule of its own, written character by character as its tokens have it, or have the provider write it as the rule does. If it has the same keys under several names, find out which of them its tokens are to have."
	case "claims":
		return "Have the provider mend the claim, or, of another realm's issuer, name the one that is meant: subject=, client=, session=, id=, scope=, roles=. A rule of typ at+jwt wants all that RFC 9068 does; most providers need typ=JWT."
	case "type":
		return "If these are the provider's access tokens, give the rule the typ of their header: typ=JWT, or typ=none and a require where there is none."
	case "algorithm":
		return "Give the rule this alg, or have the provider sign with one that it has."
	case "kind":
		return "Have the application send its access token, not its ID token or any other."
	case "audience":
		return "Have the application ask for a token for this API, or give the rule the audience, if it names this API and nothing else."
	case "lifetime":
		return "Have the provider give shorter lives, or give the rule a greater max-lifetime and the issuers the same as --foreign-max-lifetime."
	case "require":
		return "If this token is meant to pass, have the provider add the claim, or change the rule's require."
	case "key":
		return "See in the sidecar's log whether the keys could be read. If so, the key is of another environment, or of a kind that is not used here; otherwise mend the address, or give it by jwks=."
	case "signature":
		return "The token was changed on its way, or made elsewhere with a key of the same name."
	case "binding":
		return "Have the client ask for a token that is not bound to a key or certificate."
	case "time":
		return "Get a new token. If this is one, compare the clocks."
	}
	return ""
}
