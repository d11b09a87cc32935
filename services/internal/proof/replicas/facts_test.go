package replicas

import (
	"errors"
	"time"

	"github.com/revocast/revocast/events"
)

// facts are what a revocation is held against.
func (m *model) facts(t *oToken) events.Facts {
	c, kid, err := m.house.keys.Verify(t.text, time.Now())
	m.must(err)
	ssq, err1 := events.ParsePosition(c.SessionAt)
	tsq, err2 := events.ParsePosition(c.MintedAt)
	m.must(errors.Join(err1, err2))
	return events.Facts{
		Issuer: events.Issuer(c.Issuer), Token: events.TokenID(c.ID), Session: events.SessionID(c.Session), Subject: events.Subject(c.Subject),
		Client: events.ClientID(c.ClientID), Key: kid, SessionAt: ssq, MintedAt: tsq, AuthTime: c.AuthTime, IssuedAt: c.IssuedAt,
	}
}
