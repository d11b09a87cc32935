package session

import (
	"slices"
	"strings"
)

// Narrow gives the state as tokens may speak of it under p: without the scopes and
// audiences that the session's client may not have any more, and without the roles
// that its tokens do not carry. The session itself keeps them, so that what is given
// back to the client is in the next token again.
func (p Policy) Narrow(s State) State {
	if p.Scopes != nil {
		scopes := slices.DeleteFunc(strings.Fields(s.Session.Scope), without(p.Scopes))
		s.Session.Scope = strings.Join(scopes, " ")
	}
	if p.Audiences != nil {
		s.Session.Audience = slices.DeleteFunc(slices.Clone(s.Session.Audience), without(p.Audiences))
	}
	switch {
	case p.RolesClaim == "":
		s.User.Roles = nil
	case p.Roles != nil:
		s.User.Roles = slices.DeleteFunc(slices.Clone(s.User.Roles), without(p.Roles))
	}
	return s
}

func without(kept []string) func(string) bool {
	return func(s string) bool { return !slices.Contains(kept, s) }
}
