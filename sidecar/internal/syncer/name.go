package syncer

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// subscribeNames hears the answers to askName.
func (r *run) subscribeNames(conn *nats.Conn) error {
	r.names = conn.NewInbox()
	_, err := conn.Subscribe(r.names, func(m *nats.Msg) {
		if epoch, stored, ok := readName(m, r.cfg.Realm.FeedStream()); ok {
			r.hand(func(machine *replica.Machine) replica.Effects { return machine.Named(epoch, stored) })
		}
	})
	if err != nil {
		return fmt.Errorf("subscribing to %s: %w", r.names, err)
	}
	return nil
}

// askName reads the feed's last heartbeat, which says what epoch it is, so that a
// sidecar that starts from nothing need not wait for the next. If there is no answer,
// it waits for that.
func (r *run) askName() {
	body := fmt.Appendf(nil, `{"last_by_subj":%q}`, r.cfg.Realm.FeedHeartbeat())
	if err := r.conn.PublishRequest("$JS.API.DIRECT.GET."+r.cfg.Realm.FeedStream(), r.names, body); err != nil {
		r.log.Debug("asking for the last heartbeat", zap.Error(err))
	}
}

// readName reads a stored heartbeat. As with a live one, headers count only if the
// server alone wrote them.
func readName(m *nats.Msg, stream string) (epoch events.Epoch, stored time.Time, ok bool) {
	message, ok := readLive(m, stream, time.Time{}, 0)
	if !ok {
		return "", time.Time{}, false
	}
	beat, ok := message.Event.(events.Heartbeat)
	return beat.Epoch, message.Stored, ok
}
