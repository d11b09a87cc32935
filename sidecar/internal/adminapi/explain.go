package adminapi

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/clock"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/bearer"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/verify"
)

// Verifier decides as for the fronts, and tells why; it also judges tokens by themselves.
type Verifier interface {
	Explain(ctx context.Context, token string, ask gate.Ask) verify.Explanation
	ExplainRefusal(o gate.Outcome) verify.Explanation
	Diagnose(ctx context.Context, token string) verify.Diagnosis
}

// Explanation is the answer of GET /v1/explain.
type Explanation struct {
	// Verdict is "allow" or "deny", as every front would give it at this moment, and
	// Status the HTTP status that goes with it.
	Verdict string `json:"verdict"`
	Status  int    `json:"status"`
	// Reason is the label that metrics use; Because says it in a sentence.
	Reason  string `json:"reason"`
	Because string `json:"because"`
	// Shadow: it is allowed only because enforcement is off.
	Shadow bool `json:"shadow,omitempty"`
	// At is when it was decided. Entries were held against JudgedAt: the earlier of
	// that and fresh_as_of.
	At       time.Time `json:"at"`
	JudgedAt time.Time `json:"judged_at"`
	// Token is absent unless a token was given.
	Token *Token `json:"token,omitempty"`
	// Kinds has all six, in order; empty if the token is not to be believed.
	Kinds []Kind `json:"kinds"`
	// IndexComplete is false while the index is being filled; a request then looks at
	// the disk for every token.
	IndexComplete bool `json:"index_complete"`
	// LookupError is what kept entries from being listed.
	LookupError string `json:"lookup_error,omitempty"`

	Feed      FeedStatus `json:"feed"`
	FreshAsOf *time.Time `json:"fresh_as_of"`
	// AgeSeconds is how old the view was; null if nothing was ever proved.
	AgeSeconds *float64 `json:"age_seconds"`
	Stale      bool     `json:"stale"`
	Policy     Policy   `json:"policy"`
}

// Token is what may be said of the token.
type Token struct {
	// Verified: signed by a trusted issuer's key and taken by its rule. Only then is
	// there anything more.
	Verified bool `json:"verified"`
	// Fault is why it is not accepted by itself; empty if it is.
	Fault  string  `json:"fault,omitempty"`
	Rule   *Rule   `json:"rule,omitempty"`
	Claims *Claims `json:"claims,omitempty"`
}

// Rule is the --trust that took the token.
type Rule struct {
	// Text is the rule as the flag takes it, with its defaults filled in.
	Text        string        `json:"text"`
	Issuer      events.Issuer `json:"issuer"`
	Audiences   []string      `json:"audiences,omitempty"`
	Require     []string      `json:"require,omitempty"`
	Algorithms  []string      `json:"algorithms"`
	Type        string        `json:"typ"`
	MaxLifetime string        `json:"max_lifetime,omitempty"`
	// Foreign: its positions are in another journal, so cuts go by time.
	Foreign bool `json:"foreign"`
}

// Claims are those that decide, under the names that they have in the realm.
type Claims struct {
	Issuer    events.Issuer    `json:"iss"`
	Subject   events.Subject   `json:"sub,omitempty"`
	Client    events.ClientID  `json:"client_id,omitempty"`
	Session   events.SessionID `json:"sid,omitempty"`
	ID        events.TokenID   `json:"jti,omitempty"`
	Key       events.KeyID     `json:"kid"`
	Audience  []string         `json:"aud,omitempty"`
	Scope     string           `json:"scope,omitempty"`
	Roles     []string         `json:"roles,omitempty"`
	Expires   time.Time        `json:"exp"`
	NotBefore time.Time        `json:"nbf,omitzero"`
	IssuedAt  time.Time        `json:"iat,omitzero"`
	AuthTime  time.Time        `json:"auth_time,omitzero"`
	SessionAt string           `json:"ssq,omitempty"`
	MintedAt  string           `json:"tsq,omitempty"`
}

// Kind is one kind of revocation that was looked for.
type Kind struct {
	Kind string `json:"kind"`
	// ID is what an entry would have to name, of the same issuer. Looked is false
	// where the token has no such name.
	ID     string `json:"id"`
	Looked bool   `json:"looked"`
	// Index is whether the index sends a request on to look exactly: "hit" or "miss".
	Index   string  `json:"index,omitempty"`
	Entries []Entry `json:"entries"`
}

// Entry is one revocation that names the token.
type Entry struct {
	RevocationID events.RevocationID `json:"revocation_id"`
	Denies       bool                `json:"denies"`
	// Why says in words why it denies or not: "denies", "lifted", "expired",
	// "excepted", "session began after the cut", "token was minted after the cut",
	// "authenticated after the cut".
	Why string `json:"why"`
	// What follows is not known of an entry that was lifted and is gone.
	Reason events.Reason `json:"reason,omitempty"`
	By     *By           `json:"by,omitempty"`
	Scope  string        `json:"scope,omitempty"`
	// Cut is the position up to which it denies, CutAt the time for tokens without
	// one; both absent on an entry that denies all.
	Cut           string           `json:"cut,omitempty"`
	CutAt         time.Time        `json:"cut_at,omitzero"`
	ExceptSession events.SessionID `json:"except_session,omitempty"`
	// ExpiresAt is when it is forgotten, or the lift is; absent for never.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Memory    bool      `json:"in_memory"`
	Disk      bool      `json:"on_disk"`
}

