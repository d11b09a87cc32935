package token

import (
	"errors"
	"fmt"
	"strings"

	"github.com/revocast/revocast/sidecar/internal/strict"
)

// Path says which claim is meant: the names of the members that lead to it, the
// outermost first. Most are one name long; the zero Path means none.
//
// It is written with dots between the names, as identity providers write their own
// mappings: realm_access.roles. Inside a name \. is a dot, \: a colon and \\ a
// backslash. What begins with http:// or https:// and holds no backslash is one name
// whole, because that is how claims of one's own are to be named (RFC 7519 section
// 4.2): https://acme.example/roles. Which of the two is meant is decided by the
// notation alone, never by what a token happens to hold.
type Path []string

// ParsePath reads that notation.
func ParsePath(s string) (Path, error) {
	if namedByURL(s) && !strings.Contains(s, `\`) {
		return Path{s}, nil
	}
	var p Path
	var name strings.Builder
	for i := 0; i <= len(s); i++ {
		switch {
		case i == len(s) || s[i] == '.':
			if name.Len() == 0 {
				return nil, errors.New("a claim without a name")
			}
			p = append(p, name.String())
			name.Reset()
		case s[i] != '\\':
			name.WriteByte(s[i])
		case i+1 < len(s) && strings.IndexByte(`.:\`, s[i+1]) >= 0:
			i++
			name.WriteByte(s[i])
		default:
			return nil, errors.New(`a backslash before anything but ".", ":" or another`)
		}
	}
	if len(p) > maxDepth {
		return nil, fmt.Errorf("%d names: tokens nest %d deep at most", len(p), maxDepth)
	}
	return p, nil
}

func namedByURL(s string) bool {
	return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://")
}

// String gives the notation that [ParsePath] reads.
func (p Path) String() string { return p.written("") }

// written escapes the characters in also besides those that it must.
func (p Path) written(also string) string {
	if len(p) == 1 && namedByURL(p[0]) && strings.IndexByte(p[0], '\\') < 0 && (also == "" || strings.Count(p[0], ":") == 1) {
		return p[0]
	}
	if len(p) > 0 && namedByURL(p[0]) {
		also = ":" // or it would be read as one name
	}
	var b strings.Builder
	for i, name := range p {
		if i > 0 {
			b.WriteByte('.')
		}
		for k := range len(name) {
			if strings.IndexByte(`.\`+also, name[k]) >= 0 {
				b.WriteByte('\\')
			}
			b.WriteByte(name[k])
		}
	}
	return b.String()
}

// or gives p or, if there is none, a claim by its name.
func (p Path) or(name string) Path {
	if len(p) == 0 {
		return Path{name}
	}
	return p
}

// find gives the claim, or has = false if there is none. ok is false if what should
// hold it is no object.
func (p Path) find(payload strict.Object) (v strict.Value, has, ok bool) {
	if len(p) == 0 {
		return v, false, true
	}
	for _, name := range p[:len(p)-1] {
		outer, there := payload.Get(name)
		if !there {
			return v, false, true
		}
		if payload, ok = outer.Object(); !ok {
			return v, false, false
		}
	}
	v, has = payload.Get(p[len(p)-1])
	return v, has, true
}

// Requirement is one claim that a token must have: a string, or an array of strings
// that holds the value. The value "*" stands for any that is not empty.
type Requirement struct {
	Claim Path
	Value string
}

// anyValue is the value of a requirement that the claim be there.
const anyValue = "*"

// parseRequirement reads claim:value. The first colon ends the claim, but for one
// that is escaped and for that of http:// or https:// at its beginning.
func parseRequirement(s string) (Requirement, error) {
	from := 0
	if namedByURL(s) {
		from = strings.IndexByte(s, ':') + 1
	}
	for i := from; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ':':
			claim, err := ParsePath(s[:i])
			return Requirement{claim, s[i+1:]}, err
		}
	}
	return Requirement{}, fmt.Errorf("%q: want claim:value", s)
}

// String gives it as claim:value.
func (r Requirement) String() string { return r.Claim.written(":") + ":" + r.Value }

// met reports whether a payload has what is required.
func (r Requirement) met(payload strict.Object) bool {
	v, _, _ := r.Claim.find(payload)
	have, ok := v.Texts()
	for _, s := range have {
		if ok && s != "" && (s == r.Value || r.Value == anyValue) {
			return true
		}
	}
	return false
}
