package signing

import (
	"errors"
	"reflect"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events/claims"
)

// What is accepted once is accepted for as long as the process lives.
func TestAccept(t *testing.T) {
	k := open(t, config(filled(t)))
	of := func(audience string) error {
		c := access(t)
		c.Audience = claims.Audience{audience}
		token, err := k.Sign(c)
		if err != nil {
			return err
		}
		_, _, err = k.Verify(token, noon())
		return err
	}
	const second, third = "https://second.example", "https://third.example"
	if err := of(second); !errors.Is(err, ErrUntrusted) {
		t.Errorf("before it is served: %v", err)
	}
	k.Accept([]string{second})
	k.Accept(nil)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { k.Accept([]string{third}) })
	}
	group.Wait()
	for _, served := range []string{audience, second, third} {
		if err := of(served); err != nil {
			t.Errorf("%s: %v", served, err)
		}
	}
	if err := of("https://evil.example"); !errors.Is(err, ErrUntrusted) {
		t.Errorf("another: %v", err)
	}
}

func TestRolesUnderAnotherName(t *testing.T) {
	k := open(t, config(filled(t)))
	for name, want := range map[string]map[string]any{
		"":                        {"roles": []any{"a", `b"c`}},
		"roles":                   {"roles": []any{"a", `b"c`}},
		"https://api.example/may": {"https://api.example/may": []any{"a", `b"c`}},
	} {
		c := access(t)
		c.Roles, c.RolesClaim = []string{"a", `b"c`}, name
		token, err := k.Sign(c)
		if err != nil {
			t.Fatal(err)
		}
		got := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(token, got); err != nil {
			t.Fatal(err)
		}
		for claim, roles := range want {
			if !reflect.DeepEqual(got[claim], roles) {
				t.Errorf("%q: %v", name, got)
			}
		}
		if _, both := got["roles"]; both && want["roles"] == nil {
			t.Errorf("%q: roles are there twice", name)
		}
		back, _, err := k.Verify(token, noon())
		if err != nil {
			t.Fatal(err)
		}
		want := c
		want.RolesClaim = ""
		if name != "" && name != "roles" {
			want.Roles = nil
		}
		if !reflect.DeepEqual(back, want) {
			t.Errorf("%q: read back as %+v", name, back)
		}
		c.Roles = nil
		if token, err = k.Sign(c); err != nil {
			t.Fatal(err)
		}
		got = jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(token, got); err != nil || got["roles"] != nil || name != "" && got[name] != nil {
			t.Errorf("%q: without roles %v, %v", name, got, err)
		}
	}
}
