package cli_test

import (
	"fmt"
	"net/http"
	"strings"
)

// explainer answers as a sidecar's admin listener is documented to.
type explainer struct{}

func (x explainer) serve(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/explain", x.explain)
	mux.HandleFunc("GET /v1/doctor", x.doctor)
	mux.HandleFunc("POST /v1/fsck", x.fsck)
	mux.HandleFunc("POST /faulty/v1/fsck", x.fsck)
	mux.HandleFunc("POST /busy/v1/fsck", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusConflict) })
	mux.HandleFunc("POST /failing/v1/fsck", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, `{"progress":{"round":1,"side":"store","read":0}}`+"\n"+`{"error":"connecting to the broker: no servers"}`)
	})
	mux.HandleFunc("POST /short/v1/fsck", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, `{"progress":{"round":1,"side":"feed","read":4096}}`)
	})
}

const (
	around = `"at":"2026-11-01T11:00:00Z","judged_at":"2026-11-01T10:59:59Z","index_complete":true,
		"feed":{"phase":"following","epoch":"E","position":"0:99","lag":0,"caught_up":true,"clock_skew_seconds":0},
		"fresh_as_of":"2026-11-01T10:59:59Z","age_seconds":1.04,"stale":false,
		"policy":{"stale_after":"30s","when_stale":"allow","stale_limit":"15m0s","enforce":true}`
	genuine = `"token":{"verified":true,"rule":{"issuer":"https://id.example","audiences":["https://api.example"],"algorithms":["ES256"],"typ":"at+jwt","foreign":false},
		"claims":{"iss":"https://id.example","sub":"alice","sid":"s-1","kid":"k-1","exp":"2026-11-01T11:05:00Z","iat":"2026-11-01T11:00:00Z","scope":"read","ssq":"0:41","tsq":"0:42"}}`
)

func (explainer) explain(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	kind := func(kind, id, entries string) string {
		index := "miss"
		if entries != "" {
			index = "hit"
		}
		return fmt.Sprintf(`{"kind":%q,"id":%q,"looked":true,"index":%q,"entries":[%s]}`, kind, id, index, entries)
	}
	answer := `{"verdict":"deny","status":401,"reason":"untrusted","because":"The access token is not trusted here.",
		"token":{"verified":false,"fault":"untrusted token: of no trusted issuer"},"kinds":[],` + around + `}`
	switch token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); {
	case token == "access-1" && r.URL.RawQuery == "max_stale=5s&scope=a&scope=b":
		answer = `{"verdict":"deny","status":403,"reason":"insufficient_scope","because":"It lacks a scope; needed: a b.",` + genuine + `,"kinds":[],` + around + `}`
	case strings.HasPrefix(token, "access-"):
		answer = `{"verdict":"deny","status":401,"reason":"revoked","because":"Revocation r-1 of its session, reason logout.",` + genuine + `,"kinds":[` +
			strings.Join([]string{
				`{"kind":"token","id":"","looked":false,"entries":[]}`,
				kind("session", "s-1", `{"revocation_id":"r-1","denies":true,"why":"denies","reason":"log\u001b[31mout","by":{"role":"user"},"expires_at":"2026-11-01T12:00:00Z","in_memory":true,"on_disk":false}`),
				kind("subject", "alice", `{"revocation_id":"r-2","denies":false,"why":"session began after the cut","reason":"administrator","by":{"role":"operator","name":"ops"},"scope":"sessions","cut":"0:40","expires_at":"2026-11-01T12:00:00Z","in_memory":true,"on_disk":true},`+
					`{"revocation_id":"r-3","denies":false,"why":"lifted","in_memory":true,"on_disk":true}`),
				kind("client", "demo", ""), kind("key", "k-1", ""), kind("all", "", ""),
			}, ",") + `],` + around + `}`
	case token == "fine":
		answer = `{"verdict":"allow","status":200,"reason":"good","because":"Nothing denies it.",` + genuine + `,"kinds":[` + kind("token", "j", "") + `],` + around + `}`
	}
	_, _ = fmt.Fprintln(w, answer)
}

func (explainer) doctor(w http.ResponseWriter, r *http.Request) {
	const rule = `"rule":{"text":"issuer=https://id.example,audience=https://api.example,alg=ES256,typ=JWT,max-lifetime=24h0m0s,foreign=true,subject=oid",` +
		`"issuer":"https://id.example","audiences":["https://api.example"],"algorithms":["ES256"],"typ":"JWT","max_lifetime":"24h0m0s","foreign":true}`
	answer := `{"taken":false,"summary":"It is no token that any rule could take.","at":"2026-11-01T11:00:00Z","verified":false,
		"checks":[{"check":"form","passes":false,"fault":"it has one part: an opaque token, which only its provider can read","advice":"Ask for a JWT."}],"reach":[]}`
	switch r.Header.Get("Authorization") {
	case "Bearer access-1":
		answer = `{"taken":true,"summary":"The rule of issuer https://id.example takes it.","at":"2026-11-01T11:00:00Z",` + rule + `,"verified":true,
			"checks":[{"check":"form","passes":true},{"check":"audience","passes":true,"says":"https://api.example, \u001b[31mother","wants":"https://api.example"}],
			"claims":{"iss":"https://id.example","kid":"k-1","exp":"2026-11-01T11:05:00Z"},
			"reach":[{"kind":"token","reaches":false,"claim":"jti","advice":"It cannot be revoked by itself."},{"kind":"subject","reaches":true,"claim":"oid","id":"o-1"}],
			"cuts":{"sessions":"iat","access_tokens":"iat"},"advice":["By iat alone."]}`
	case "Bearer other":
		answer = `{"taken":false,"summary":"No rule takes it. The rule of issuer https://id.example comes nearest, and refuses it for: issuer, signature.","at":"2026-11-01T11:00:00Z",` + rule + `,
			"nearest":true,"verified":false,"checks":[{"check":"form","passes":true},
			{"check":"issuer","passes":false,"fault":"iss is the rule's but for a slash at the end","wants":"https://id.example","advice":"Write it as the tokens have it."},
			{"check":"signature","passes":false,"fault":"signature does not verify","advice":"It was changed."}],"reach":[]}`
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintln(w, answer)
}

func (explainer) fsck(w http.ResponseWriter, r *http.Request) {
	faulty := strings.HasPrefix(r.URL.Path, "/faulty")
	missing, faults := `{"count":0}`, ""
	if faulty {
		missing = `{"count":1,"examples":[{"revocation_id":"r-9","kind":"session","issuer":"https://id.example","id":"s-9","expires_at":"2026-11-01T12:00:00Z"}]}`
		faults = `"the store lacks 1 entries of the feed"`
	}
	_, _ = fmt.Fprintf(w, `{"progress":{"round":1,"side":"feed","read":4096}}
{"report":{"clean":%v,"faults":[%s],"notes":["the store has yet to take in 3 entries"],"store":{"epoch":"E","position":90,"entries":{"session":7},"lifts":1},"feed":{"epoch":"E","position":99,"entries":{"session":8},"lifts":1},"same_epoch":true,"behind":3,"missing":%s,"different":{"count":0},"only_in_store":{"expired":2,"earlier":4},"lifted":1,"missing_lifts":{"count":0},"lifted_and_still_there":{"count":0},"index":{"checked":true,"entries":7,"missing":{"count":0}},"rounds":2,"took_seconds":0.25}}
`, !faulty, faults, missing)
}
