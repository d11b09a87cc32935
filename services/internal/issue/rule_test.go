package issue_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// Sidecars judge tokens and issuers judge sessions, each by a rule of their own. A cut
// of sessions must catch a session exactly if it denies the tokens minted from it, or
// one side would let through what the other has ended.
func TestCutsEndSessionsWhoseTokensTheyDeny(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := func(label string) string { return rapid.SampledFrom([]string{"a", "b"}).Draw(t, label) }
		place := func(label string, least int) events.Position {
			return events.Position{Shard: uint16(rapid.IntRange(0, 1).Draw(t, label+" shard")), Sequence: uint64(rapid.IntRange(least, 5).Draw(t, label))}
		}
		n := events.Session{
			ID: events.SessionID(name("sid")), Issuer: events.Issuer(name("issuer")), Subject: events.Subject(name("subject")),
			Client: events.ClientID(name("client")), Began: place("began", 1),
		}
		r := events.Revocation{
			Kind:   rapid.SampledFrom([]events.Kind{events.KindSubject, events.KindClient, events.KindAll}).Draw(t, "kind"),
			Issuer: events.Issuer(name("cut's issuer")), Target: name("target"), Cut: place("cut", 0),
			Except: events.SessionID(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "except")),
		}
		if r.Kind != events.KindSubject {
			r.Except = "" // only a subject's revocation has one
		}
		if r.Kind == events.KindAll {
			r.Target = ""
		}
		minted := n.Began
		minted.Sequence += uint64(rapid.IntRange(0, 5).Draw(t, "minted later"))
		_, ended := session.State{Session: n, Cuts: []events.Revocation{r}}.CutBy()
		denied := r.Denies(&events.Facts{
			Issuer: n.Issuer, Session: n.ID, Subject: n.Subject, Client: n.Client, SessionAt: n.Began, MintedAt: minted,
		})
		if ended != denied {
			t.Fatalf("%+v\nends the session: %v, denies its tokens: %v\n%+v", r, ended, denied, n)
		}
	})
}
