package adminapi

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/problem"
)

// How many revocations a page has: unless asked otherwise, and at most.
const (
	usualPage = 100
	maxPage   = 1000
)

// standingRevocation is one entry of the list.
type standingRevocation struct {
	ID        string    `json:"revocation_id"`
	Kind      string    `json:"kind"`
	Target    string    `json:"id"`
	Issuer    string    `json:"issuer"`
	Scope     string    `json:"scope,omitempty"`
	Except    string    `json:"except_session,omitempty"`
	Reason    string    `json:"reason"`
	By        string    `json:"by"`
	Operator  string    `json:"operator,omitempty"`
	Cut       string    `json:"cut,omitempty"`
	CutTime   time.Time `json:"cut_time,omitzero"`
	Position  string    `json:"position"`
	At        time.Time `json:"announced_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Lifted    bool      `json:"lifted,omitempty"`
}

// list is GET /admin/v1/revocations?kind=&id=&after=&limit=: what stands on the feed
// and has not expired, oldest first. "next" is the "after" of the next page, and is
// missing on the last one. What was announced again stands there twice.
func (a API) list(w http.ResponseWriter, r *http.Request, _ events.Initiator) error {
	q, err := queryOf(r.URL.Query())
	if err != nil {
		return err
	}
	page, err := a.Revocations.Revocations(r.Context(), q)
	if err != nil {
		return err
	}
	answer := struct {
		Revocations []standingRevocation `json:"revocations"`
		Next        string               `json:"next,omitempty"`
	}{Revocations: []standingRevocation{}}
	for _, n := range page.Revocations {
		answer.Revocations = append(answer.Revocations, shown(n))
	}
	if page.Next > 0 {
		answer.Next = strconv.FormatUint(page.Next, 10)
	}
	write(w, http.StatusOK, answer)
	return nil
}

func shown(n issue.Standing) standingRevocation {
	s := standingRevocation{
		ID: string(n.ID), Kind: n.Kind.String(), Target: n.Target, Issuer: string(n.Issuer), Except: string(n.Except),
		Reason: string(n.Reason), By: n.By.Role, Operator: n.By.Name, Position: events.Position{Sequence: n.Sequence}.String(),
		At: n.At.UTC(), ExpiresAt: n.Until.UTC(), Lifted: n.Lifted,
	}
	if n.Kind.Wide() && n.Kind != events.KindKey {
		s.Scope = n.Scope.String()
	}
	if !n.Cut.IsZero() {
		s.Cut = n.Cut.String()
	} else if !n.CutTime.IsZero() {
		s.CutTime = n.CutTime.UTC()
	}
	return s
}

func queryOf(query url.Values) (issue.Query, error) {
	q := issue.Query{Limit: usualPage}
	for name, values := range query {
		if !slices.Contains([]string{"kind", "id", "after", "limit"}, name) || len(values) != 1 {
			return q, problem.New(http.StatusBadRequest, "kind, id, after and limit are what can be asked for, each once.")
		}
	}
	var err error
	if kind := query.Get("kind"); kind != "" {
		if q.Kind, err = events.ParseKind(kind); err != nil {
			return q, problem.New(http.StatusBadRequest, "kind is one of token, session, subject, client, key, all.")
		}
	}
	if q.Target = query.Get("id"); !plain(q.Target, 0, maxID) {
		return q, problem.New(http.StatusBadRequest, "id has at most 512 bytes and no control characters.")
	}
	if after := query.Get("after"); after != "" {
		if q.After, err = strconv.ParseUint(after, 10, 64); err != nil || q.After > events.MaxSequence {
			return q, problem.New(http.StatusBadRequest, "after is the next of an earlier page.")
		}
	}
	if limit := query.Get("limit"); limit != "" {
		if q.Limit, err = strconv.Atoi(limit); err != nil || q.Limit < 1 || q.Limit > maxPage {
			return q, problem.New(http.StatusBadRequest, "limit is a number from 1 to 1000.")
		}
	}
	return q, nil
}
