package app_test

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
)

const fleetPath = "/admin/v1/fleet"

type enforced struct {
	ID          string `json:"revocation_id"`
	Position    string `json:"position"`
	Enforcement *struct {
		Live       int      `json:"live"`
		Confirmed  int      `json:"confirmed"`
		Missing    []string `json:"missing"`
		Incomplete string   `json:"incomplete"`
		Sidecars   []struct {
			ID        string    `json:"id"`
			Instance  string    `json:"instance"`
			Confirmed bool      `json:"confirmed"`
			Took      *float64  `json:"ms"`
			LastSeen  time.Time `json:"last_seen"`
		} `json:"sidecars"`
	} `json:"enforcement"`
}

// What a wait is answered with where nobody is there, somebody is, and somebody lags;
// and that the revocation is made whatever the answer.
func TestWaitingForTheFleet(t *testing.T) {
	i := start(t, configure(t, t.TempDir()))
	for name, body := range map[string]string{
		"no duration": `{"kind":"token","id":"j","wait":"soon"}`, "nothing": `{"kind":"token","id":"j","wait":"0s"}`,
		"backwards": `{"kind":"token","id":"j","wait":"-1s"}`, "for ever": `{"kind":"token","id":"j","wait":"21s"}`,
	} {
		if got := i.operate(t, "POST", revocationsPath, body); got.status != 400 {
			t.Errorf("waiting %s: %d %s", name, got.status, got.body)
		}
	}
	if list := i.listRevocations(t, ""); len(list.Revocations) != 0 {
		t.Errorf("refused, but made: %+v", list)
	}
	i.operate(t, "DELETE", revocationsPath+"/"+uuid.NewString()+"?wait=21s", "").want(t, 400)
	revoke := func(wait string) enforced {
		t.Helper()
		return decode[enforced](t, i.operate(t, "POST", revocationsPath, object("kind", "token", "id", uuid.NewString(), "wait", wait)).want(t, 201))
	}
	if got := revoke("5s"); got.Position == "" || got.Enforcement == nil || got.Enforcement.Live != 0 || got.Enforcement.Incomplete == "" {
		t.Errorf("nobody is there: %+v", got)
	}
	if got := decode[enforced](t, i.operate(t, "POST", revocationsPath, `{"kind":"token","id":"plain"}`).want(t, 201)); got.Enforcement != nil {
		t.Errorf("nobody waited: %+v", got)
	}
	if got := i.batch(t, "", `{"kind":"token","id":"j","wait":"1s"}`); got[0].Status != 400 {
		t.Errorf("a line of a batch that waits: %+v", got)
	}

	// A sidecar that says to have everything, and then falls behind.
	conn, err := nats.Connect("nats://"+i.NATSListen, nats.UserCredentials(filepath.Join(i.CredsDir, "sidecar.creds")), nats.CustomInboxPrefix(topology.Sidecar.InboxPrefix()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	report := events.Report{Sidecar: "api-1", Instance: uuid.NewString(), Version: "v1", State: events.StateFollowing, Entries: 3}
	beats, err := conn.SubscribeSync(subject.Realm(i.Realm).LiveHeartbeat())
	if err != nil {
		t.Fatal(err)
	}
	beat, err := beats.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	e, err := codec.Decode(beat.Data)
	if err != nil {
		t.Fatal(err)
	}
	report.Epoch, report.Sequence = e.Event.(events.Heartbeat).Epoch, events.MaxSequence
	var mu sync.Mutex
	publish := func() {
		mu.Lock()
		defer mu.Unlock()
		body, err := codec.EncodeReport(report)
		if err == nil {
			err = conn.Publish(subject.Realm(i.Realm).Report(report.Sidecar), body)
		}
		if err == nil {
			err = conn.Flush()
		}
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := conn.Subscribe(subject.Realm(i.Realm).FleetAsk(), func(*nats.Msg) { publish() }); err != nil {
		t.Fatal(err)
	}
	publish()
	got := revoke("5s").Enforcement
	if got == nil || got.Live != 1 || got.Confirmed != 1 || len(got.Missing) != 0 || got.Incomplete != "" || got.Sidecars[0].Took == nil ||
		got.Sidecars[0].Instance != report.Instance {
		t.Errorf("one is there: %+v", got)
	}
	fleet := decode[map[string]any](t, i.operate(t, "GET", fleetPath, "").want(t, 200))
	one := fleet["sidecars"].([]any)[0].(map[string]any)
	if one["id"] != "api-1" || one["instance"] != report.Instance || one["version"] != "v1" || one["state"] != "following" || one["entries"] != 3.0 ||
		one["lag"] != 0.0 || one["fresh_as_of"] != nil || one["last_seen"] == "" || fleet["position"] == "" {
		t.Errorf("the fleet: %v", fleet)
	}
	standing := decode[enforced](t, i.operate(t, "POST", revocationsPath, object("kind", "token", "id", "plain", "wait", "5s")).want(t, 201))
	if standing.Position != "" || standing.Enforcement.Confirmed != 1 {
		t.Errorf("what stood already: %+v", standing)
	}
	lifted := decode[enforced](t, i.operate(t, "DELETE", revocationsPath+"/"+standing.ID+"?wait=5s", "").want(t, 200))
	if lifted.ID != standing.ID || lifted.Enforcement.Confirmed != 1 {
		t.Errorf("lifted: %+v", lifted)
	}

	mu.Lock()
	report.Sequence = 1
	mu.Unlock()
	publish()
	if got := revoke("200ms").Enforcement; got.Live != 1 || got.Confirmed != 0 || len(got.Missing) != 1 || got.Missing[0] != "api-1" || got.Sidecars[0].Took != nil {
		t.Errorf("it lags: %+v", got)
	}
}
