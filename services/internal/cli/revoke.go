package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const revocationsPath = "/admin/v1/revocations"

// maxWait is the longest that the admin API waits.
const maxWait = 20 * time.Second

type revokeCommand struct {
	Kind string `arg:"" optional:"" default:"" enum:"token,session,subject,client,key,all," help:"What to deny: token, session, subject, client, key or all."`
	ID   string `arg:"" optional:"" help:"Its jti, sid, sub, client_id or kid; nothing for all."`

	Reason        string        `placeholder:"CODE" help:"Why: a short code, kept in the history."`
	ExceptSession string        `placeholder:"SID" help:"Spare this session of the subject."`
	Issuer        string        `placeholder:"URL" help:"Whose tokens are meant, where not this issuer's own."`
	Scope         string        `placeholder:"WHAT" help:"What a wide revocation cuts: sessions (the default) or access-tokens."`
	CutTime       string        `placeholder:"TIME" help:"Another issuer's subject, client or all: deny what began up to then, as 2026-11-01T10:00:00Z. Left out, it is now."`
	ExpiresIn     time.Duration `placeholder:"DURATION" help:"How long it lasts: at least, if it is of this issuer's own. Left out, it is as long as it must be; of another issuer's sessions, as long as they may go on refreshing."`
	DryRun        bool          `help:"Say what it would do, and do nothing."`
	Wait          time.Duration `placeholder:"DURATION" help:"Wait so long at most, up to 20s, until every sidecar enforces it. Exit status 1 if some did not say so."`

	Batch string `placeholder:"FILE" help:"Revoke what the lines of this file ask for, each a JSON object as the admin API takes; - is standard input."`
	Key   string `env:"REVOCAST_BATCH_KEY" placeholder:"TEXT" help:"Name of the batch. Sent again under the same name within a day, it does nothing twice. Default: one at random, shown if something failed."`
}

func (*revokeCommand) Help() string {
	return `Revoking answers when the revocation is durable. By then most sidecars enforce it.

With --wait it answers when every sidecar does, and says how long each took, from the broker's acknowledgement on. If the time is over first it names those that are missing, and the exit status is 1; so it is if the issuer cannot know them all. What was revoked stays revoked, and whoever is missing enforces it as soon as it is back.

An ID that begins with a hyphen, as some of other providers' do, comes last and after two hyphens.

Examples:

  revocast revoke session 01890a5d-ac96-774b-bcce-b302099a8057 --wait 2s
  revocast revoke session 01890a5d-ac96-774b-bcce-b302099a8057 --reason lost_device
  revocast revoke subject "$SUB" --except-session "$SID"
  revocast revoke subject "$SUB" --scope access-tokens --reason roles_changed
  revocast revoke client demo-web --dry-run
  revocast revoke session --wait 2s -- -_Z3J1Fpljx8IU8dmQqCdwD_
  revocast revoke all --issuer https://id.example --cut-time 2026-11-01T10:00:00Z
  revocast revoke --batch stolen.ndjson --key incident-42
`
}

// Validate is called by kong.
func (c *revokeCommand) Validate() error {
	one := c.Reason + c.ExceptSession + c.Issuer + c.Scope + c.CutTime
	switch {
	case c.Batch != "" && (c.Kind+c.ID != "" || one != "" || c.ExpiresIn != 0 || c.DryRun || c.Wait != 0):
		return errors.New("--batch says in its lines what is revoked, and how")
	case c.Batch != "":
		return nil
	case c.Key != "":
		return errors.New("--key names a --batch")
	case c.Kind == "":
		return errors.New("say what to revoke: a kind and its ID, or --batch FILE")
	case c.Kind == "all" && c.ID != "":
		return errors.New("revoking all takes no ID")
	case c.Kind != "all" && c.ID == "":
		return fmt.Errorf("revoking a %s needs its ID", c.Kind)
	case c.Kind == "token" && strings.Count(c.ID, ".") == 2:
		return errors.New("a token is revoked by its jti; never give a token as an argument")
	case c.Wait < 0 || c.Wait > maxWait:
		return errors.New("--wait is up to 20s")
	case c.Wait > 0 && c.DryRun:
		return errors.New("there is nothing to wait for in a --dry-run")
	case c.ExpiresIn < 0:
		return errors.New("--expires-in lies in the past")
	}
	return nil
}

