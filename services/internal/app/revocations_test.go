package app_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	revocationsPath = "/admin/v1/revocations"
	batchPath       = "/admin/v1/revocations:batch"
	ndjsonType      = "application/x-ndjson"
)

// revoked is what a revocation, a line of a batch or an entry of the list says.
type revoked struct {
	ID        string    `json:"revocation_id"`
	Kind      string    `json:"kind"`
	Target    string    `json:"id"`
	Issuer    string    `json:"issuer"`
	Scope     string    `json:"scope"`
	Reason    string    `json:"reason"`
	By        string    `json:"by"`
	Operator  string    `json:"operator"`
	CutTime   time.Time `json:"cut_time"`
	Position  string    `json:"position"`
	ExpiresAt time.Time `json:"expires_at"`
	Lifted    bool      `json:"lifted"`
	Line      int       `json:"line"`
	Status    int       `json:"status"`
	Detail    string    `json:"detail"`
}

type revokedPage struct {
	Revocations []revoked `json:"revocations"`
	Next        string    `json:"next"`
}

func (i *issuer) listRevocations(t *testing.T, query string) revokedPage {
	t.Helper()
	return decode[revokedPage](t, i.operate(t, "GET", revocationsPath+"?"+query, "").want(t, 200))
}

// R21, R22: an operator sees what stands, tries a revocation out, makes it and takes
// it back.
func TestRevocationsThereAndBack(t *testing.T) {
	i := start(t, configure(t, t.TempDir()))
	who := i.login(t)
	sub := pair{a: i, b: i}.subject(t, who)

	tried := decode[map[string]any](t, i.operate(t, "POST", revocationsPath, `{"kind":"subject","id":"`+sub+`","dry_run":true}`).want(t, 200))
	if tried["dry_run"] != true || tried["sessions"] != 1.0 || tried["complete"] != true || tried["denies"] == "" {
		t.Errorf("tried: %v", tried)
	}
	i.call(t, "GET", "/v1/session", who.Access).want(t, 200)
	if list := i.listRevocations(t, ""); len(list.Revocations) != 0 || list.Next != "" {
		t.Errorf("a dry run is listed: %+v", list)
	}

	done := decode[revoked](t, i.operate(t, "POST", revocationsPath, `{"kind":"subject","id":"`+sub+`","reason":"test"}`).want(t, 201))
	i.call(t, "GET", "/v1/session", who.Access).want(t, 401)
	list := i.listRevocations(t, "kind=subject&id="+url.QueryEscape(sub))
	if len(list.Revocations) != 1 || list.Revocations[0].ID != done.ID || list.Revocations[0].Operator != "admin" ||
		list.Revocations[0].Scope != "sessions" || list.Revocations[0].Position != done.Position || list.Revocations[0].Lifted {
		t.Errorf("listed: %+v", list)
	}

	i.operate(t, "DELETE", revocationsPath+"/"+done.ID, "").want(t, 204)
	i.operate(t, "DELETE", revocationsPath+"/"+done.ID, "").want(t, 204)
	i.call(t, "GET", "/v1/session", who.Access).want(t, 200)
	i.refresh(t, who.Refresh, mobile).want(t, 200)
	if list := i.listRevocations(t, ""); len(list.Revocations) != 1 || !list.Revocations[0].Lifted {
		t.Errorf("listed: %+v", list)
	}

	ended := decode[revoked](t, i.operate(t, "POST", revocationsPath, `{"kind":"session","id":"`+who.Session+`"}`).want(t, 201))
	i.operate(t, "DELETE", revocationsPath+"/"+ended.ID, "").want(t, 409)
	i.operate(t, "DELETE", revocationsPath+"/"+who.Session, "").want(t, 404)
	i.operate(t, "DELETE", revocationsPath+"/nonsense", "").want(t, 400)

	for n := range 5 {
		i.operate(t, "POST", revocationsPath, fmt.Sprintf(`{"kind":"token","id":"j%d","expires_at":%q}`, n, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))).want(t, 201)
	}
	seen, after := 0, ""
	for {
		page := i.listRevocations(t, "kind=token&limit=2"+after)
		seen += len(page.Revocations)
		if page.Next == "" {
			break
		}
		after = "&after=" + page.Next
	}
	if seen != 5 {
		t.Errorf("%d tokens on the pages", seen)
	}
}

