package clients_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/internal/clients"
	"github.com/revocast/revocast/services/internal/session"
)

// one is a file with one client and what its entry says besides.
func one(kind, lines string) string {
	text := "clients:\n  - id: c\n    scopes: [read, pay]\n    audiences: [a]\n    type: " + kind + "\n"
	if kind == "confidential" {
		text += "    secret_hash: " + clients.HashSecret(secret) + "\n"
	}
	for line := range strings.SplitSeq(lines, ";") {
		text += "    " + strings.TrimSpace(line) + "\n"
	}
	return text
}

// What each field makes of the policy that a client has without it.
func TestPolicy(t *testing.T) {
	for lines, c := range map[string]struct {
		kind   string
		change func(*session.Policy)
	}{
		"": {"public", func(*session.Policy) {}},

		"access_ttl: 1h30m":       {"public", func(p *session.Policy) { p.AccessTTL = 90 * time.Minute }},
		"refresh_idle: 30d":       {"public", func(p *session.Policy) { p.IdleLimit = 720 * time.Hour }},
		"refresh_idle: none":      {"public", func(p *session.Policy) { p.IdleLimit = 0 }},
		"refresh_idle: 0s":        {"public", func(p *session.Policy) { p.IdleLimit = 0 }},
		"refresh_absolute: 5y":    {"public", func(p *session.Policy) { p.AbsoluteLimit = 5 * 8760 * time.Hour }},
		"refresh_absolute: 10y":   {"public", func(p *session.Policy) { p.AbsoluteLimit = 10 * 8760 * time.Hour }},
		"refresh_absolute: 366d":  {"public", func(p *session.Policy) { p.AbsoluteLimit = 366 * 24 * time.Hour }},
		"refresh_absolute: none":  {"public", func(p *session.Policy) { p.AbsoluteLimit = 0 }},
		"rotation_grace: none":    {"public", func(p *session.Policy) { p.Grace = 0 }},
		"rotation: true":          {"public", func(*session.Policy) {}},
		"rotation: false":         {"confidential", func(p *session.Policy) { p.NoRotation = true }},
		"replay: refuse":          {"public", func(p *session.Policy) { p.OnReplay = session.ReplayRefuse }},
		"replay: access-only":     {"public", func(p *session.Policy) { p.OnReplay = session.ReplayAccessOnly }},
		"replay: successor":       {"public", func(*session.Policy) {}},
		"step_up_after_idle: 14d": {"public", func(p *session.Policy) { p.StepUpAfterIdle = 336 * time.Hour }},

		"max_sessions: 0":                         {"public", func(*session.Policy) {}},
		"max_sessions: 3":                         {"public", func(p *session.Policy) { p.MaxSessions, p.OnLimit = 3, session.EvictOldest }},
		"max_sessions: 3; on_limit: evict-oldest": {"public", func(p *session.Policy) { p.MaxSessions, p.OnLimit = 3, session.EvictOldest }},
		"max_sessions: 1; on_limit: refuse":       {"public", func(p *session.Policy) { p.MaxSessions, p.OnLimit = 1, session.RefuseNew }},
		"single_session: true":                    {"public", func(p *session.Policy) { p.MaxSessions, p.OnLimit = 1, session.EvictOldest }},
		"single_session: false":                   {"public", func(*session.Policy) {}},
		"single_session: false; max_sessions: 2":  {"public", func(p *session.Policy) { p.MaxSessions, p.OnLimit = 2, session.EvictOldest }},

		"device_id: optional":       {"public", func(*session.Policy) {}},
		"device_id: required":       {"public", func(p *session.Policy) { p.DeviceIDRequired = true }},
		"device_change: step-up":    {"public", func(*session.Policy) {}},
		"device_change: ignore":     {"public", func(p *session.Policy) { p.OnDeviceChange = session.Ignore }},
		"network_change: step-up":   {"public", func(p *session.Policy) { p.OnNetworkChange = session.StepUp }},
		"network_change: ignore":    {"public", func(*session.Policy) {}},
		"replay_suspected: step-up": {"public", func(p *session.Policy) { p.OnSuspicion = session.StepUp }},
		"replay_suspected: notify":  {"public", func(*session.Policy) {}},

		"high_grade_for: 15m": {"public", func(p *session.Policy) { p.HighGradeFor = 15 * time.Minute }},
		"high_grade_for: 15m; high_grade_scopes: [pay]": {"public", func(p *session.Policy) {
			p.HighGradeFor, p.HighGradeScopes = 15*time.Minute, []string{"pay"}
		}},

		"roles_claim: roles":                   {"public", func(*session.Policy) {}},
		"roles_claim: https://example.com/has": {"public", func(p *session.Policy) { p.RolesClaim = "https://example.com/has" }},
		"roles_claim: none":                    {"public", func(p *session.Policy) { p.RolesClaim = "" }},
		"roles_claim: ''":                      {"public", func(p *session.Policy) { p.RolesClaim = "" }},
		"roles: [reader, 'Büro Süd']":          {"public", func(p *session.Policy) { p.Roles = []string{"reader", "Büro Süd"} }},
		"roles: []":                            {"public", func(p *session.Policy) { p.Roles, p.RolesClaim = []string{}, "" }},
		"roles_claim: none; roles: []":         {"public", func(p *session.Policy) { p.Roles, p.RolesClaim = []string{}, "" }},
	} {
		t.Run(lines, func(t *testing.T) {
			want := defaults()
			want.OnReplay, want.OnNetworkChange, want.OnSuspicion = session.ReplaySuccessor, session.Ignore, session.Ignore
			want.RolesClaim, want.Scopes, want.Audiences = "roles", []string{"read", "pay"}, []string{"a"}
			c.change(&want)
			got, ok := load(t, one(c.kind, lines)).Find("c")
			if !ok || !reflect.DeepEqual(got.Policy, want) {
				t.Errorf("got  %+v\nwant %+v", got.Policy, want)
			}
		})
	}
}

