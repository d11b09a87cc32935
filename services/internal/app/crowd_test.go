package app_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/services/internal/signing"
)

// crowd gives a user as many sessions more, straight in the journal.
func (p pair) crowd(t *testing.T, sub events.Subject, more int) {
	t.Helper()
	keys, err := signing.Open(signing.Config{Dir: p.a.KeysDir, Issuer: events.Issuer(p.a.Issuer), Audiences: []string{audience}})
	if err != nil {
		t.Fatal(err)
	}
	key := keys.Keyer().Key(events.KindSubject, events.Issuer(p.a.Issuer), string(sub))
	now := time.Now()
	for range more {
		n := events.Session{
			ID: events.SessionID(uuid.Must(uuid.NewV7()).String()), Issuer: events.Issuer(p.a.Issuer), Subject: sub, Client: mobile,
			Audience: []string{audience}, Salt: make([]byte, 32), KeyID: keys.RefreshKey().ID(), AuthTime: now, MintedAt: now,
			AccessExpires: now.Add(time.Minute), Deadline: now.Add(time.Hour), CredentialVersion: 1,
		}
		id := events.EventID(uuid.Must(uuid.NewV7()).String())
		body, err := codec.Encode(events.Envelope{ID: id, At: now, Event: events.SessionStarted{Session: n}})
		if err != nil {
			t.Fatal(err)
		}
		m := nats.NewMsg(realm.Session(key, n.ID))
		m.Data = body
		m.Header.Set("Nats-TTL", "10m")
		if _, err := p.js.PublishMsgAsync(m); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-p.js.PublishAsyncComplete():
	case <-time.After(patience):
		t.Fatal("the journal did not take the crowd")
	}
}

// A user with more sessions than one answer holds is told so, and can end them.
func (p pair) crowdsAreEnded(t *testing.T) {
	made := p.a.operate(t, "POST", "/admin/v1/users", object("username", "crowd", "password", "long-enough")).want(t, 201)
	sub := decode[struct{ Sub string }](t, made).Sub
	mine := p.b.login(t, "username", "crowd", "password", "long-enough")
	type list struct{ Sessions []struct{ SID string } }
	p.crowd(t, events.Subject(sub), 1000)
	if got := decode[list](t, p.b.call(t, "GET", "/v1/sessions", mine.Access).want(t, 200)); len(got.Sessions) != 1001 {
		t.Errorf("%d sessions", len(got.Sessions))
	}
	p.crowd(t, events.Subject(sub), 100)
	isProblem(t, "too many", p.b.call(t, "GET", "/v1/sessions", mine.Access), 422)
	isProblem(t, "too many for operators", p.b.operate(t, "GET", "/admin/v1/subjects/"+sub+"/sessions", ""), 422)
	p.b.call(t, "DELETE", "/v1/sessions?which=others", mine.Access).want(t, 204)
	p.a.call(t, "GET", "/v1/session", mine.Access).want(t, 200)
	p.a.refresh(t, mine.Refresh, mobile).want(t, 200)
}

// Changes that meet are told apart: one is done, and nobody is told to wait for what
// will not come.
func (p pair) passwordChangesMeet(t *testing.T) {
	p.a.operate(t, "POST", "/admin/v1/users", object("username", "hurry", "password", "long-enough")).want(t, 201)
	mine := p.b.login(t, "username", "hurry", "password", "long-enough")
	var asked sync.WaitGroup
	statuses := make([]int, 6)
	for n := range statuses {
		asked.Go(func() {
			got, err := send(request{
				method: "PUT", url: []string{p.a.public, p.b.public}[n%2] + "/v1/password", bearer: mine.Access, contentType: jsonType,
				body: object("current_password", "long-enough", "new_password", fmt.Sprintf("long-enough-%d", n)),
			})
			if err != nil {
				t.Error(err)
			}
			statuses[n] = got.status
		})
	}
	asked.Wait()
	done := 0
	for _, status := range statuses {
		switch status {
		case 204:
			done++
		case 403, 409:
		default:
			t.Errorf("answered %v", statuses)
		}
	}
	if done != 1 {
		t.Errorf("%d of them were done: %v", done, statuses)
	}
	p.a.refresh(t, mine.Refresh, mobile).want(t, 200)
}

// A client that may not refresh gets nothing to refresh with.
func (p pair) muteClientsGetNoRefreshToken(t *testing.T) {
	mine := p.a.login(t, "client_id", "mute")
	if mine.Refresh != "" || mine.Access == "" {
		t.Errorf("got %+v", mine)
	}
	p.b.call(t, "GET", "/v1/session", mine.Access).want(t, 200)
}
