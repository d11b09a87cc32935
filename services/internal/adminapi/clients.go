package adminapi

import (
	"context"
	"net/http"

	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/clients"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/problem"
)

// Clients are those that this issuer is configured with.
type Clients interface {
	All() []clients.Client
	Find(id events.ClientID) (clients.Client, bool)
}

// ClientStatuses is what operators do with clients.
type ClientStatuses interface {
	SetClientStatus(ctx context.Context, id events.ClientID, status issue.Status) (events.Client, error)
	// ClientChanges gives the clients whose status was ever changed.
	ClientChanges(ctx context.Context) (map[events.ClientID]events.Client, error)
}

type clientAnswer struct {
	ID     string `json:"client_id"`
	Type   string `json:"type"`
	Status string `json:"status"`
	// Reason and By say why the status was changed and who did it, if it ever was.
	Reason string `json:"reason,omitempty"`
	By     string `json:"by,omitempty"`
}

func describeClient(c clients.Client, change events.Client) clientAnswer {
	kind := "confidential"
	if c.Public {
		kind = "public"
	}
	return clientAnswer{string(c.ID), kind, statusOf(change.Disabled), string(change.Reason), change.By.Name}
}

// listClients is GET /admin/v1/clients.
func (a API) listClients(w http.ResponseWriter, r *http.Request, _ events.Initiator) error {
	changes, err := a.ClientStatuses.ClientChanges(r.Context())
	if err != nil {
		return err
	}
	list := []clientAnswer{}
	for _, c := range a.Clients.All() {
		list = append(list, describeClient(c, changes[c.ID]))
	}
	write(w, http.StatusOK, map[string][]clientAnswer{"clients": list})
	return nil
}

// setClientStatus is PUT /admin/v1/clients/{id}/status: 200 with the client. Disabling
// ends every session that belongs to it, for good.
func (a API) setClientStatus(w http.ResponseWriter, r *http.Request, by events.Initiator) error {
	status, err := readStatus(w, r, by)
	if err != nil {
		return err
	}
	client, ok := a.Clients.Find(events.ClientID(r.PathValue("id")))
	if !ok {
		return problem.New(http.StatusNotFound, "There is no such client.")
	}
	change, err := a.ClientStatuses.SetClientStatus(r.Context(), client.ID, status)
	if err != nil {
		return err
	}
	a.Log.Info("client is "+statusOf(change.Disabled), zap.String("client", string(client.ID)), zap.String("operator", by.Name))
	write(w, http.StatusOK, describeClient(client, change))
	return nil
}