func TestPolicyRefuses(t *testing.T) {
	for lines, c := range map[string]struct{ kind, want string }{
		"rotation: false":                                   {"public", "rotation: only"},
		"rotation: maybe":                                   {"confidential", "wrong type"},
		"step_up_after_idle: 30d":                           {"public", "step_up_after_idle: never"},
		"step_up_after_idle: 31d":                           {"public", "step_up_after_idle: never"},
		"step_up_after_idle: 1500ms":                        {"public", "step_up_after_idle of"},
		"step_up_after_idle: -1h":                           {"public", "step_up_after_idle of"},
		"max_sessions: -1":                                  {"public", "max_sessions: want"},
		"max_sessions: 101":                                 {"public", "max_sessions: want"},
		"max_sessions: three":                               {"public", "wrong type"},
		"on_limit: refuse":                                  {"public", "on_limit: there is none"},
		"max_sessions: 0; on_limit: refuse":                 {"public", "on_limit: there is none"},
		"max_sessions: 3; on_limit: evict":                  {"public", "on_limit: want evict-oldest or refuse"},
		"single_session: true; max_sessions: 1":             {"public", "single_session: says all"},
		"single_session: true; on_limit: refuse":            {"public", "single_session: says all"},
		"single_session: true; max_sessions: 0":             {"public", "single_session: says all"},
		"device_id: yes":                                    {"public", "device_id: want optional or required"},
		"device_change: notify":                             {"public", "device_change: want ignore or step-up"},
		"network_change: Step-Up":                           {"public", "network_change: want ignore or step-up"},
		"replay_suspected: ignore":                          {"public", "replay_suspected: want notify or step-up"},
		"high_grade_scopes: [pay]":                          {"public", "high_grade_scopes: without high_grade_for"},
		"high_grade_for: 5m; high_grade_scopes: [x]":        {"public", "high_grade_scopes: one is not among"},
		"high_grade_for: 5m; high_grade_scopes: [pay, pay]": {"public", "high_grade_scopes: one is given twice"},
		"high_grade_for: -5m":                               {"public", "high_grade_for of"},
		"roles_claim: sub":                                  {"public", "roles_claim: this claim says"},
		"roles_claim: Sub":                                  {"public", "roles_claim: this claim says"},
		"roles_claim: ssq":                                  {"public", "roles_claim: this claim says"},
		"roles_claim: a b":                                  {"public", "roles_claim: want"},
		"roles_claim: 'a\"b'":                               {"public", "roles_claim: want"},
		"roles_claim: none; roles: [a]":                     {"public", "roles: roles_claim leaves"},
		"roles: [a, a]":                                     {"public", "roles: one is given twice"},
		"roles: ['a,b']":                                    {"public", "roles: want"},
		"roles: ['']":                                       {"public", "roles: want"},
		"roles: [' a']":                                     {"public", "roles: want"},
		"roles: [\"a\\u200bb\"]":                            {"public", "roles: want"},
		"roles: reader":                                     {"public", "wrong type"},
		"roles: [" + numbers(65) + "]":                      {"public", "roles: 65 of them"},
		"disabled: true":                                    {"public", "unknown field"}, // the journal says that
		"max_session: 1":                                    {"public", "unknown field"},
		"single_session: true; single_session: true":        {"public", "given twice"},
	} {
		t.Run(lines, func(t *testing.T) {
			_, err := clients.Load(write(t, one(c.kind, lines)), defaults())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

// All of them are said at once, each by its field.
func TestPolicyNamesEveryFault(t *testing.T) {
	const lines = "access_ttl: x; refresh_idle: x; refresh_absolute: x; rotation_grace: x; replay: x; rotation: false; " +
		"max_sessions: 500; on_limit: x; single_session: true; step_up_after_idle: x; device_id: x; device_change: x; " +
		"network_change: x; replay_suspected: x; high_grade_for: x; high_grade_scopes: [x]; roles_claim: iss; roles: ['']"
	_, err := clients.Load(write(t, one("public", lines)), defaults())
	if err == nil {
		t.Fatal("accepted")
	}
	for field := range strings.SplitSeq(lines, ";") {
		name, _, _ := strings.Cut(strings.TrimSpace(field), ":")
		if name == "max_sessions" {
			continue // overruled by single_session, which says so
		}
		if !strings.Contains(err.Error(), name+": ") {
			t.Errorf("%s is not among the faults: %v", name, err)
		}
	}
}