// By is who revoked.
type By struct {
	Role string `json:"role"`
	Name string `json:"name,omitempty"`
}

func (a *API) explain(w http.ResponseWriter, r *http.Request) {
	ask, err := front.ReadAsk(r.URL.RawQuery)
	raw, outcome := bearer.Credentials(r.Header["Authorization"])
	if err != nil {
		outcome = gate.Unreadable
	}
	var e verify.Explanation
	if outcome == gate.Unjudged {
		e = a.parts.Verifier.Explain(r.Context(), raw, ask)
	} else {
		e = a.parts.Verifier.ExplainRefusal(outcome)
	}
	answer(w, a.explanation(e, clock.Now(), outcome == gate.Unjudged))
}

func (a *API) explanation(e verify.Explanation, now time.Time, given bool) Explanation {
	d := e.Decision
	x := Explanation{
		Verdict: d.Verdict.String(), Status: d.Status(), Reason: d.Reason.String(), Because: because(e),
		Shadow: d.Shadow, Stale: d.Stale, At: now.UTC(), Kinds: []Kind{},
		Feed: feedOf(a.parts.Feed.State()), FreshAsOf: moment(d.FreshAsOf), AgeSeconds: age(d.FreshAsOf, now), Policy: a.policy(),
		IndexComplete: a.parts.Denylist.Status().Complete,
	}
	x.JudgedAt = x.At
	if d.FreshAsOf.Before(now) {
		x.JudgedAt = d.FreshAsOf.UTC()
	}
	if given {
		x.Token = tokenOf(e)
	}
	if e.Token == nil {
		return x
	}
	looks, err := a.parts.Denylist.Explain(&e.Token.Denylist, x.JudgedAt)
	if err != nil {
		x.LookupError = err.Error()
	}
	for i := range looks {
		x.Kinds = append(x.Kinds, kindOf(&looks[i]))
	}
	return x
}

// because says in one sentence what decided.
func because(e verify.Explanation) string {
	switch r := &e.Entry.Revocation; {
	case e.Decision.Reason == gate.ReasonGood:
		return "Nothing denies it."
	case e.Decision.Reason == gate.ReasonRevoked:
		return "Revocation " + string(r.ID) + " of its " + r.Kind.String() + ", reason " + cmp.Or(string(r.Reason), "none") + "."
	case e.Decision.Reason == gate.ReasonStale:
		return "The view of revocations is older than the policy, or the request, allows."
	case e.Decision.Reason == gate.ReasonNotReady:
		return "The sidecar has not caught up with the feed yet."
	case e.Decision.Reason == gate.ReasonClock:
		return "The local clock and the broker's are too far apart to judge a time."
	case e.Decision.Reason == gate.ReasonAbsent:
		return "The request carries no token."
	case e.Decision.NeededScope != "":
		return "It lacks a scope; needed: " + e.Decision.NeededScope + "."
	}
	d := e.Decision
	d.Verdict = gate.Deny // what a shadow hides
	return d.Description() + "."
}

func tokenOf(e verify.Explanation) *Token {
	t := &Token{Verified: e.Token != nil}
	if e.Cause != nil {
		t.Fault = e.Cause.Error()
	}
	if e.Token == nil {
		return t
	}
	t.Rule = ruleOf(e.Rule)
	t.Claims = claimsOf(&e.Token.Claims)
	return t
}

func claimsOf(c *token.Claims) *Claims {
	return &Claims{
		Issuer: c.Issuer, Subject: c.Subject, Client: c.Client, Session: c.Session, ID: c.ID, Key: c.Key, Audience: c.Audience.Slice(),
		Scope: c.Scope, Roles: c.Roles.Slice(), Expires: c.Expires, NotBefore: c.NotBefore, IssuedAt: c.IssuedAt, AuthTime: c.AuthTime,
		SessionAt: position(c.SessionAt), MintedAt: position(c.MintedAt),
	}
}

func requirements(t token.Trust) (all []string) {
	for _, q := range t.Require {
		all = append(all, q.String())
	}
	return all
}

func ruleOf(t token.Trust) *Rule {
	r := &Rule{
		Text: t.String(), Issuer: t.Issuer, Audiences: t.Audiences, Require: requirements(t), Algorithms: t.Algorithms, Type: t.Type, Foreign: t.Foreign,
	}
	if t.MaxLifetime > 0 {
		r.MaxLifetime = t.MaxLifetime.String()
	}
	return r
}

func kindOf(l *denylist.Look) Kind {
	k := Kind{Kind: l.Kind.String(), ID: l.Target, Looked: l.Looked, Entries: []Entry{}}
	if l.Looked {
		k.Index = "miss"
	}
	if l.Hit {
		k.Index = "hit"
	}
	for i := range l.Found {
		f := &l.Found[i]
		r := &f.Revocation
		e := Entry{
			RevocationID: r.ID, Denies: f.Standing == denylist.Denies, Why: f.Standing.String(), Reason: r.Reason,
			Cut: position(r.Cut), CutAt: r.CutTime, ExceptSession: r.Except, ExpiresAt: r.Until, Memory: f.Memory, Disk: f.Disk,
		}
		if r.By != (events.Initiator{}) {
			e.By = &By{r.By.Role, r.By.Name}
		}
		if l.Kind.Wide() && r.Reason != "" {
			e.Scope = r.Scope.String()
		}
		k.Entries = append(k.Entries, e)
	}
	return k
}

func position(p events.Position) string {
	if p.IsZero() {
		return ""
	}
	return p.String()
}
