package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

type doctorCommand struct {
	tokenInput
}

func (*doctorCommand) Help() string {
	return `For whoever lets tokens of another provider in, or wonders why none pass: give a real token, and the sidecar says which of its trust rules takes it, or which comes nearest, what each check says, which kinds of revocation can reach the token, and what to do about the rest. Whether it is revoked does not matter here; that is for explain.

A token whose signature does not verify is told nothing but which checks hold. The token is never printed, nor any part of its signature.

The sidecar is asked at its admin listener (port 9472), which answers on its own machine only, unless it was told otherwise. To try a rule before it is in force, start a second sidecar with it on other ports.

Of the columns, TOKEN SAYS is filled for a verified token only. REVOCATION OF lists the six kinds, each with the claim that an entry has to name. A revocation of a subject, a client or all ends what is older than it; "age told by" is what that goes by, for revocations of sessions and of access tokens. How long one holds that names no end is for the issuers to say: of another provider's sessions for --foreign-max-session, of its access tokens for --foreign-max-lifetime.

Exit status 0 if a rule takes the token, 1 if none does.

Examples:

  revocast doctor < token
  revocast doctor --token-file alice.json -o json
  revocast doctor --sidecar-url http://127.0.0.1:9482 < token
`
}

// diagnosis is the answer, as far as it is printed as a table.
type diagnosis struct {
	Taken   bool   `json:"taken"`
	Summary string `json:"summary"`
	Rule    *struct {
		Text string `json:"text"`
	} `json:"rule"`
	Nearest  bool `json:"nearest"`
	Verified bool `json:"verified"`
	Checks   []struct {
		Check  string `json:"check"`
		Passes bool   `json:"passes"`
		Fault  string `json:"fault"`
		Says   string `json:"says"`
		Wants  string `json:"wants"`
		Advice string `json:"advice"`
	} `json:"checks"`
	Reach []struct {
		Kind    string `json:"kind"`
		Reaches bool   `json:"reaches"`
		Claim   string `json:"claim"`
		ID      string `json:"id"`
		Advice  string `json:"advice"`
	} `json:"reach"`
	Cuts *struct {
		Sessions     string `json:"sessions"`
		AccessTokens string `json:"access_tokens"`
	} `json:"cuts"`
	Advice []string `json:"advice"`
}

func (c *doctorCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	l, err := t.readLogin(c.TokenFile)
	if err != nil {
		return err
	}
	sidecar, err := newAPI(cmp.Or(g.SidecarURL, defaultSidecarAdminURL), l.AccessToken, g.AllowPlainHTTP)
	if err != nil {
		return err
	}
	a, err := sidecar.call(ctx, http.MethodGet, "/v1/doctor")
	if err != nil {
		return fmt.Errorf("asking for a diagnosis: %w", err)
	}
	var x diagnosis
	if err := a.into(&x, http.StatusOK); err != nil {
		return fmt.Errorf("asking for a diagnosis: this is no sidecar's admin listener: %w", err)
	}
	if t.json {
		err = t.printJSON(json.RawMessage(bytes.TrimSpace(a.body)))
	} else {
		x.print(t)
	}
	if !x.Taken {
		err = errors.Join(err, errors.New("no rule takes the token"))
	}
	return err
}

func (x *diagnosis) print(t *terminal) {
	rows := [][]string{{"verdict", "taken"}, {"because", x.Summary}}
	if !x.Taken {
		rows[0][1] = "refused"
	}
	if x.Rule != nil {
		name := "rule"
		if x.Nearest {
			name = "nearest rule"
		}
		rows = append(rows, []string{name, x.Rule.Text})
	}
	if x.Cuts != nil {
		rows = append(rows, []string{"age told by", x.Cuts.Sessions + ", " + x.Cuts.AccessTokens})
	}
	t.table(rows...)

	t.printf("\n")
	todo := [][]string{}
	rows = [][]string{{"CHECK", "RESULT", "TOKEN SAYS", "RULE WANTS"}}
	for _, c := range x.Checks {
		result := "ok"
		if !c.Passes {
			result = c.Fault
			todo = append(todo, []string{c.Check, c.Advice})
		}
		rows = append(rows, []string{c.Check, result, cmp.Or(c.Says, "-"), cmp.Or(c.Wants, "-")})
	}
	t.table(rows...)

	if len(x.Reach) > 0 {
		t.printf("\n")
		rows = [][]string{{"REVOCATION OF", "REACHES IT", "BY CLAIM", "WHICH SAYS"}}
		for _, r := range x.Reach {
			reaches := "yes"
			if !r.Reaches {
				reaches = "no"
				todo = append(todo, []string{r.Kind, r.Advice})
			}
			rows = append(rows, []string{r.Kind, reaches, r.Claim, cmp.Or(r.ID, "-")})
		}
		t.table(rows...)
	}
	for _, advice := range x.Advice {
		todo = append(todo, []string{"note", advice})
	}
	if len(todo) > 0 {
		t.printf("\nWhat to do:\n")
		t.table(todo...)
	}
}
