package codec

import (
	"slices"

	"github.com/revocast/revocast/events"
)

func (c *checker) user(u events.User) {
	c.required("subject", string(u.Subject), maxID)
	c.required("username", u.Username, maxText)
	c.required("password hash", u.PasswordHash, maxID)
	c.list("roles", u.Roles)
	c.text("spared session", string(u.Spared), maxID)
	c.entails(u.Entails, events.KindSubject, string(u.Subject))
}

// entails checks what follows from a change: it is about whom the change is about,
// and what it cuts is the change's own place.
func (c *checker) entails(r *events.Revocation, kind events.Kind, target string) {
	if r == nil {
		return
	}
	c.revocation(*r)
	if r.Kind != kind || r.Target != target || !r.Cut.IsZero() {
		c.fail("a change of one %s entails another revocation", kind)
	}
}

func (c *checker) client(l events.Client) {
	c.required("client", string(l.ID), maxID)
	c.required("reason", string(l.Reason), maxText)
	c.initiator(l.By)
	c.entails(l.Entails, events.KindClient, string(l.ID))
}

func (c *checker) operator(o events.Operator) {
	c.required("operator name", o.Name, maxText)
	c.required("operator role", o.Role, maxText)
	c.bytes("token hash", o.TokenHash, 0, 32)
	if o.Expires.IsZero() {
		c.fail("an operator does not expire")
	}
	c.time("expiry", o.Expires)
	c.initiator(o.By)
}

func (c *checker) key(k events.Key) {
	c.required("key id", string(k.ID), maxID)
	c.text("issuer", string(k.Issuer), maxID)
	c.required("algorithm", k.Algorithm, maxText)
	if len(k.JWK) == 0 || len(k.JWK) > maxBlob {
		c.fail("key of %d bytes", len(k.JWK))
	}
	c.time("first use", k.NotBefore)
	c.time("last use", k.Until)
	c.bytes("signature", k.Signature, 0, 64)
}

func (c *checker) secret(s events.Secret) {
	c.required("key id", string(s.ID), maxID)
	if !slices.Contains([]string{"sign", "mac"}, s.Use) {
		c.fail("a secret for %q", s.Use)
	}
	c.required("algorithm", s.Algorithm, maxText)
	if len(s.Sealed) == 0 || len(s.Sealed) > maxBlob {
		c.fail("sealed secret of %d bytes", len(s.Sealed))
	}
	c.time("first use", s.Since)
	c.time("last use", s.Retired)
}

func (c *checker) lifetimes(list []events.Lifetime) {
	if len(list) == 0 || len(list) > maxList {
		c.fail("%d lifetimes, between 1 and %d", len(list), maxList)
	}
	for _, l := range list {
		if l.TTL <= 0 {
			c.fail("a lifetime of %s", l.TTL)
		}
		c.time("lifetime since", l.Since)
		c.time("lifetime seen", l.Seen)
	}
}

func (c *checker) note(n events.Note) {
	c.required("action", string(n.Action), maxText)
	c.initiator(n.By)
	c.required("issuer", string(n.Issuer), maxID)
	c.text("subject", string(n.Subject), maxID)
	c.text("session", string(n.Session), maxID)
	c.text("client", string(n.Client), maxID)
	c.text("device id", n.DeviceID, maxText)
	c.text("device name", n.DeviceName, maxText)
	c.text("address", n.Address, maxText)
	c.text("detail", n.Detail, maxScope)
}
