package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

type usersCommand struct {
	Add      addUserCommand      `cmd:"" help:"Make a user."`
	Show     showUserCommand     `cmd:"" help:"Show a user's sub, roles and status."`
	Disable  disableUserCommand  `cmd:"" help:"End every session of a user, and let them log in no more."`
	Enable   enableUserCommand   `cmd:"" help:"Let a user log in again. What was ended stays so."`
	Roles    rolesCommand        `cmd:"" help:"Replace a user's roles. Sessions go on, with the new roles at once."`
	Password userPasswordCommand `cmd:"" help:"Set a user's password and end every session of theirs."`
}

func (*usersCommand) Help() string {
	return `A password is asked for without echo, or comes from --password-file or the variable REVOCAST_PASSWORD.

Examples:

  revocast users add carol --role reader --role writer
  revocast users disable carol --reason left_the_company
  revocast users roles carol reader
  pass generate carol | revocast users password carol --password-file -
`
}

// who names a user.
type who struct {
	User string `arg:"" help:"Who, by name."`
	Sub  bool   `help:"Take it for a sub, not a name."`
}

// user is a user as the admin API shows one.
type user struct {
	Subject  string   `json:"sub"`
	Username string   `json:"username"`
	Roles    []string `json:"roles"`
	Status   string   `json:"status"`
}

// find asks for the user; text is the answer's own JSON.
func (c who) find(ctx context.Context, admin *api) (found user, text []byte, err error) {
	if c.Sub {
		a, err := admin.call(ctx, http.MethodGet, userPath(c.User, ""))
		if err == nil {
			err = a.into(&found, http.StatusOK)
		}
		return found, a.body, err
	}
	a, err := admin.call(ctx, http.MethodGet, "/admin/v1/users?"+url.Values{"username": {c.User}}.Encode())
	if err != nil {
		return found, nil, err
	}
	var list struct {
		Users []json.RawMessage `json:"users"`
	}
	if err := a.into(&list, http.StatusOK); err != nil {
		return found, nil, err
	}
	if len(list.Users) != 1 {
		return found, nil, errors.New("there is no user of this name")
	}
	if err := json.Unmarshal(list.Users[0], &found); err != nil {
		return found, nil, fmt.Errorf("reading the answer: %w", err)
	}
	return found, list.Users[0], nil
}

func userPath(sub, what string) string {
	return strings.TrimSuffix("/admin/v1/users/"+url.PathEscape(sub)+"/"+what, "/")
}

// put changes one thing about the user and prints what the user is then.
func (c who) put(ctx context.Context, g *grammar, t *terminal, what string, body any) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	sub := c.User
	if !c.Sub {
		found, _, err := c.find(ctx, admin)
		if err != nil {
			return fmt.Errorf("looking for user %s: %w", c.User, err)
		}
		sub = found.Subject
	}
	var changed user
	a, err := admin.putJSON(ctx, userPath(sub, what), body)
	switch {
	case err != nil:
	case a.status == http.StatusNoContent:
		changed, a.body, err = who{User: sub, Sub: true}.find(ctx, admin)
	default:
		err = a.into(&changed, http.StatusOK)
	}
	if err != nil {
		return fmt.Errorf("setting the %s of user %s: %w", what, c.User, err)
	}
	return t.showUser(changed, a.body)
}

func (t *terminal) showUser(u user, text []byte) error {
	if t.json {
		return t.printJSON(json.RawMessage(bytes.TrimSpace(text)))
	}
	t.table(
		[]string{"user", u.Username}, []string{"sub", u.Subject}, []string{"status", u.Status},
		[]string{"roles", cmp.Or(strings.Join(u.Roles, ", "), "none")},
	)
	return nil
}

type addUserCommand struct {
	User         string   `arg:"" help:"The user's name."`
	Role         []string `placeholder:"ROLE" sep:"none" help:"A role; may be given more than once."`
	PasswordFile string   `placeholder:"FILE" help:"Read the password from a file; - is standard input."`
}

func (c *addUserCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	password, err := t.readPassword(c.PasswordFile)
	if err != nil {
		return err
	}
	var made user
	a, err := admin.sendJSON(ctx, "/admin/v1/users", map[string]any{"username": c.User, "password": password, "roles": c.Role})
	if err == nil {
		err = a.into(&made, http.StatusCreated)
	}
	if err != nil {
		return fmt.Errorf("making user %s: %w", c.User, err)
	}
	if t.json {
		return t.printJSON(json.RawMessage(bytes.TrimSpace(a.body)))
	}
	t.table([]string{"user", made.Username}, []string{"sub", made.Subject})
	return nil
}

type showUserCommand struct{ who }

func (c *showUserCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	found, text, err := c.find(ctx, admin)
	if err != nil {
		return fmt.Errorf("looking for user %s: %w", c.User, err)
	}
	return t.showUser(found, text)
}

// statusRequest is the body of a change of status.
type statusRequest struct {
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

type disableUserCommand struct {
	who

	Reason string `placeholder:"CODE" help:"Why: a short code, kept in the history."`
}

func (c *disableUserCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	return c.put(ctx, g, t, "status", statusRequest{"disabled", c.Reason})
}

type enableUserCommand struct{ who }

func (c *enableUserCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	return c.put(ctx, g, t, "status", statusRequest{Status: "enabled"})
}

type rolesCommand struct {
	who

	Roles []string `arg:"" optional:"" help:"All the roles the user is to have."`
	None  bool     `help:"Take every role away."`
}

// Validate is called by kong.
func (c *rolesCommand) Validate() error {
	if c.None == (len(c.Roles) > 0) {
		return errors.New("name the roles, or say --none")
	}
	return nil
}

func (c *rolesCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	return c.put(ctx, g, t, "roles", map[string][]string{"roles": append([]string{}, c.Roles...)})
}

type userPasswordCommand struct {
	who

	PasswordFile string `placeholder:"FILE" help:"Read the new password from a file; - is standard input."`
}

func (c *userPasswordCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	password, err := t.readPassword(c.PasswordFile)
	if err != nil {
		return err
	}
	return c.put(ctx, g, t, "password", map[string]string{"password": password})
}
