// Package fronttest holds every front to one set of decision scripts: text files that
// give a policy, rules, tokens and revocations, and what requests are answered.
//
// A script is read line by line:
//
//	policy when-stale=deny stale-after=30s require-scope=a,b shadow   before all else
//	route match=GET_/health,/public/ anonymous                        "_" for a space
//	route match=/orders/ scopes=a,b roles=a any-role=a,b audience=a acr=a max-age=5m max-stale=10s
//	token NAME {"claim": value, "left out": null}                     of a good one
//	raw NAME text                                                     no token at all
//	revoke KIND TARGET
//	view AGE | view never                                             how old the view is
//	GET host/path?query                                               a request,
//	  Authorization: Bearer ${NAME}                                   its header,
//	=> 401                                                            its answer,
//	  Www-Authenticate: Bearer realm="orders"                         and what that says
//
// An answer lists what the client is told, and where the request passes what the
// application learns: every identity header that is not empty. Times are told as what
// they are from now.
package fronttest

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/route"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

//go:embed testdata/*.txt
var scripts embed.FS

// identity are the names that an application could find an identity header under, also
// where CGI has made of them what can be a variable's name.
var identity = regexp.MustCompile(`(?i)^x[^a-z0-9]auth[^a-z0-9]`)

// Request is what a client sends.
type Request struct {
	Method, Host, Target string
	Header               http.Header
}

// Response is what comes of it.
type Response struct {
	Status int
	// Header is what the client is told.
	Header http.Header
	// Application is what the application is told, where the request reached it.
	Application http.Header
}

// Do sends a request through a front.
type Do func(t *testing.T, r Request) Response

// Run plays every script through the front that open puts before a checker.
func Run(t *testing.T, open func(t *testing.T, check *front.Checker) Do) {
	t.Helper()
	for name, text := range Scripts(t) {
		t.Run(name, func(t *testing.T) {
			got, want := strings.Split(Play(t, text, open), "\n"), strings.Split(text, "\n")
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || got[i] != want[i] {
					t.Fatalf("from line %d on:\n got %s\nwant %s", i+1,
						strings.Join(got[min(i, len(got)):min(i+8, len(got))], "\n     "), strings.Join(want[min(i, len(want)):min(i+8, len(want))], "\n     "))
				}
			}
		})
	}
}

// Scripts are the scripts by their names.
func Scripts(t *testing.T) map[string]string {
	t.Helper()
	files, err := scripts.ReadDir("testdata")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	all := map[string]string{}
	for _, f := range files {
		text, err := scripts.ReadFile(path.Join("testdata", f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name()] = string(text)
	}
	return all
}

// player plays one script.
type player struct {
	policy gate.Policy
	rules  []route.Rule
	rig    *verifytest.Rig
	do     Do
	tokens map[string]string
	asOf   time.Time
	began  time.Time
	open   func(t *testing.T, check *front.Checker) Do
	out    []string
}

// Play plays text and gives it back with the answers that came.
func Play(t *testing.T, text string, open func(t *testing.T, check *front.Checker) Do) string {
	t.Helper()
	p := &player{policy: gate.DefaultPolicy(), open: open, tokens: map[string]string{}, began: time.Now()}
	lines := strings.Split(text, "\n")
	for len(lines) > 0 {
		lines = lines[p.line(t, lines):]
	}
	return strings.Join(p.out, "\n")
}

// line plays what begins the lines and says how many it was.
func (p *player) line(t *testing.T, lines []string) int {
	t.Helper()
	line := lines[0]
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "", "#":
	case "policy":
		p.setPolicy(t, rest)
	case "route":
		p.rules = append(p.rules, readRule(t, rest))
	default:
		p.start(t)
		if !p.set(t, word, rest) {
			return p.request(t, lines)
		}
	}
	p.out = append(p.out, line)
	return 1
}

// start puts the front up, once policy and rules are known.
func (p *player) start(t *testing.T) {
	t.Helper()
	if p.rig != nil {
		return
	}
	p.rig = verifytest.New(t, p.policy)
	p.setView(t, "0s")
	p.do = p.open(t, p.rig.Checker(t, p.rules...))
}

// set does what changes the world, and reports whether the word was one for it.
func (p *player) set(t *testing.T, word, rest string) bool {
	t.Helper()
	switch word {
	case "token":
		name, changes, _ := strings.Cut(rest, " ")
		claims := map[string]any{}
		if err := json.Unmarshal([]byte(p.fill(changes)), &claims); err != nil {
			t.Fatalf("%s: %v", rest, err)
		}
		p.tokens[name] = p.rig.Issuer.Good(t, p.began, claims)
	case "raw":
		name, text, _ := strings.Cut(rest, " ")
		p.tokens[name] = p.fill(text)
	case "revoke":
		kind, target, _ := strings.Cut(rest, " ")
		k, err := events.ParseKind(kind)
		if err != nil {
			t.Fatal(err)
		}
		p.rig.Revoke(t, k, target, time.Now().Add(time.Hour))
	case "view":
		p.setView(t, rest)
	default:
		return false
	}
	return true
}

