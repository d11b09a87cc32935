package session_test

import (
	"reflect"
	"testing"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

func TestNarrow(t *testing.T) {
	for name, c := range map[string]struct {
		policy   session.Policy
		scope    string
		audience []string
		roles    []string
	}{
		"nothing said":          {session.Policy{}, "read write pay", []string{"a", "b"}, nil},
		"all roles":             {session.Policy{RolesClaim: "roles"}, "read write pay", []string{"a", "b"}, []string{"reader", "editor"}},
		"some roles":            {session.Policy{RolesClaim: "r", Roles: []string{"admin", "editor"}}, "read write pay", []string{"a", "b"}, []string{"editor"}},
		"no roles":              {session.Policy{RolesClaim: "r", Roles: []string{}}, "read write pay", []string{"a", "b"}, []string{}},
		"roles of no claim":     {session.Policy{Roles: []string{"editor"}}, "read write pay", []string{"a", "b"}, nil},
		"a scope less":          {session.Policy{Scopes: []string{"pay", "read", "more"}}, "read pay", []string{"a", "b"}, nil},
		"no scope left":         {session.Policy{Scopes: []string{}}, "", []string{"a", "b"}, nil},
		"an audience less":      {session.Policy{Audiences: []string{"b", "c"}}, "read write pay", []string{"b"}, nil},
		"no audience left":      {session.Policy{Audiences: []string{"c"}}, "read write pay", []string{}, nil},
		"a scope that looks it": {session.Policy{Scopes: []string{"read write", "rea"}}, "", []string{"a", "b"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			before := session.State{
				Session: events.Session{ID: "s", Scope: "read write pay", Audience: []string{"a", "b"}},
				User:    events.User{Subject: "u", Roles: []string{"reader", "editor"}},
			}
			got := c.policy.Narrow(before)
			if got.Session.Scope != c.scope || !reflect.DeepEqual(got.Session.Audience, c.audience) || !reflect.DeepEqual(got.User.Roles, c.roles) {
				t.Errorf("got %q %v %v", got.Session.Scope, got.Session.Audience, got.User.Roles)
			}
			if got.Session.ID != "s" || got.User.Subject != "u" {
				t.Error("more was lost")
			}
			if before.Session.Scope != "read write pay" || len(before.Session.Audience) != 2 || before.Session.Audience[0] != "a" || before.User.Roles[0] != "reader" {
				t.Errorf("the state itself was changed: %+v", before)
			}
		})
	}
}