// revocationRequest is the body of POST /admin/v1/revocations.
type revocationRequest struct {
	Kind          string `json:"kind"`
	ID            string `json:"id"`
	Issuer        string `json:"issuer,omitempty"`
	Scope         string `json:"scope,omitempty"`
	Reason        string `json:"reason,omitempty"`
	ExceptSession string `json:"except_session,omitempty"`
	CutTime       string `json:"cut_time,omitempty"`
	ExpiresAt     string `json:"expires_at,omitempty"`
	DryRun        bool   `json:"dry_run,omitempty"`
	Wait          string `json:"wait,omitempty"`
}

// revocation is its answer.
type revocation struct {
	RevocationID string    `json:"revocation_id"`
	Kind         string    `json:"kind"`
	ID           string    `json:"id"`
	Position     string    `json:"position"`
	ExpiresAt    time.Time `json:"expires_at"`
	Reason       string    `json:"reason"`
	// Enforcement is there if it was waited for.
	Enforcement *enforcement `json:"enforcement"`
}

// estimate is the answer to a dry run.
type estimate struct {
	Kind        string    `json:"kind"`
	ID          string    `json:"id"`
	Sessions    int       `json:"sessions"`
	MustRefresh int       `json:"must_refresh"`
	Complete    bool      `json:"complete"`
	ExpiresAt   time.Time `json:"expires_at"`
	Denies      string    `json:"denies"`
}

func revoke(ctx context.Context, admin *api, r revocationRequest) (got revocation, text []byte, err error) {
	a, err := admin.sendJSON(ctx, revocationsPath, r)
	if err != nil {
		return got, nil, err
	}
	return got, a.body, a.into(&got, http.StatusCreated)
}

func (c *revokeCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	if c.Batch != "" {
		return c.runBatch(ctx, admin, t)
	}
	r := revocationRequest{
		Kind: c.Kind, ID: c.ID, Issuer: c.Issuer, Scope: c.Scope, Reason: c.Reason,
		ExceptSession: c.ExceptSession, CutTime: c.CutTime, DryRun: c.DryRun,
	}
	if c.ExpiresIn > 0 {
		r.ExpiresAt = time.Now().Add(c.ExpiresIn).UTC().Format(time.RFC3339)
	}
	if c.Wait > 0 {
		r.Wait = c.Wait.String()
	}
	if c.DryRun {
		err = c.estimate(ctx, admin, t, r)
	} else {
		err = c.revoke(ctx, admin, t, r)
	}
	if err != nil {
		return fmt.Errorf("revoking %s %s: %w", c.Kind, c.ID, err)
	}
	return nil
}

func (*revokeCommand) revoke(ctx context.Context, admin *api, t *terminal, r revocationRequest) error {
	got, text, err := revoke(ctx, admin, r)
	if err != nil {
		return err
	}
	if t.json {
		return errors.Join(t.printJSON(json.RawMessage(bytes.TrimSpace(text))), got.Enforcement.verdict())
	}
	t.table(
		[]string{"revoked", strings.TrimSpace(got.Kind + " " + got.ID)},
		[]string{"revocation", got.RevocationID},
		[]string{"reason", got.Reason},
		[]string{"position", cmp.Or(got.Position, "the earlier revocation's")},
		[]string{"denied until", moment(got.ExpiresAt)},
	)
	if got.Enforcement != nil {
		got.Enforcement.print(t)
	}
	return got.Enforcement.verdict()
}

func (*revokeCommand) estimate(ctx context.Context, admin *api, t *terminal, r revocationRequest) error {
	a, err := admin.sendJSON(ctx, revocationsPath, r)
	if err != nil {
		return err
	}
	var got estimate
	if err := a.into(&got, http.StatusOK); err != nil {
		return err
	}
	if t.json {
		return t.printJSON(json.RawMessage(bytes.TrimSpace(a.body)))
	}
	count := func(n int) string {
		if !got.Complete {
			return "at least " + strconv.Itoa(n)
		}
		return strconv.Itoa(n)
	}
	t.table(
		[]string{"would deny", got.Denies},
		[]string{"sessions that end", count(got.Sessions)},
		[]string{"sessions that refresh", count(got.MustRefresh)},
		[]string{"denied until", moment(got.ExpiresAt)},
	)
	return nil
}
