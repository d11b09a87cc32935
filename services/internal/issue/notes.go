package issue

import (
	"net/netip"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// Noter takes notes for the audit: what happened and changed no state. It neither
// blocks nor fails, whatever becomes of the note (package notary).
type Noter interface{ Note(n events.Note) }

// note takes a note about a session. device is as the request sent it.
func (s *Service) note(a events.Action, by events.Initiator, n events.Session, device string, from netip.Addr, detail string) {
	if s.noter == nil {
		return
	}
	address := ""
	if from.IsValid() {
		address = from.String()
	}
	s.noter.Note(events.Note{
		Action: a, By: by, Issuer: n.Issuer, Subject: n.Subject, Session: n.ID, Client: n.Client,
		DeviceID: device, DeviceName: n.DeviceName, Address: address, Detail: detail,
	})
}

// noteRefresh takes a note about a refresh of a session whose token has verified.
func (s *Service) noteRefresh(a events.Action, c *refreshing, n events.Session, detail string) {
	s.note(a, events.Initiator{Role: "client", Name: string(c.Proof.Client)}, n, c.DeviceID, c.address, detail)
}

// network gives the hint by which networks are compared, and no more: a keyed hash of
// the address's prefix, that of a site (RFC 6177 for IPv6). Empty for no address.
func (s *Service) network(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	a = a.Unmap().WithZone("")
	family, bits := 6, 48
	if a.Is4() {
		family, bits = 4, 24
	}
	prefix := netip.PrefixFrom(a, bits).Masked()
	return session.Network(family, string(s.keyer.Key(events.KindUnknown, s.cfg.Issuer, "network:"+prefix.String())))
}
