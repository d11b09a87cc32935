package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

type liftCommand struct {
	ID   string        `arg:"" help:"The revocation's id."`
	Wait time.Duration `placeholder:"DURATION" help:"Wait so long at most, up to 20s, until every sidecar has taken it in. Exit status 1 if some did not say so."`
}

// Validate is called by kong.
func (c *liftCommand) Validate() error {
	if c.Wait < 0 || c.Wait > maxWait {
		return errors.New("--wait is up to 20s")
	}
	return nil
}

func (*liftCommand) Help() string {
	return `What the revocation denied passes again, unless another one denies it too. A session that has ended stays ended.

Example:

  revocast lift 01890a5d-ac96-774b-bcce-b302099a8057
`
}

func (c *liftCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	path := revocationsPath + "/" + url.PathEscape(c.ID)
	var got struct {
		Lifted      string       `json:"lifted"`
		Enforcement *enforcement `json:"enforcement,omitempty"`
	}
	var into any
	wanted := http.StatusNoContent
	if c.Wait > 0 {
		path, into, wanted = path+"?wait="+c.Wait.String(), &got, http.StatusOK
	}
	a, err := admin.call(ctx, http.MethodDelete, path)
	if err == nil {
		err = a.into(into, wanted)
	}
	if err != nil {
		return fmt.Errorf("lifting %s: %w", c.ID, err)
	}
	got.Lifted = c.ID
	if t.json {
		return errors.Join(t.printJSON(got), got.Enforcement.verdict())
	}
	t.table([]string{"lifted", c.ID})
	if got.Enforcement != nil {
		got.Enforcement.print(t)
	}
	return got.Enforcement.verdict()
}

type revocationsCommand struct {
	Kind  string `placeholder:"KIND" help:"Only of this kind: token, session, subject, client, key or all."`
	ID    string `placeholder:"ID" help:"Only of this jti, sid, sub, client_id or kid."`
	Limit uint   `default:"1000" help:"At most so many (${default})."`
}

func (*revocationsCommand) Help() string {
	return `Lists what is being denied now, oldest first.

Examples:

  revocast revocations
  revocast revocations --kind subject --id "$SUB" -o json
`
}

// standing is an entry of the list.
type standing struct {
	revocation

	Scope       string    `json:"scope"`
	By          string    `json:"by"`
	Operator    string    `json:"operator"`
	AnnouncedAt time.Time `json:"announced_at"`
	Lifted      bool      `json:"lifted"`
}

func (c *revocationsCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	all, err := c.list(ctx, admin)
	if err != nil {
		return fmt.Errorf("listing revocations: %w", err)
	}
	if t.json {
		return t.printJSON(map[string][]json.RawMessage{"revocations": all})
	}
	rows := [][]string{{"REVOCATION", "KIND", "ID", "REASON", "BY", "ANNOUNCED", "UNTIL", ""}}
	for _, text := range all {
		var n standing
		if err := json.Unmarshal(text, &n); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		mark := ""
		if n.Lifted {
			mark = "lifted"
		}
		rows = append(rows, []string{
			n.RevocationID, n.Kind, cmp.Or(n.ID, "-"), n.Reason, cmp.Or(n.Operator, n.By), moment(n.AnnouncedAt), moment(n.ExpiresAt), mark,
		})
	}
	t.table(rows...)
	return nil
}

// list goes through the pages.
func (c *revocationsCommand) list(ctx context.Context, admin *api) ([]json.RawMessage, error) {
	query := url.Values{}
	for name, value := range map[string]string{"kind": c.Kind, "id": c.ID} {
		if value != "" {
			query.Set(name, value)
		}
	}
	all := []json.RawMessage{}
	for {
		query.Set("limit", fmt.Sprint(min(max(c.Limit-uint(len(all)), 1), 1000)))
		a, err := admin.call(ctx, http.MethodGet, revocationsPath+"?"+query.Encode())
		if err != nil {
			return nil, err
		}
		var page struct {
			Revocations []json.RawMessage `json:"revocations"`
			Next        string            `json:"next"`
		}
		if err := a.into(&page, http.StatusOK); err != nil {
			return nil, err
		}
		all = append(all, page.Revocations...)
		if page.Next == "" || uint(len(all)) >= c.Limit {
			return all, nil
		}
		query.Set("after", page.Next)
	}
}

// maxAnswerLine bounds one line of a batch's answer in bytes.
const maxAnswerLine = 64 << 10

// runBatch sends the lines as they are and shows what became of each.
func (c *revokeCommand) runBatch(ctx context.Context, admin *api, t *terminal) error {
	body := t.in
	if c.Batch != stdin {
		f, err := os.Open(c.Batch)
		if err != nil {
			return fmt.Errorf("reading the batch: %w", err)
		}
		defer func() { _ = f.Close() }() // opened for reading only
		body = f
	}
	key := cmp.Or(c.Key, rand.Text())
	resp, err := admin.streamLines(ctx, revocationsPath+":batch", key, body)
	if err != nil {
		return fmt.Errorf("revoking a batch: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	lines, failed := 0, 0
	answers := bufio.NewScanner(resp.Body)
	answers.Buffer(nil, maxAnswerLine)
	for answers.Scan() {
		var one struct {
			revocation

			Line   int    `json:"line"`
			Status int    `json:"status"`
			Detail string `json:"detail"`
		}
		if err := json.Unmarshal(answers.Bytes(), &one); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		lines++
		if one.Status != http.StatusCreated {
			failed++
		}
		switch {
		case t.json:
			if err := t.printLine(json.RawMessage(bytes.Clone(answers.Bytes()))); err != nil {
				return err
			}
		case one.Status != http.StatusCreated:
			t.printf("line %d: %d %s\n", one.Line, one.Status, printable(one.Detail))
		}
	}
	if err := answers.Err(); err != nil {
		return fmt.Errorf("reading the answer after %d lines; send it again with --key %s: %w", lines, key, err)
	}
	if !t.json {
		t.printf("%d revoked, %d not\n", lines-failed, failed)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d lines were not carried out; what was, is not done twice with --key %s", failed, lines, key)
	}
	return nil
}

// streamLines sends NDJSON for as long as it takes, and gives an answer that is to be
// read while it does.
func (a *api) streamLines(ctx context.Context, path, key string, body io.Reader) (*http.Response, error) {
	if strings.ContainsAny(key, "\"\\\r\n") {
		return nil, usage(errors.New("--key has no quotes, backslashes or ends of lines"))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", a.base, err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Idempotency-Key", `"`+key+`"`)
	if a.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+a.bearer)
	}
	patient := *a.client
	patient.Timeout = 0
	resp, err := patient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", a.base, err)
	}
	return nil, answer{resp.StatusCode, resp.Header, text}.refusal()
}
