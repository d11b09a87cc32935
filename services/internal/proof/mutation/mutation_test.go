package mutation

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// mutant is one defect: old is replaced by broken in a file of services/internal.
type mutant struct {
	name, file, old, broken string
}

var mutants = []mutant{
	{
		"a refresh mints without looking again", "issue/refresh.go",
		"if state.Unreadable || !state.Exists() || state.Over() {", "if state.Unreadable {",
	},
	{
		"a login mints without looking again", "issue/login.go",
		"if !state.Unchanged(position) || state.User.Subject != n.Subject || state.User.Version != n.CredentialVersion {", "if !state.Exists() {",
	},
	{
		"a lost race counts as a rotation", "issue/refresh.go",
		"	case errors.Is(err, events.ErrConflict):\n		return Grant{}, session.ErrSuperseded // another was faster with the same token\n",
		"	case errors.Is(err, events.ErrConflict):\n		position = before.Position\n",
	},
	{
		"the end of a session is not announced", "issue/revoke.go",
		"			if err := before(state); err != nil {\n				return err\n			}\n", "			_ = before\n",
	},
	{
		"a wide revocation is announced and not recorded", "issue/carryout.go",
		"		now := s.now()\n		next := v.with(c, now)\n", "		if c.Kind != events.KindToken {\n			return done, nil\n		}\n		now := s.now()\n		next := v.with(c, now)\n",
	},
	{
		"entries end with the tokens, without leeway", "issue/revoke.go",
		"return last.Add(events.MaxLeeway + events.MaxSkew) }", "return last }",
	},
	{
		"a cut is remembered as long as the tokens it denies", "issue/carryout.go",
		"if n.Kind == events.KindKey || !n.Kind.Wide() || n.Scope == events.ScopeAccessTokens || n.Cut.IsZero() {", "if n.Kind != events.KindUnknown {",
	},
	{
		"a message may expire before the one it follows", "session/decide.go",
		"return later(wanted, predecessor.Add(expiryStep))", "return wanted.Add(-expiryMargin)",
	},
	{
		"replays are judged by a read that may be stale", "session/replay.go",
		"if s.Now.IsZero() || s.Replay.Session == \"\" || s.Replay.Generation < c.Generation {", "if s.Now.IsZero() && s.RotatedAt.IsZero() {",
	},
	{
		"the grace window is three times as long", "session/replay.go",
		"s.Now.Sub(at) <= c.Policy.Grace", "s.Now.Sub(at) <= 3*c.Policy.Grace",
	},
	{
		"a refresh does not count up", "session/decide.go",
		"		n.Generation++\n", "",
	},
	{
		"nobody asks for the device secret", "session/decide.go",
		"return subtle.ConstantTimeCompare(sum[:], s.DeviceSecretHash) == 1", "return subtle.ConstantTimeCompare(sum[:], s.DeviceSecretHash) >= 0",
	},
	{
		"what is over by a stale read is over", "session/decide.go",
		"		return nil, behindBarrier(s, ErrOver)\n	case c.Proof", "		return nil, ErrOver\n	case c.Proof",
	},
	{
		"logins do not exclude each other", "issue/open.go",
		"a.Guard, a.After = s.cfg.Realm.Sessions(k), found.last", "_ = found.last",
	},
	{
		"an idle limit is none", "session/decide.go",
		"return s.Session.IdleLimit > 0 && now.Sub(s.RotatedAt) > s.Session.IdleLimit", "return false",
	},
	{
		"a lift leaves the record", "issue/lift.go",
		"		if err := s.appendLifts(ctx, v, next, now); errors.Is(err, events.ErrConflict) {", "		if err := error(nil); errors.Is(err, events.ErrConflict) {",
	},
	{
		"what a change entails is forgotten", "issue/change.go",
		"		n, ok := events.Entailed(changed)\n		if !ok {", "		n, ok := events.Entailed(changed)\n		if ok {",
	},
	{
		"compaction gives up at the first conflict", "issue/record.go",
		"		After: state.Position.Sequence, TTL: keep, Rollup: true,\n	})\n	return err\n", "		After: state.Position.Sequence, TTL: keep, Rollup: true,\n	})\n	if errors.Is(err, events.ErrConflict) {\n		return nil\n	}\n	return err\n",
	},
}

var found = regexp.MustCompile(`(seed \d+, step \d+: [^\n]{0,160})`)

func TestMutantsAreFound(t *testing.T) {
	if os.Getenv("PROOF") != "full" {
		t.Skip("takes long; PROOF=full runs it")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	missed := 0
	for _, m := range mutants {
		path := filepath.Join(root, filepath.FromSlash(m.file))
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(content), m.old) != 1 {
			t.Errorf("%s: %s does not have the line once that this breaks", m.name, m.file)
			continue
		}
		dir := t.TempDir()
		broken := filepath.Join(dir, "broken.go")
		overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: broken}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(broken, bytes.Replace(content, []byte(m.old), []byte(m.broken), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", filepath.Join(dir, "overlay.json"), "-count=1",
			"-run", "^TestSimulation$", "-timeout", "5m", "../simulation", "-simulation.steps=500000")
		out, err := cmd.CombinedOutput()
		switch story := found.Find(out); {
		case err == nil:
			missed++
			t.Errorf("%s: 500000 steps did not notice", m.name)
		case story != nil:
			t.Logf("%s: %s", m.name, story)
		default:
			t.Errorf("%s: the simulation did not run:\n%s", m.name, out[max(0, len(out)-2000):])
		}
	}
	t.Logf("%d defects, %d found", len(mutants), len(mutants)-missed)
}
