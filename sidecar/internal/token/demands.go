package token

import "slices"

// demand is one thing that a rule asks of a token besides issuer, form and signature.
type demand struct {
	name string
	// fault says why the token does not meet it; "" if it does. It repeats nothing
	// that the token says.
	fault func(Trust, parsed, Claims) string
}

// demands are all of them, in the order in which the first fault is told.
func demands() [6]demand {
	return [...]demand{
		{"type", Trust.typeFault},
		{"algorithm", func(t Trust, p parsed, _ Claims) string {
			return unless(slices.Contains(t.Algorithms, p.algorithm), "alg is not the rule's")
		}},
		{"kind", func(t Trust, p parsed, _ Claims) string { return t.otherKind(p) }},
		{"audience", func(t Trust, _ parsed, c Claims) string {
			return unless(len(t.Audiences) == 0 || slices.ContainsFunc(t.Audiences, c.Audience.Has), "not for this audience")
		}},
		{"lifetime", func(t Trust, _ parsed, c Claims) string {
			return unless(t.MaxLifetime == 0 || c.Expires.Sub(c.IssuedAt) <= t.MaxLifetime, "lives longer than the rule allows, or for who knows how long")
		}},
		{"require", func(t Trust, p parsed, _ Claims) string {
			for _, r := range t.Require {
				if !r.met(p.payload) {
					return r.Claim.String() + " is not what the rule requires"
				}
			}
			return ""
		}},
	}
}

func (t Trust) typeFault(p parsed, _ Claims) string {
	switch {
	case t.Type == typeNone:
		return unless(p.typ == "", "the header has a typ, and the rule wants none")
	case p.typ == "":
		return "the header has no typ"
	}
	return unless(sameType(p.typ, t.Type), "typ is not the rule's")
}

func unless(met bool, fault string) string {
	if met {
		return ""
	}
	return fault
}