func (p *player) setView(t *testing.T, age string) {
	t.Helper()
	if age == "never" {
		p.asOf = time.Time{}
		p.rig.View.Set(p.asOf, false)
		return
	}
	p.asOf = time.Now().Add(-duration(t, age))
	p.rig.View.Set(p.asOf, true)
}

// request sends the request that begins the lines.
func (p *player) request(t *testing.T, lines []string) int {
	t.Helper()
	method, target, _ := strings.Cut(lines[0], " ")
	host, rest, ok := strings.Cut(target, "/")
	if !ok {
		t.Fatalf("%q is no line of a script", lines[0])
	}
	r := Request{Method: method, Host: host, Target: "/" + rest, Header: http.Header{}}
	n := 1
	for ; n < len(lines) && strings.HasPrefix(lines[n], "  "); n++ {
		name, value, _ := strings.Cut(strings.TrimPrefix(lines[n], "  "), ":")
		r.Header[name] = append(r.Header[name], strings.TrimPrefix(p.fill(value), " "))
	}
	p.out = append(p.out, lines[:n]...)
	p.out = append(p.out, p.tell(p.do(t, r))...)
	if n < len(lines) && strings.HasPrefix(lines[n], "=>") {
		for n++; n < len(lines) && strings.HasPrefix(lines[n], "  "); n++ {
			continue
		}
	}
	return n
}

// fill puts tokens in the places of their names, and times for `${now+5m}`.
func (p *player) fill(s string) string {
	for name, token := range p.tokens {
		s = strings.ReplaceAll(s, "${"+name+"}", token)
	}
	for {
		before, rest, ok := strings.Cut(s, "${now")
		after, tail, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			return s
		}
		d, err := time.ParseDuration(after)
		if err != nil {
			return s
		}
		s = before + strconv.FormatInt(p.began.Add(d).Unix(), 10) + tail
	}
}

// tell gives the lines of an answer.
func (p *player) tell(r Response) []string {
	told := []string{fmt.Sprintf("=> %d", r.Status)}
	say := func(name, value string) { told = append(told, "  "+name+": "+value) }
	for _, name := range []string{"Www-Authenticate", "Retry-After"} {
		for _, v := range r.Header[name] {
			say(name, v)
		}
	}
	fresh := r.Header.Get(front.FreshAsOf)
	switch {
	case p.asOf.IsZero() && fresh == "", fresh == p.asOf.UTC().Format("2006-01-02T15:04:05.000Z"):
	default:
		say(front.FreshAsOf, fresh)
	}
	var names []string
	for name := range r.Application {
		if identity.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range r.Application[name] {
			if seconds, err := strconv.ParseInt(v, 10, 64); err == nil && name == "X-Auth-Expires" {
				v = "in " + time.Unix(seconds, 0).Sub(p.began.Truncate(time.Second)).String()
			}
			if v != "" {
				say(name, v)
			}
		}
	}
	return told
}

func (p *player) setPolicy(t *testing.T, rest string) {
	t.Helper()
	for name, value := range words(rest) {
		switch name {
		case "when-stale":
			when, err := gate.ParseWhenStale(value)
			if err != nil {
				t.Fatal(err)
			}
			p.policy.WhenStale = when
		case "stale-after":
			p.policy.StaleAfter = duration(t, value)
		case "require-scope":
			p.policy.Scopes = strings.Split(value, ",")
		case "shadow":
			p.policy.Shadow = true
		default:
			t.Fatalf("policy: unknown word %q", name)
		}
	}
}

func readRule(t *testing.T, rest string) route.Rule {
	t.Helper()
	var r route.Rule
	for name, value := range words(rest) {
		list := strings.Split(value, ",")
		switch name {
		case "match":
			r.Match = strings.Split(strings.ReplaceAll(value, "_", " "), ",")
		case "anonymous":
			r.Anonymous = true
		case "scopes":
			r.Ask.Scopes = list
		case "roles":
			r.Ask.Roles = list
		case "any-role":
			r.Ask.AnyRole = list
		case "audience":
			r.Ask.Audiences = list
		case "acr":
			r.Ask.ACR = list
		case "max-age":
			r.Ask.MaxAge = duration(t, value)
		case "max-stale":
			r.Ask.MaxStale = duration(t, value)
		default:
			t.Fatalf("route: unknown word %q", name)
		}
	}
	return r
}

// words are the words of a line, name=value or a name alone.
func words(line string) map[string]string {
	all := map[string]string{}
	for w := range strings.FieldsSeq(line) {
		name, value, _ := strings.Cut(w, "=")
		all[name] = value
	}
	return all
}

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
