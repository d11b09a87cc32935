package app_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/keyring"
)

// oneKey is what operators see of one.
type oneKey struct {
	Kid, Use, Alg, Phase string
	Current              bool
	NotBefore            time.Time  `json:"not_before"`
	Until                *time.Time `json:"accepted_until"`
}

func (i *issuer) keys(t *testing.T) map[string]oneKey {
	t.Helper()
	list := decode[struct{ Keys []oneKey }](t, i.operate(t, "GET", "/admin/v1/keys", "").want(t, 200))
	all := map[string]oneKey{}
	for _, k := range list.Keys {
		all[k.Kid] = k
	}
	return all
}

// current is the id of the key that is in use for something.
func current(t *testing.T, keys map[string]oneKey, use, alg string) string {
	t.Helper()
	for kid, k := range keys {
		if k.Current && k.Use == use && k.Alg == alg {
			return kid
		}
	}
	t.Fatalf("no %s key of %s is in use: %v", use, alg, keys)
	return ""
}

// kidOf reads a token's header.
func kidOf(t *testing.T, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	var in struct{ Kid string }
	if err := json.Unmarshal(text, &in); err != nil {
		t.Fatal(err)
	}
	return in.Kid
}

// published are the kids of the key set, and its tag.
func (i *issuer) published(t *testing.T) (map[string]bool, string) {
	t.Helper()
	got := must(t, request{method: "GET", url: i.public + "/.well-known/jwks.json"}).want(t, 200)
	set := decode[struct{ Keys []struct{ Kid string } }](t, got)
	kids := map[string]bool{}
	for _, k := range set.Keys {
		kids[k.Kid] = true
	}
	return kids, got.header.Get("ETag")
}

