package clients

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/revocast/revocast/services/internal/session"
)

// defaultRolesClaim is the claim of RFC 9068 section 2.2.3.1.
const defaultRolesClaim = "roles"

// taken are the claims that mean something else, to us or to those who read our
// tokens by the book (RFC 7519, 8417, 8693, 9068, 9449, OpenID Connect Core).
func taken() []string {
	return []string{
		"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "sid", "ssq", "tsq",
		"auth_time", "acr", "amr", "cnf", "nonce", "azp", "act", "may_act", "at_hash", "c_hash", "events",
	}
}

// policy is how the client's sessions behave.
func (f *faults) policy(e entry, defaults session.Policy) session.Policy {
	p := session.Policy{
		// Whole seconds: what a session remembers of itself is no finer.
		AccessTTL:       f.duration("access_ttl", e.AccessTTL, defaults.AccessTTL, time.Second, maxLifetime, time.Second),
		IdleLimit:       f.duration("refresh_idle", e.RefreshIdle, defaults.IdleLimit, 0, maxLifetime, time.Second),
		AbsoluteLimit:   f.duration("refresh_absolute", e.RefreshAbsolute, defaults.AbsoluteLimit, 0, maxLifetime, time.Second),
		Grace:           f.duration("rotation_grace", e.RotationGrace, defaults.Grace, 0, maxGrace, time.Millisecond),
		StepUpAfterIdle: f.duration("step_up_after_idle", e.StepUpAfterIdle, 0, 0, maxLifetime, time.Second),
		HighGradeFor:    f.duration("high_grade_for", e.HighGradeFor, 0, 0, maxLifetime, time.Second),

		OnReplay: choose(f, "replay", e.Replay, "successor", map[string]session.OnReplay{
			"successor": session.ReplaySuccessor, "access-only": session.ReplayAccessOnly, "refuse": session.ReplayRefuse,
		}),
		NoRotation: e.Rotation != nil && !*e.Rotation,

		OnDeviceChange:  choose(f, "device_change", e.DeviceChange, "step-up", signs("ignore")),
		OnNetworkChange: choose(f, "network_change", e.NetworkChange, "ignore", signs("ignore")),
		OnSuspicion:     choose(f, "replay_suspected", e.ReplaySuspected, "notify", signs("notify")),
		DeviceIDRequired: choose(f, "device_id", e.DeviceID, "optional", map[string]bool{
			"optional": false, "required": true,
		}),
		HighGradeScopes: e.HighGradeScopes,
	}
	if p.NoRotation && e.Type != "confidential" {
		f.add("rotation: only a confidential client may do without (RFC 9700 section 4.14.2)")
	}
	if p.StepUpAfterIdle > 0 && p.IdleLimit > 0 && p.StepUpAfterIdle >= p.IdleLimit {
		f.add("step_up_after_idle: never comes to it, for refresh_idle ends the session first")
	}
	f.limit(e, &p)
	f.grades(e, p)
	f.roles(e, &p)
	return p
}

func signs(otherwise string) map[string]session.OnSign {
	return map[string]session.OnSign{"step-up": session.StepUp, otherwise: session.Ignore}
}

// choose gives what one of a few words stands for. Anything else is a fault, and
// stands for the zero value.
func choose[T any](f *faults, field, given, otherwise string, words map[string]T) T {
	if given == "" {
		given = otherwise
	}
	meaning, ok := words[given]
	if !ok {
		var want []string
		for word := range words {
			want = append(want, word)
		}
		slices.Sort(want)
		last := len(want) - 1
		f.add("%s: want %s or %s", field, strings.Join(want[:last], ", "), want[last])
	}
	return meaning
}

