package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

type clientsCommand struct {
	List    listClientsCommand   `cmd:"" help:"List the issuer's clients and their status."`
	Disable disableClientCommand `cmd:"" help:"End every session that belongs to a client, and give it no more tokens."`
	Enable  enableClientCommand  `cmd:"" help:"Give a client tokens again. What was ended stays so."`
}

func (*clientsCommand) Help() string {
	return `Clients are made in the issuer's clients file; this is about those that are in it.

Examples:

  revocast clients list
  revocast clients disable demo-mobile --reason leaked_build
`
}

// clientLine is a client as the admin API shows one.
type clientLine struct {
	ID     string `json:"client_id"`
	Type   string `json:"type"`
	Status string `json:"status"`
	Reason string `json:"reason"`
	By     string `json:"by"`
}

func (t *terminal) showClients(list []clientLine, text []byte) error {
	if t.json {
		return t.printJSON(json.RawMessage(bytes.TrimSpace(text)))
	}
	rows := [][]string{{"CLIENT", "TYPE", "STATUS", "REASON", "BY"}}
	for _, c := range list {
		rows = append(rows, []string{c.ID, c.Type, c.Status, cmp.Or(c.Reason, "-"), cmp.Or(c.By, "-")})
	}
	t.table(rows...)
	return nil
}

type listClientsCommand struct{}

func (*listClientsCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	var list struct {
		Clients []clientLine `json:"clients"`
	}
	a, err := admin.call(ctx, http.MethodGet, "/admin/v1/clients")
	if err == nil {
		err = a.into(&list, http.StatusOK)
	}
	if err != nil {
		return fmt.Errorf("listing clients: %w", err)
	}
	return t.showClients(list.Clients, a.body)
}

type disableClientCommand struct {
	ID     string `arg:"" help:"The client's id."`
	Reason string `placeholder:"CODE" help:"Why: a short code, kept in the history."`
}

func (c *disableClientCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	return setClientStatus(ctx, g, t, c.ID, statusRequest{"disabled", c.Reason})
}

type enableClientCommand struct {
	ID     string `arg:"" help:"The client's id."`
	Reason string `placeholder:"CODE" help:"Why: a short code, kept in the history."`
}

func (c *enableClientCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	return setClientStatus(ctx, g, t, c.ID, statusRequest{"enabled", c.Reason})
}

func setClientStatus(ctx context.Context, g *grammar, t *terminal, id string, r statusRequest) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	var changed clientLine
	a, err := admin.putJSON(ctx, "/admin/v1/clients/"+url.PathEscape(id)+"/status", r)
	if err == nil {
		err = a.into(&changed, http.StatusOK)
	}
	if err != nil {
		return fmt.Errorf("setting the status of client %s: %w", id, err)
	}
	return t.showClients([]clientLine{changed}, a.body)
}