// Operators see the keys, rotate them and retire them; two issuers and the key set
// that they publish follow.
func TestOperatorsAndKeys(t *testing.T) {
	t.Parallel()
	a := start(t, configure(t, t.TempDir()))
	b := start(t, replica(t, a.Config))
	before := a.keys(t)
	es, rs, mac := current(t, before, "sign", "ES256"), current(t, before, "sign", "RS256"), current(t, before, "mac", "HS256")
	if len(before) != 3 || fmt.Sprint(before) != fmt.Sprint(b.keys(t)) {
		t.Errorf("keys: %v and %v", before, b.keys(t))
	}
	kids, tag := a.published(t)
	if len(kids) != 2 || !kids[es] || !kids[rs] {
		t.Errorf("published: %v", kids)
	}

	for name, c := range map[string]struct {
		method, path, body string
		status             int
	}{
		"another use":         {"POST", "/admin/v1/keys:rotate", `{"use":"both"}`, 400},
		"a MAC's algorithm":   {"POST", "/admin/v1/keys:rotate", `{"use":"mac","alg":"ES256"}`, 400},
		"an unknown alg":      {"POST", "/admin/v1/keys:rotate", `{"alg":"none"}`, 404},
		"a negative overlap":  {"POST", "/admin/v1/keys:rotate", `{"overlap":"-1s"}`, 400},
		"an endless overlap":  {"POST", "/admin/v1/keys:rotate", `{"overlap":"721h"}`, 400},
		"an overlap in words": {"POST", "/admin/v1/keys:rotate", `{"overlap":"soon"}`, 400},
		"a member too many":   {"POST", "/admin/v1/keys:rotate", `{"kid":"x"}`, 400},
		"no body":             {"POST", "/admin/v1/keys:rotate", "", 400},
		"an unknown key":      {"DELETE", "/admin/v1/keys/unknown", "", 404},
		"the only key":        {"DELETE", "/admin/v1/keys/" + es, "", 409},
		"a key to be read":    {"GET", "/admin/v1/keys/" + es, "", 405},
		"a MAC key":           {"DELETE", "/admin/v1/keys/" + mac, "", 404},
	} {
		isProblem(t, name, b.operate(t, c.method, c.path, c.body), c.status)
	}
	for _, r := range []request{
		{method: "GET", url: a.admin + "/admin/v1/keys"},
		{method: "POST", url: a.admin + "/admin/v1/keys:rotate", contentType: jsonType, body: "{}"},
		{method: "DELETE", url: a.admin + "/admin/v1/keys/" + es},
	} {
		isProblem(t, r.method+" "+r.url+" without a token", must(t, r), 401)
	}
	if after := a.keys(t); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("what was refused has changed the keys: %v", after)
	}

	made := decode[oneKey](t, a.operate(t, "POST", "/admin/v1/keys:rotate", "{}").want(t, 201))
	if wait := time.Until(made.NotBefore); made.Phase != "announced" || made.Alg != "ES256" || wait < 9*time.Minute || wait > 11*time.Minute {
		t.Errorf("made %+v, used in %s", made, wait)
	}
	eventually(t, func() error {
		kids, next := b.published(t)
		if !kids[made.Kid] || len(kids) != 3 || next == tag {
			return fmt.Errorf("published: %v, tag %s", kids, next)
		}
		return nil
	})
	if kid := kidOf(t, b.login(t).Access); kid != es {
		t.Errorf("%s signs before its time", kid)
	}
	back := decode[oneKey](t, b.operate(t, "DELETE", "/admin/v1/keys/"+made.Kid, "").want(t, 200))
	if back.Phase != "retired" || back.Until == nil {
		t.Errorf("called back: %+v", back)
	}
	if kid := current(t, a.keys(t), "sign", "ES256"); kid != es {
		t.Errorf("%s is in use", kid)
	}

	// The keys of refresh tokens follow each other at their own pace.
	mine := a.login(t)
	next := decode[oneKey](t, b.operate(t, "POST", "/admin/v1/keys:rotate", `{"use":"mac","overlap":"1s"}`).want(t, 201))
	if next.Use != "mac" || next.Kid == mac {
		t.Errorf("made %+v", next)
	}
	eventually(t, func() error {
		for _, i := range []*issuer{a, b} {
			if got := i.login(t).Refresh; !strings.HasPrefix(got, next.Kid+".") {
				return fmt.Errorf("a refresh token of %.11s", got)
			}
		}
		return nil
	})
	if got := b.refresh(t, mine.Refresh, mobile).want(t, 200); !strings.HasPrefix(decode[tokens](t, got).Refresh, next.Kid+".") {
		t.Errorf("refreshed: %s", got.body)
	}
}

// A stolen signing key: its tokens are refused, it leaves the key set, and logins go on
// with the same other key at every issuer.
func TestStolenKeyAtTheIssuers(t *testing.T) {
	t.Parallel()
	a := start(t, configure(t, t.TempDir()))
	b := start(t, replica(t, a.Config))
	old := a.login(t)
	stolen := kidOf(t, old.Access)
	b.operate(t, "POST", "/admin/v1/revocations", object("kind", "key", "id", stolen, "reason", "stolen")).want(t, 201)
	for _, i := range []*issuer{a, b} {
		refuses(t, "a token of the stolen key", i.call(t, "GET", "/v1/session", old.Access))
	}
	signing := map[string]bool{}
	for _, i := range []*issuer{a, b} {
		eventually(t, func() error {
			got := i.postJSON(t, "/v1/login", "username", alice, "password", alicePassword, "client_id", mobile)
			if got.status != 200 {
				return fmt.Errorf("login: %d %s", got.status, got.body)
			}
			kid := kidOf(t, decode[tokens](t, got).Access)
			if kids, _ := i.published(t); kid == stolen || kids[stolen] || !kids[kid] {
				return fmt.Errorf("signed with %s, published %v", kid, kids)
			}
			signing[kid] = true
			return nil
		})
	}
	if len(signing) != 1 {
		t.Errorf("keys in use: %v", signing)
	}
	if k := a.keys(t)[stolen]; k.Phase != "revoked" || k.Current {
		t.Errorf("the stolen key: %+v", k)
	}
	// The session outlives the key that its access token was signed with.
	next := decode[tokens](t, b.refresh(t, old.Refresh, mobile).want(t, 200))
	a.call(t, "GET", "/v1/session", next.Access).want(t, 200)
}

