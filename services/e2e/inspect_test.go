package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/stack"
)

func bytesContain(b []byte, text string) bool { return bytes.Contains(b, []byte(text)) }

func without(list []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == one })
}

func metricsAddress(s *stack.Server) string { return "127.0.0.1:" + strconv.Itoa(s.Ports.Metrics) }

// reuses counts the reuse alarms of all issuers.
func reuses(t *testing.T, issuers []*stack.Server) int {
	t.Helper()
	total := 0
	for _, issuer := range issuers {
		page := do(t, http.MethodGet, "http://"+metricsAddress(issuer)+"/metrics", "", "", "").body
		_, rest, ok := bytes.Cut(page, []byte(`revocast_issuer_refreshes_total{outcome="reused"} `))
		if !ok {
			t.Fatal("no count of reuses in the metrics")
		}
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		n, err := strconv.Atoi(string(line))
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	return total
}

// connect joins the stack's broker in a role.
func connect(t *testing.T, s *stack.Stack, role topology.Role) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(s.BrokerURL(), nats.UserCredentials(s.Dir().Credentials(role.String())),
		nats.CustomInboxPrefix(role.InboxPrefix()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// audited reports whether AUDIT holds a revocation of a session.
func audited(t *testing.T, s *stack.Stack) bool {
	t.Helper()
	conn := connect(t, s, topology.Operator)
	defer conn.Close()
	request := `{"multi_last":["revocast.` + stack.Realm + `.audit.feed.session.*"]}`
	m, err := conn.RequestWithContext(t.Context(), "$JS.API.DIRECT.GET.REVOCAST_DEFAULT_AUDIT", []byte(request))
	return err == nil && m.Header.Get("Status") == "" && len(m.Data) > 0
}

// onDisk reports whether a sidecar has written all that it enforces.
func onDisk(t *testing.T, sidecar *stack.Server) bool {
	t.Helper()
	a := do(t, http.MethodGet, sidecar.AdminURL()+"/v1/status", "", "", "")
	var status struct {
		Store struct {
			Queued int `json:"queued"`
		} `json:"store"`
		Entries map[string]int `json:"entries"`
	}
	if err := json.Unmarshal(a.body, &status); err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	return status.Entries["narrow"] > 0 && status.Store.Queued == 0
}
