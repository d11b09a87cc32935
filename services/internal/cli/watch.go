package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/revocast/revocast/events/client"
	"github.com/revocast/revocast/events/natsconn"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/cloudevent"
)

type watchCommand struct {
	NATSURL   string        `name:"nats-url" env:"REVOCAST_NATS_URL" default:"nats://127.0.0.1:4222" placeholder:"URL,…" help:"NATS servers, nats:// or tls://, comma-separated (${default})."`
	NATSCreds string        `name:"nats-creds" env:"REVOCAST_NATS_CREDS" required:"" placeholder:"FILE" help:"Credentials of a subscriber."`
	NATSCA    string        `name:"nats-ca" env:"REVOCAST_NATS_CA" placeholder:"FILE" help:"Authorities, PEM, that the servers' certificates must come from, instead of the system's. This and the next two demand TLS."`
	NATSCert  string        `name:"nats-cert" env:"REVOCAST_NATS_CERT" placeholder:"FILE" help:"Client certificate, PEM, for servers that want one besides the credentials."`
	NATSKey   string        `name:"nats-key" env:"REVOCAST_NATS_KEY" placeholder:"FILE" help:"Its key, PEM."`
	Realm     string        `default:"default" placeholder:"NAME" help:"The realm (${default})."`
	From      client.Cursor `default:"latest" placeholder:"CURSOR" help:"Go on behind this cursor; beginning is the oldest event kept, latest (the default) what comes from now on."`
	Count     uint          `short:"n" placeholder:"N" help:"Stop after so many events."`
}

func (*watchCommand) Help() string {
	return `Prints a line for every event, in order and without a gap, across restarts of the broker. It talks to the broker itself and needs a subscriber's credentials; an issuer with an inner broker writes them into creds in its data directory. With -o json each line is a CloudEvents 1.0 object; its cursor is what --from takes to go on from there. An event kept no longer is an error, not a silent gap.

Examples:

  revocast watch --nats-creds creds/subscriber.creds
  revocast watch --nats-creds creds/subscriber.creds --from beginning -o json
  revocast watch --nats-creds creds/subscriber.creds -n 1 -o json
  revocast watch --nats-creds creds/subscriber.creds --nats-url tls://a.example,tls://b.example --nats-ca ca.pem
`
}

// Validate is called by kong.
func (c *watchCommand) Validate() error {
	_, err := subject.ParseRealm(c.Realm)
	servers := natsconn.CheckServers(c.NATSURL)
	if servers != nil {
		servers = fmt.Errorf("--nats-url: %w", servers)
	}
	return errors.Join(err, servers, c.files().Check())
}

func (c *watchCommand) files() natsconn.Files {
	return natsconn.Files{CA: c.NATSCA, Cert: c.NATSCert, Key: c.NATSKey}
}

func (c *watchCommand) Run(ctx context.Context, t *terminal) error {
	conn, err := client.Connect(c.NATSURL, c.NATSCreds, c.files().Options(t.note)...)
	if err != nil {
		return err
	}
	defer conn.Close()
	realm := subject.Realm(c.Realm)
	reader, err := client.New(conn, realm, client.OnError(t.note))
	if err != nil {
		return err
	}
	if !t.json {
		t.printf(watchLine, "TIME", "EVENT", "KIND", "ID", "REASON", "BY", "CURSOR")
	}
	printed := uint(0)
	for d, err := range reader.Follow(ctx, c.From) {
		if _, poisoned := errors.AsType[*client.PoisonError](err); poisoned {
			t.note(err)
			continue
		}
		if err != nil {
			return fmt.Errorf("watching: %w", err)
		}
		if err := t.event(realm, d); err != nil {
			return err
		}
		if printed++; printed == c.Count {
			break
		}
	}
	return t.failed
}

const watchLine = "%-12s  %-11s  %-7s  %-36s  %-20s  %-16s  %s\n"

// event prints one event on a line.
func (t *terminal) event(realm subject.Realm, d client.Delivery) error {
	e := cloudevent.Of(realm, d.Event)
	e.Cursor = d.Cursor.String()
	if t.json {
		return errors.Join(t.printLine(e), t.failed)
	}
	var kind, id, reason, by string
	switch data := e.Data.(type) {
	case cloudevent.Revoked:
		kind, id, reason, by = data.Kind, data.ID, data.Reason, strings.TrimSpace(data.By.Role+" "+data.By.Name)
	case cloudevent.Lifted:
		kind, id = data.Kind, data.ID
	case cloudevent.Key:
		kind, id = "key", data.ID
	}
	t.printf(watchLine, e.Time.Local().Format("15:04:05.000"), e.Name(), kind,
		printable(cmp.Or(id, "-")), printable(cmp.Or(reason, "-")), printable(cmp.Or(by, "-")), e.Cursor)
	return t.failed
}

// note tells of something that the command gets over by itself.
func (t *terminal) note(err error) {
	_, _ = fmt.Fprintf(t.err, "revocast: %s\n", printable(err.Error())) // nowhere left to complain
}