func TestRevocationsRefused(t *testing.T) {
	i := start(t, configure(t, t.TempDir()))
	soon := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
	for name, c := range map[string]struct {
		method, path, body string
		status             int
	}{
		"an expiry too early":      {"POST", revocationsPath, `{"kind":"client","id":"c","expires_at":"` + soon + `"}`, 400},
		"an expiry too late":       {"POST", revocationsPath, `{"kind":"client","id":"c","expires_at":"2999-01-01T00:00:00Z"}`, 400},
		"an expiry that is none":   {"POST", revocationsPath, `{"kind":"client","id":"c","expires_at":"tomorrow"}`, 400},
		"an expiry of a foreigner": {"POST", revocationsPath, `{"kind":"client","id":"c","issuer":"https://x.example","expires_at":"` + soon + `"}`, 201},
		"an id of ours":            {"POST", revocationsPath, `{"kind":"client","id":"c","revocation_id":"01935f6a-0c00-7000-8000-000000000001"}`, 400},
		"an id that is none":       {"POST", revocationsPath, `{"kind":"client","id":"c","revocation_id":"x"}`, 400},
		"a scope of a key":         {"POST", revocationsPath, `{"kind":"key","id":"k","scope":"access-tokens"}`, 400},
		"a page of nothing":        {"GET", revocationsPath + "?limit=0", "", 400},
		"a page of too much":       {"GET", revocationsPath + "?limit=1001", "", 400},
		"a page of no number":      {"GET", revocationsPath + "?after=-1", "", 400},
		"a page of no kind":        {"GET", revocationsPath + "?kind=planet", "", 400},
		"a page asked twice":       {"GET", revocationsPath + "?kind=key&kind=all", "", 400},
		"a page of what":           {"GET", revocationsPath + "?page=2", "", 400},
	} {
		if got := i.operate(t, c.method, c.path, c.body); got.status != c.status {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}

// R22: whose part it is to look, to help a user, and to do everything.
func TestWhoMayRevokeWhat(t *testing.T) {
	i := start(t, configure(t, t.TempDir()))
	bearers := map[string]string{}
	for _, role := range []string{"viewer", "support", "operator"} {
		added := i.operate(t, "POST", operatorsPath, object("name", "one-"+role, "role", role, "expires_in", "1h")).want(t, 201)
		bearers[role] = decode[map[string]any](t, added)["token"].(string)
	}
	who := i.login(t)
	for name, c := range map[string]struct {
		method, path, contentType, body string
		least                           int // index into viewer, support, operator
		status                          int
	}{
		"list":    {"GET", revocationsPath, "", "", 0, 200},
		"token":   {"POST", revocationsPath, jsonType, `{"kind":"token","id":"j"}`, 1, 201},
		"session": {"POST", revocationsPath, jsonType, `{"kind":"session","id":"` + who.Session + `"}`, 1, 201},
		"subject": {"POST", revocationsPath, jsonType, `{"kind":"subject","id":"u"}`, 1, 201},
		"client":  {"POST", revocationsPath, jsonType, `{"kind":"client","id":"c"}`, 2, 201},
		"key":     {"POST", revocationsPath, jsonType, `{"kind":"key","id":"k"}`, 2, 201},
		"all":     {"POST", revocationsPath, jsonType, `{"kind":"all","scope":"access-tokens"}`, 2, 201},
		"dry run": {"POST", revocationsPath, jsonType, `{"kind":"all","dry_run":true}`, 2, 200},
		"lift":    {"DELETE", revocationsPath + "/" + who.Session, "", "", 2, 404},
		"batch":   {"POST", batchPath, ndjsonType, `{"kind":"token","id":"j"}`, 2, 200},
	} {
		for rank, role := range []string{"viewer", "support", "operator"} {
			want := 403
			if rank >= c.least {
				want = c.status
			}
			got := must(t, request{method: c.method, url: i.admin + c.path, bearer: bearers[role], contentType: c.contentType, body: c.body})
			if got.status != want {
				t.Errorf("%s by %s: %d %s, want %d", name, role, got.status, got.body, want)
			}
		}
	}
}

// batch sends lines and reads one answer for each.
func (i *issuer) batch(t *testing.T, key string, lines ...string) []revoked {
	t.Helper()
	header := http.Header{}
	if key != "" {
		header.Set("Idempotency-Key", key)
	}
	got := must(t, request{
		method: "POST", url: i.admin + batchPath, bearer: i.operatorToken(t), contentType: ndjsonType,
		body: strings.Join(lines, "\n"), header: header,
	}).want(t, 200)
	var all []revoked
	for line := range strings.Lines(got.body) {
		var v revoked
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

// A batch does what can be done, says of each line what became of it, and may be sent
// again.
func TestBatches(t *testing.T) {
	i := start(t, configure(t, t.TempDir()))
	who, other := i.login(t), i.login(t)
	const chosen = "9f0c2f0e-55ea-4a7e-9d0c-0d7a3a1c0b11"
	long := `{"kind":"token","id":"` + strings.Repeat("x", 8<<10) + `"}`
	lines := []string{
		`{"kind":"session","id":"` + who.Session + `","reason":"test"}`,
		`{"kind":"planet","id":"pluto"}`,
		``,
		`{"kind":"token","id":"j","colour":"red"}`,
		long,
		`{"kind":"client","id":"c","revocation_id":"` + chosen + `"}`,
		`not JSON`,
		`{"kind":"token","id":"j1"}` + "\r",
		`{"kind":"token","id":"j2","dry_run":true}`,
		`{"kind":"subject","id":"u","issuer":"https://other.example"}`,
	}
	want := []struct{ line, status int }{{1, 201}, {2, 400}, {4, 400}, {5, 413}, {6, 201}, {7, 400}, {8, 201}, {9, 400}, {10, 201}}
	check := func(got []revoked) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%d answers, want %d: %+v", len(got), len(want), got)
		}
		for n, w := range want {
			if got[n].Line != w.line || got[n].Status != w.status || (got[n].Detail == "") != (w.status == 201) || (got[n].ID == "") != (w.status != 201) {
				t.Errorf("line %d: %+v", w.line, got[n])
			}
		}
	}
	first := i.batch(t, `"key-1"`, lines...)
	check(first)
	if first[4].ID != chosen {
		t.Errorf("the id that was chosen: %+v", first[4])
	}
	i.call(t, "GET", "/v1/session", who.Access).want(t, 401)
	i.call(t, "GET", "/v1/session", other.Access).want(t, 200)

	before := len(i.listRevocations(t, "").Revocations)
	again := i.batch(t, `"key-1"`, lines...)
	check(again)
	for n := range again {
		if again[n].ID != first[n].ID || again[n].Position != "" {
			t.Errorf("line %d, again: %+v", again[n].Line, again[n])
		}
	}
	if after := len(i.listRevocations(t, "").Revocations); after != before {
		t.Errorf("%d revocations stand, %d after the batch was repeated", before, after)
	}
	if fresh := i.batch(t, `"key-2"`, lines...); fresh[8].ID == first[8].ID {
		t.Error("another key, and the same revocation")
	}
	metrics := must(t, request{method: "GET", url: "http://" + i.MetricsListen + "/metrics"}).body
	for _, outcome := range []string{"revoked", "standing", "refused"} {
		if !strings.Contains(metrics, `revocast_admin_batch_lines_total{outcome="`+outcome+`"}`) {
			t.Errorf("no lines are counted as %s", outcome)
		}
	}
	for name, r := range map[string]request{
		"JSON":            {contentType: jsonType},
		"no type":         {},
		"a bare key":      {contentType: ndjsonType, header: http.Header{"Idempotency-Key": {"key"}}},
		"two keys":        {contentType: ndjsonType, header: http.Header{"Idempotency-Key": {`"a"`, `"b"`}}},
		"an empty key":    {contentType: ndjsonType, header: http.Header{"Idempotency-Key": {`""`}}},
		"a hostile key":   {contentType: ndjsonType, header: http.Header{"Idempotency-Key": {`"a\"b"`}}},
		"an endless key":  {contentType: ndjsonType, header: http.Header{"Idempotency-Key": {`"` + strings.Repeat("k", 257) + `"`}}},
		"an unclosed key": {contentType: ndjsonType, header: http.Header{"Idempotency-Key": {`"a`}}},
	} {
		r.method, r.url, r.bearer, r.body = "POST", i.admin+batchPath, i.operatorToken(t), lines[0]
		if got := must(t, r); got.status != 400 && got.status != 415 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}

// A batch is answered as it goes: whoever waits for an answer before the next line gets
// it, however long the whole takes.
func TestBatchesAreStreamed(t *testing.T) {
	i := start(t, configure(t, t.TempDir()))
	lines, body := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, i.admin+batchPath, lines)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", ndjsonType)
	req.Header.Set("Authorization", "Bearer "+i.operatorToken(t))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answers := bufio.NewScanner(resp.Body)
	for n := range 20 {
		if _, err := fmt.Fprintf(body, `{"kind":"token","id":"j%d"}`+"\n", n); err != nil {
			t.Fatal(err)
		}
		if !answers.Scan() || !strings.Contains(answers.Text(), fmt.Sprintf(`"line":%d,`, n+1)) {
			t.Fatalf("answer %d: %q, %v", n+1, answers.Text(), answers.Err())
		}
	}
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	if answers.Scan() || answers.Err() != nil {
		t.Errorf("after the last line: %q, %v", answers.Text(), answers.Err())
	}
}

// Whoever hangs up in the middle of a batch leaves nothing running.
func TestBatchesEndWithTheirCaller(t *testing.T) {
	i := start(t, configure(t, t.TempDir()))
	lines, body := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, i.admin+batchPath, lines)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", ndjsonType)
	req.Header.Set("Authorization", "Bearer "+i.operatorToken(t))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(body, `{"kind":"token","id":"j"}`); err != nil {
		t.Fatal(err)
	}
	if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil { // with the request half sent
		t.Fatal(err)
	}
	_ = body.CloseWithError(io.ErrUnexpectedEOF)
	stopped := make(chan error, 1)
	go func() { stopped <- i.stop() }()
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the issuer waits for a batch that nobody sends")
	}
	if strings.Contains(i.log.String(), "requests were cut off") {
		t.Error("the batch was still running")
	}
}
