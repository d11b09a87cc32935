package issue

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/revocast/revocast/events"
)

// ErrClientDisabled says that the client gets no tokens until it is enabled again.
var ErrClientDisabled = errors.New("client is disabled")

func (s *Service) clientSubject(id events.ClientID) string {
	return s.cfg.Realm.Client(s.keyer.Key(events.KindClient, s.cfg.Issuer, string(id)))
}

// SetClientStatus disables a client, which ends every session that belongs to it for
// good, or enables it again. Whether there is such a client, the caller knows.
func (s *Service) SetClientStatus(ctx context.Context, id events.ClientID, status Status) (events.Client, error) {
	var changed events.Client
	_, err := s.change(ctx, s.clientSubject(id), func(last events.Event) (events.Event, error) {
		before, err := clientOf(last)
		if err != nil {
			return nil, err
		}
		changed = before
		changed.ID = id
		if before.Disabled == !status.Enabled {
			return nil, nil //nolint:nilnil // nothing to append
		}
		usual := events.ReasonClientDisabled
		if status.Enabled {
			usual = events.ReasonAdmin
		}
		changed = events.Client{ID: id, Disabled: !status.Enabled, Reason: cmp.Or(status.Reason, usual), By: status.By}
		if changed.Disabled {
			changed.Entails = s.entail(events.KindClient, string(id), Revocation{Reason: changed.Reason, By: status.By})
		}
		return events.ClientUpdated{Client: changed}, nil
	})
	if err != nil {
		return events.Client{}, fmt.Errorf("changing client %s: %w", id, err)
	}
	return changed, nil
}

// ClientChanges gives the clients that the journal says something about, as a replica
// knows them, which may lag.
func (s *Service) ClientChanges(ctx context.Context) (map[events.ClientID]events.Client, error) {
	records, err := s.journal.Load(ctx, events.Position{}, s.cfg.Realm.Clients())
	if err != nil {
		return nil, fmt.Errorf("loading clients: %w", err)
	}
	all := make(map[events.ClientID]events.Client, len(records))
	for _, r := range records {
		c, err := clientOf(r.Envelope.Event)
		if err != nil {
			return nil, err
		}
		all[c.ID] = c
	}
	return all, nil
}

// clientOf gives the client that an event speaks of; one that nothing is said about
// is enabled.
func clientOf(e events.Event) (events.Client, error) {
	switch e := e.(type) { //nolint:gochecksumtype // any other event is no client
	case nil:
		return events.Client{}, nil
	case events.ClientUpdated:
		return e.Client, nil
	}
	return events.Client{}, fmt.Errorf("reading a client: %w: unexpected %T", events.ErrUnavailable, e)
}
