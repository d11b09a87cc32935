package token

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
)

// Check is one thing that was asked of a token.
type Check struct {
	// Name is "form", "issuer", "claims", "type", "algorithm", "kind", "audience",
	// "lifetime", "require", "key", "signature", "binding" or "time".
	Name string
	// Fault is why it does not hold; "" if it does. It repeats nothing that the token
	// says.
	Fault string
}

// Diagnosis is everything that is right and wrong with a token at once.
type Diagnosis struct {
	// Taken: [Verifier.Verify] accepts the token.
	Taken bool
	// Rule is that of the token's issuer or, where there is none, the one that comes
	// nearest, with its defaults filled in. Nil if the form is wrong: then nothing else
	// was asked.
	Rule *Trust
	// Checks are all that were made, in the order in which a request makes them; one
	// that does not hold does not end them.
	Checks []Check

	// What follows is there only if a key of the rule's issuer has signed the token. Of
	// claims that are at fault Token has none.
	Token           *Verified
	Issuer          events.Issuer
	Type, Algorithm string
}

// diagnoseWithin bounds how long the key sets of issuers that may not even be the
// token's are waited for.
const diagnoseWithin = 2 * time.Second

// Diagnose asks of raw everything that [Verifier.Verify] asks, each thing for itself,
// afresh and past the first fault.
func (v *Verifier) Diagnose(ctx context.Context, raw string, now time.Time) Diagnosis {
	p, err := parse(raw, v.maxBytes)
	if err != nil {
		return Diagnosis{Checks: []Check{{"form", formFault(raw, err)}}}
	}
	if own, ok := v.issuers[events.Issuer(text(p.payload, "iss"))]; ok {
		return v.diagnose(ctx, own, p, now)
	}
	ctx, cancel := context.WithTimeout(ctx, diagnoseWithin)
	defer cancel()
	var nearest Diagnosis
	best := -1
	for _, id := range slices.Sorted(maps.Keys(v.issuers)) {
		if d := v.diagnose(ctx, v.issuers[id], p, now); d.nearness(p) > best {
			nearest, best = d, d.nearness(p)
		}
	}
	return nearest
}

func (v *Verifier) diagnose(ctx context.Context, by Issuer, p parsed, now time.Time) Diagnosis {
	rule := by.Trust
	d := Diagnosis{Rule: &rule, Taken: true, Checks: make([]Check, 0, 13)}
	check := func(name, fault string) bool {
		d.Checks = append(d.Checks, Check{name, fault})
		d.Taken = d.Taken && fault == ""
		return fault == ""
	}
	check("form", "")
	iss := events.Issuer(text(p.payload, "iss"))
	_, fault := kinship(iss, rule.Issuer)
	check("issuer", fault)
	c, starts, err := readClaims(p, rule)
	check("claims", reason(err))
	for _, demand := range demands() {
		check(demand.name, demand.fault(rule, p, c))
	}
	key, err := find(ctx, by.Keys, p)
	if !check("key", reason(err)) {
		check("signature", "not checked for want of the key")
	} else if check("signature", reason(p.signedBy(key))) {
		d.Token, d.Issuer, d.Type, d.Algorithm = v.verified(c, starts, key, p.size), iss, p.typ, p.algorithm
	}
	check("binding", unless(!p.payload.Has("cnf"), "it is bound to a key or certificate (cnf), whose possession is not checked here"))
	switch {
	case c.Expires.IsZero():
		check("time", "it has no exp that can be read")
	case d.Token != nil:
		check("time", reason(d.Token.inTime(now.UnixMilli())))
	default:
		check("time", reason(v.life(c, starts).inTime(now.UnixMilli())))
	}
	return d
}

// nearness is greater the likelier it is that the rule is meant for tokens like p: a
// signature by its keys tells most, then a name that is nearly the same.
func (d *Diagnosis) nearness(p parsed) (n int) {
	if d.Token != nil {
		n += 1000
	}
	kin, _ := kinship(events.Issuer(text(p.payload, "iss")), d.Rule.Issuer)
	n += 100 * kin
	for _, c := range d.Checks {
		if c.Fault == "" {
			n++
		}
	}
	return n
}

// kinship compares a token's issuer with a rule's. The fault is empty if they are one.
func kinship(iss, rule events.Issuer) (kin int, fault string) {
	a, b := string(iss), string(rule)
	bare := func(s string) string {
		_, rest, _ := strings.Cut(s, "://")
		return rest
	}
	host := func(s string) string {
		u, err := url.Parse(s)
		if err != nil {
			return ""
		}
		return u.Host
	}
	switch {
	case a == b:
		return 5, ""
	case a == "":
		return 0, "iss is missing or no text"
	case strings.TrimRight(a, "/") == strings.TrimRight(b, "/"):
		return 4, "iss is the rule's but for a slash at the end"
	case bare(a) == bare(b):
		return 3, "iss is the rule's but for http and https"
	case strings.EqualFold(a, b):
		return 2, "iss is the rule's but for capitals"
	case host(a) == host(b):
		return 1, "iss is another on the rule's host"
	}
	return 0, "iss is of no trusted issuer"
}

// formFault says more of what is no signed token at all.
func formFault(raw string, err error) string {
	switch strings.Count(raw, ".") {
	case 0:
		return "it has one part: an opaque token, which only its provider can read"
	case 4:
		return "it has five parts: an encrypted token (RFC 7516), which is not read here"
	}
	return reason(err)
}

// reason is what an error of this package says besides which of them it is.
func reason(err error) string {
	if err == nil {
		return ""
	}
	if _, why, ok := strings.Cut(err.Error(), ": "); ok {
		return why
	}
	return err.Error()
}
