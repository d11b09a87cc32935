package issue

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// RiskVerdict is what a [Risk] says.
type RiskVerdict uint8

const (
	// RiskStepUp asks for a credential. It is the zero value: silence denies.
	RiskStepUp RiskVerdict = iota
	// RiskAllow lets the refresh go on.
	RiskAllow
)

// RiskRequest is what is known of a refresh that everything else allows. It holds no
// credential.
type RiskRequest struct {
	Subject events.Subject
	Session events.SessionID
	Client  events.ClientID
	// DeviceID is as the request sent it; the session was opened with SessionDeviceID.
	DeviceID, SessionDeviceID string
	// Address is where the request comes from; the zero Addr if not known.
	Address netip.Addr
	// NetworkChanged: it is known to be another network than the last refresh's.
	NetworkChanged bool
	// AuthTime is when the user gave the password, LastRefresh when the session was
	// refreshed last, in broker time.
	AuthTime, LastRefresh time.Time
}

// Risk is an operator's own judgement of refreshes. It is asked only for a token whose
// MAC has verified, and that would be answered with a rotation. An error means that
// there is no verdict, and none to be assumed: the refresh is not decided.
type Risk interface {
	Judge(ctx context.Context, r RiskRequest) (RiskVerdict, error)
}

// judged asks once in a refresh, however often that is decided anew, and refuses
// nothing on a read that may be stale.
func (s *Service) judged(ctx context.Context, c *refreshing, state session.State) error {
	if s.risk == nil {
		return nil
	}
	if !c.asked {
		var err error
		if c.verdict, err = s.ask(ctx, c, state); err != nil {
			return fmt.Errorf("judging the risk: %w: %w", events.ErrUnavailable, err)
		}
		c.asked = true
	}
	switch {
	case c.verdict == RiskAllow:
		return nil
	case state.Now.IsZero():
		return session.ErrBarrier
	}
	return &session.StepUpError{Sign: session.SignPolicy}
}

func (s *Service) ask(ctx context.Context, c *refreshing, state session.State) (RiskVerdict, error) {
	n := state.Session
	return s.risk.Judge(ctx, RiskRequest{
		Subject: n.Subject, Session: n.ID, Client: n.Client,
		DeviceID: c.DeviceID, SessionDeviceID: n.DeviceID, Address: c.address,
		NetworkChanged: session.OtherNetwork(n.Network, c.Network),
		AuthTime:       n.AuthTime, LastRefresh: state.RotatedAt,
	})
}