// A key's revocation that was announced while no issuer lived, and that nobody has
// recorded: whoever starts next has another key at hand by the time it calls itself
// ready, and does not wait for the finisher.
func TestKeyRevokedWhileNoIssuerLived(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	c := on(t, s, t.TempDir())
	first := start(t, c)
	old := first.login(t)
	stolen := kidOf(t, old.Access)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	feed, err := eventstore.NewFeed(s.Connect(t, topology.Operator), eventstest.Realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	n := events.Revocation{
		ID: events.RevocationID(uuid.NewString()), Kind: events.KindKey, Issuer: events.Issuer(c.Issuer), Target: stolen,
		Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator"}, Until: time.Now().Add(time.Hour),
	}
	e := events.Envelope{ID: events.EventID(uuid.Must(uuid.NewV7()).String()), At: time.Now(), Event: events.Revoked{Revocation: n}}
	if _, err := feed.Publish(t.Context(), eventstest.Realm.FeedEntry(n.Kind, n.Issuer, n.Target), e, time.Hour); err != nil {
		t.Fatal(err)
	}
	next := start(t, c)
	refuses(t, "a token of the stolen key", next.call(t, "GET", "/v1/session", old.Access))
	fresh := next.login(t)
	if kid := kidOf(t, fresh.Access); kid == stolen {
		t.Error("it signs with the stolen key")
	}
	next.call(t, "GET", "/v1/session", fresh.Access).want(t, 200)
	next.refresh(t, old.Refresh, mobile).want(t, 200)
}

// Whoever revokes more keys than may stand has stopped all logins, and readiness says
// so for as long as it is so.
func TestNotReadyWhileNoKeySigns(t *testing.T) {
	t.Parallel()
	i := start(t, configure(t, t.TempDir()))
	var last revoked
	stolen := map[string]bool{}
	for len(stolen) < keyring.MaxKeys {
		kid := ""
		eventually(t, func() error {
			got := i.postJSON(t, "/v1/login", "username", alice, "password", alicePassword, "client_id", mobile)
			if got.status != 200 {
				return fmt.Errorf("login: %d %s", got.status, got.body)
			}
			if kid = kidOf(t, decode[tokens](t, got).Access); stolen[kid] {
				return fmt.Errorf("%s signs, which is revoked", kid)
			}
			return nil
		})
		last = decode[revoked](t, i.operate(t, "POST", revocationsPath, object("kind", "key", "id", kid, "reason", "stolen")).want(t, 201))
		stolen[kid] = true
	}
	// Readiness may speak of a moment between two keys still; the end is when logins do.
	login := request{method: "POST", url: i.public + "/v1/login", contentType: jsonType, body: object("username", alice, "password", alicePassword, "client_id", mobile)}
	eventually(t, func() error {
		if got := must(t, login); got.status != 503 {
			return fmt.Errorf("login: %d", got.status)
		}
		return nil
	})
	i.waitFor(t, 503)
	if text := i.log.String(); !strings.Contains(text, `"not ready","error":"no key may sign"`) {
		t.Error("the log does not say why")
	}
	isProblem(t, "log in", must(t, login), 503)
	// What denies goes on.
	i.operate(t, "POST", revocationsPath, object("kind", "token", "id", "some-token", "reason", "stolen")).want(t, 201)
	// A lift gives the last key back.
	i.operate(t, "DELETE", revocationsPath+"/"+last.ID, "").want(t, 204)
	i.waitFor(t, 200)
	i.login(t)
}
