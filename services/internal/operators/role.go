package operators

import "fmt"

// Role is what an operator may do; each may do what those before it may. The zero
// Role may nothing.
type Role uint8

// The roles.
const (
	NoRole Role = iota
	// Viewer sees who is logged in where, what is revoked and what happened.
	Viewer
	// Support revokes what belongs to one user.
	Support
	// Administrator may do everything; it is called "operator" outside.
	Administrator
)

// String gives the name used in the API and in the journal.
func (r Role) String() string {
	switch r {
	case Viewer:
		return "viewer"
	case Support:
		return "support"
	case Administrator:
		return "operator"
	case NoRole:
	}
	return "none"
}

// ParseRole is the inverse of [Role.String]; "none" is not accepted.
func ParseRole(s string) (Role, error) {
	for _, r := range []Role{Viewer, Support, Administrator} {
		if r.String() == s {
			return r, nil
		}
	}
	return NoRole, fmt.Errorf("%q is not a role; one of viewer, support, operator", s)
}
