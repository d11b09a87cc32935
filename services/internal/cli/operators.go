package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

type operatorsCommand struct {
	Add    addOperatorCommand    `cmd:"" help:"Let somebody use the admin API; prints the token once."`
	List   listOperatorsCommand  `cmd:"" help:"List who may use the admin API, and until when."`
	Remove removeOperatorCommand `cmd:"" help:"Let an operator in no more, at once and everywhere."`
}

func (*operatorsCommand) Help() string {
	return `Roles: viewer sees who is logged in where and what happened; support revokes what belongs to one user as well; operator may do everything.

Examples:

  revocast operators add vera --role viewer --expires-in 2160h --save vera.token
  revocast operators add ci-bot --role support --expires-in 24h --certificate
  revocast operators remove vera
`
}

// operatorLine is an operator as the admin API shows one.
type operatorLine struct {
	Name        string     `json:"name"`
	Role        string     `json:"role"`
	Certificate bool       `json:"certificate"`
	AddedAt     *time.Time `json:"added_at"`
	AddedBy     string     `json:"added_by"`
	ExpiresAt   time.Time  `json:"expires_at"`
	Expired     bool       `json:"expired"`
	Token       string     `json:"token"`
}

func (o operatorLine) proof() string {
	if o.Certificate {
		return "certificate"
	}
	return "token"
}

type addOperatorCommand struct {
	Name        string        `arg:"" help:"What the operator is called in the audit: lower-case letters, digits and . _ @ + -."`
	Role        string        `required:"" enum:"viewer,support,operator" help:"viewer, support or operator."`
	ExpiresIn   time.Duration `required:"" placeholder:"TIME" help:"For how long, such as 720h; at most a year."`
	Certificate bool          `help:"The operator proves itself by a client certificate of that common name, and gets no token."`
	Save        string        `placeholder:"FILE" help:"Keep the token in a file, mode 0600, and do not print it."`
}

func (c *addOperatorCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	return saving(c.Save, func(p *pendingFile) error {
		var made operatorLine
		a, err := admin.sendJSON(ctx, "/admin/v1/operators", map[string]any{
			"name": c.Name, "role": c.Role, "expires_in": c.ExpiresIn.String(), "certificate": c.Certificate,
		})
		if err == nil {
			err = a.into(&made, http.StatusCreated)
		}
		if err != nil {
			return fmt.Errorf("adding operator %s: %w", c.Name, err)
		}
		return t.keepOperator(made, a.body, p)
	})
}

// keepOperator prints the operator with the token, or saves the token into p.
func (t *terminal) keepOperator(o operatorLine, text []byte, p *pendingFile) error {
	rows := [][]string{{"operator", o.Name}, {"role", o.Role}, {"expires", moment(o.ExpiresAt)}}
	switch {
	case p != nil && o.Token == "":
		p.abandon()
	case p != nil:
		if err := p.commit([]byte(o.Token + "\n")); err != nil {
			return err
		}
		if t.json {
			return t.printJSON(map[string]any{"name": o.Name, "role": o.Role, "expires_at": o.ExpiresAt, "saved": p.target})
		}
		rows = append(rows, []string{"saved in", p.target})
	case o.Token != "":
		rows = append(rows, []string{"token", o.Token})
	}
	if t.json {
		return t.printJSON(json.RawMessage(bytes.TrimSpace(text)))
	}
	t.table(rows...)
	return nil
}

type listOperatorsCommand struct{}

func (*listOperatorsCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	var list struct {
		Operators []operatorLine `json:"operators"`
	}
	a, err := admin.call(ctx, http.MethodGet, "/admin/v1/operators")
	if err == nil {
		err = a.into(&list, http.StatusOK)
	}
	if err != nil {
		return fmt.Errorf("listing operators: %w", err)
	}
	if t.json {
		return t.printJSON(json.RawMessage(bytes.TrimSpace(a.body)))
	}
	rows := [][]string{{"OPERATOR", "ROLE", "PROOF", "EXPIRES", "ADDED BY", ""}}
	for _, o := range list.Operators {
		mark := ""
		if o.Expired {
			mark = "expired"
		}
		rows = append(rows, []string{o.Name, o.Role, o.proof(), moment(o.ExpiresAt), cmp.Or(o.AddedBy, "-"), mark})
	}
	t.table(rows...)
	return nil
}

type removeOperatorCommand struct {
	Name string `arg:"" help:"Who."`
}

func (c *removeOperatorCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	a, err := admin.call(ctx, http.MethodDelete, "/admin/v1/operators/"+url.PathEscape(c.Name))
	if err == nil {
		err = a.into(nil, http.StatusNoContent)
	}
	if err != nil {
		return fmt.Errorf("removing operator %s: %w", c.Name, err)
	}
	if t.json {
		return t.printJSON(map[string]string{"removed": c.Name})
	}
	t.table([]string{"removed", c.Name})
	return nil
}