// limit reads how many sessions a user may have.
func (f *faults) limit(e entry, p *session.Policy) {
	given := e.MaxSessions != nil || e.OnLimit != ""
	switch {
	case e.SingleSession && given:
		f.add("single_session: says all that max_sessions and on_limit could; give it alone")
	case e.SingleSession:
		p.MaxSessions, p.OnLimit = 1, session.EvictOldest
	case e.MaxSessions != nil:
		p.MaxSessions = *e.MaxSessions
		if p.MaxSessions < 0 || p.MaxSessions > maxSessions {
			f.add("max_sessions: want 1 to %d, or 0 for any number", maxSessions)
		}
	}
	onLimit := choose(f, "on_limit", e.OnLimit, "evict-oldest", map[string]session.OnLimit{
		"evict-oldest": session.EvictOldest, "refuse": session.RefuseNew,
	})
	if p.MaxSessions > 0 && !e.SingleSession {
		p.OnLimit = onLimit
	} else if e.OnLimit != "" && !e.SingleSession {
		f.add("on_limit: there is none without max_sessions")
	}
}

// grades checks what only a recent authentication gives.
func (f *faults) grades(e entry, p session.Policy) {
	f.list("high_grade_scopes", e.HighGradeScopes, maxText)
	for _, scope := range e.HighGradeScopes {
		if !slices.Contains(e.Scopes, scope) {
			f.add("high_grade_scopes: one is not among the scopes")
			break
		}
	}
	if len(e.HighGradeScopes) > 0 && p.HighGradeFor == 0 {
		f.add("high_grade_scopes: without high_grade_for no token could have them")
	}
}

// roles reads which of a user's roles tokens carry, and as what.
func (f *faults) roles(e entry, p *session.Policy) {
	p.RolesClaim = defaultRolesClaim
	if e.RolesClaim != nil {
		switch p.RolesClaim = *e.RolesClaim; p.RolesClaim {
		case "", "none":
			p.RolesClaim = ""
		default:
			f.text("roles_claim", p.RolesClaim, maxText)
		}
		// In any case: not every reader of JSON tells cases apart.
		if slices.Contains(taken(), strings.ToLower(p.RolesClaim)) {
			f.add("roles_claim: this claim says something else")
		}
	}
	if e.Roles == nil {
		return
	}
	p.Roles = *e.Roles
	switch {
	case p.RolesClaim == "" && len(p.Roles) > 0:
		f.add("roles: roles_claim leaves all of them out")
	case len(p.Roles) == 0:
		p.RolesClaim = ""
	case len(p.Roles) > maxPerList:
		f.add("roles: %d of them, at most %d", len(p.Roles), maxPerList)
	}
	for i, role := range p.Roles {
		if !legible(role) {
			f.add("roles: want 1 to %d bytes of UTF-8 without comma, control characters or space at either end", maxRole)
		}
		if slices.Contains(p.Roles[:i], role) {
			f.add("roles: one is given twice")
		}
	}
}

// legible is what a user's role is.
func legible(s string) bool {
	return s != "" && len(s) <= maxRole && utf8.ValidString(s) && s == strings.TrimSpace(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r == ',' || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) })
}

// span is a length of time as people write it: in Go's notation (1h30m), in whole
// days (30d) or years of 365 days (5y), or "none" for 0. Empty, it was not given.
type span string

const (
	day  = 24 * time.Hour
	year = 365 * day
)

func (s span) parse() (time.Duration, bool) {
	if s == "none" {
		return 0, true
	}
	for suffix, unit := range map[string]time.Duration{"d": day, "y": year} {
		if digits, ok := strings.CutSuffix(string(s), suffix); ok {
			n, err := strconv.ParseUint(digits, 10, 16)
			return time.Duration(n) * unit, err == nil && n <= uint64(math.MaxInt64/unit) //nolint:gosec // positive
		}
	}
	d, err := time.ParseDuration(string(s))
	return d, err == nil
}

// duration gives what was written, or the default, if it lies within the bounds.
func (f *faults) duration(field string, given span, otherwise, atLeast, atMost, unit time.Duration) time.Duration {
	d := otherwise
	if given != "" {
		var ok bool
		if d, ok = given.parse(); !ok {
			f.add("%s: want a duration such as 10s, 5m, 720h, 30d or 5y, or none", field)
			return 0
		}
	}
	if d < atLeast || d > atMost || d%unit != 0 {
		f.add("%s of %s: want %s to %s in steps of %s", field, d, atLeast, atMost, unit)
	}
	return d
}
