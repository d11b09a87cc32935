// Package route finds what the operator demands of a request by its method, host and
// path.
//
// A rule names requests by patterns of [http.ServeMux], "[METHOD ][HOST]/[PATH]":
// "POST /orders/", "admin.example/", "/files/{name}". A GET pattern takes HEAD too,
// and one that ends in "/" everything below. Of several patterns that take a request
// the most specific counts, whatever their order; where neither is, the table is
// refused. Requests that no rule takes are judged by the policy alone.
//
// Rules are only as good as the agreement about what a path means, and servers
// differ: some resolve dots, decode slashes, drop what follows a semicolon. So where
// there are rules at all, a path that two servers may read differently is refused, and
// where one names a host, so is a request whose host is missing or may be read as another.
// Only a slash at the end, about which nobody agrees, makes no difference to rules:
// "/orders" takes "/orders/", and "/orders/" takes "/orders" unless that has a rule
// of its own. Where both have one, and these demand different things, "/orders/" is
// refused; "/orders/{$}" takes the two and leaves "/orders/" what is below.
//
// Invariants:
//
//   - A rule can only demand more than the policy, except that it can need no token.
//   - What needs no token is exactly what an anonymous rule's patterns take.
//   - No request is taken by a rule for less than the application may read it as.
package route

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/revocast/revocast/sidecar/internal/gate"
)

// Rule is what is demanded of the requests that it takes. It is read-only once in
// use.
type Rule struct {
	// Match are the patterns; one at least.
	Match []string
	// Anonymous requests need no token. None is looked at then, so nothing is known
	// of who asks, and Ask must be zero.
	Anonymous bool
	Ask       gate.Ask
}

// ErrAmbiguous is returned for a request that servers may read differently.
var ErrAmbiguous = errors.New("the request's path can be read in more than one way")

// Table finds the rule of a request. The zero Table has none. It is safe for
// concurrent use.
type Table struct {
	mux *http.ServeMux
	// hosts: a rule names one, so that requests must, too.
	hosts bool
}

// New makes a table, or names every fault of the rules at once.
func New(rules []Rule) (*Table, error) {
	t := &Table{}
	if len(rules) == 0 {
		return t, nil
	}
	t.mux = http.NewServeMux()
	named := map[string]bool{}
	aliases := map[string]*Rule{}
	var faults []error
	fault := func(n int, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("rule %d: %w", n+1, err))
		}
	}
	for n := range rules {
		rule := &rules[n]
		fault(n, rule.Validate())
		for _, given := range rule.Match {
			patterns, alias, err := spell(given)
			for _, pattern := range patterns {
				err = errors.Join(err, t.register(pattern, rule))
				named[pattern] = true
				t.hosts = t.hosts || pattern[strings.IndexByte(pattern, ' ')+1] != '/'
			}
			if err != nil {
				fault(n, fmt.Errorf("match %q: %w", given, err))
				continue
			}
			if alias != "" {
				aliases[alias] = rule
			}
		}
	}
	for alias, rule := range aliases {
		if !named[alias] {
			if err := t.register(alias, rule); err != nil {
				faults = append(faults, fmt.Errorf("match %q: %w", alias+"/", err))
			}
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return t, nil
}

// Validate names every fault of r by itself at once.
func (r *Rule) Validate() error {
	faults := []error{r.Ask.Validate()}
	if len(r.Match) == 0 {
		faults = append(faults, errors.New("match: needed: no request is taken"))
	}
	if r.Anonymous && r.Ask.Demands() {
		faults = append(faults, errors.New("anonymous: who needs no token can have no scope, role or age either"))
	}
	return errors.Join(faults...)
}

// spell gives a pattern as the mux is to have it: one that ends in "/{$}" as two, with
// the slash and without. Alias is for one that takes all below a path, the pattern of
// that path itself.
func spell(given string) (patterns []string, alias string, err error) {
	method, rest, spaced := strings.Cut(given, " ")
	if !spaced {
		method, rest = "", given
	}
	host, path, slash := strings.Cut(rest, "/")
	if !slash {
		return nil, "", errors.New("want [METHOD ][HOST]/[PATH]")
	}
	path = "/" + path
	if name, ok := canonical(host); host != "" && (!ok || name != host) {
		return nil, "", errors.New("want the host in lower case, without a port, an address in its shortest form")
	}
	if _, _, ok := split(path); !ok {
		return nil, "", ErrAmbiguous
	}
	if spaced {
		method += " "
	}
	patterns = []string{method + host + path}
	if exact, ok := strings.CutSuffix(path, "/{$}"); ok && exact != "" {
		return append(patterns, method+host+exact), "", nil
	}
	if above := path[:strings.LastIndexByte(path, '/')]; above != "" && (strings.HasSuffix(path, "/") || strings.HasSuffix(path, "...}")) {
		alias = method + host + above
	}
	return patterns, alias, nil
}

// register turns the panic, ServeMux's way to refuse a pattern, into an error.
func (t *Table) register(pattern string, rule *Rule) (err error) {
	defer func() {
		if refused := recover(); refused != nil {
			err = errors.New(registered.ReplaceAllString(fmt.Sprint(refused), ""))
		}
	}()
	t.mux.Handle(pattern, taken{rule})
	return nil
}

// registered is what the mux says of its caller, which is no news to an operator.
var registered = regexp.MustCompile(` \(registered at [^)]*\)`)

// taken stands for a rule in the mux; nobody ever serves with it.
type taken struct{ *Rule }

func (taken) ServeHTTP(http.ResponseWriter, *http.Request) {}

// Empty reports whether there are no rules.
func (t *Table) Empty() bool { return t.mux == nil }

// Find gives the rule that takes a request, or nil. Host is as in the Host field or
// `:authority`, target as in the request line: a path with or without a query. It
// returns [ErrAmbiguous] where rules exist and the request cannot be read in one way
// only.
func (t *Table) Find(method, host, target string) (*Rule, error) {
	if t.mux == nil {
		return nil, nil //nolint:nilnil // no rule is no error
	}
	raw, path, ok := split(target)
	name, known := canonical(host)
	if !ok || !token(method) || t.hosts && !known {
		return nil, ErrAmbiguous
	}
	bare := strings.TrimSuffix(raw, "/")
	if bare == "" || bare == raw {
		rule, _ := t.take(method, name, raw, path)
		return rule, nil
	}
	rule, _ := t.take(method, name, bare, strings.TrimSuffix(path, "/"))
	// A pattern with as many slashes ends in this one: it is no rule for all above.
	if slashed, pattern := t.take(method, name, raw, path); slashed != rule && strings.Count(pattern, "/") == strings.Count(raw, "/") && slashed.differs(rule) {
		return nil, ErrAmbiguous
	}
	return rule, nil
}

// take gives the rule, or nil, that takes a path literally, and the pattern that does.
func (t *Table) take(method, host, raw, path string) (rule *Rule, pattern string) {
	handler, pattern := t.mux.Handler(&http.Request{Method: method, Host: host, URL: &url.URL{Path: path, RawPath: raw}})
	if rule, ok := handler.(taken); ok {
		return rule.Rule, pattern
	}
	return nil, ""
}

// differs reports whether r and other demand different things.
func (r *Rule) differs(other *Rule) bool {
	return r == nil || other == nil || r.Anonymous != other.Anonymous || !reflect.DeepEqual(r.Ask, other.Ask)
}

// canonical is a host as rules name it: names are compared without regard to case,
// the root's dot and the port say nothing of whose resource it is. It is not ok where
// there is none, or where servers differ about it: a name before it, a path behind it,
// two of them, or a port that is none.
func canonical(host string) (name string, ok bool) {
	port := ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.Contains(host[i:], "]") {
		host, port = host[:i], host[i+1:]
	}
	name = strings.ToLower(strings.TrimSuffix(host, "."))
	if strings.Trim(port, "0123456789") != "" {
		return name, false
	}
	if address, bracketed := strings.CutPrefix(host, "["); bracketed {
		ip, err := netip.ParseAddr(strings.TrimSuffix(address, "]"))
		return "[" + ip.String() + "]", err == nil && ip.Is6() && ip.Zone() == "" && strings.HasSuffix(address, "]")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return name, false
		}
	}
	return name, true
}

// split gives the path of a request target, as sent and decoded. It is not ok where
// the path is not one, or where servers differ about it: dot segments, empty ones,
// parameters, and what would become any of these, or a control character, when it is
// decoded.
func split(target string) (raw, decoded string, ok bool) {
	raw, _, _ = strings.Cut(target, "?")
	decoded, err := url.PathUnescape(raw)
	if err != nil || raw == "" || raw[0] != '/' || !utf8.ValidString(decoded) {
		return "", "", false
	}
	if strings.ContainsAny(raw, "\\;#") || strings.Contains(raw, "//") {
		return "", "", false
	}
	for i := 0; i+2 < len(raw); i++ {
		if raw[i] == '%' && strings.ContainsAny(unescaped(raw[i:i+3]), "/\\;#?%.") {
			return "", "", false
		}
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= 0x20 || r >= 0x7f }) ||
		strings.ContainsFunc(decoded, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) {
		return "", "", false
	}
	for segment := range strings.SplitSeq(raw, "/") {
		if segment == "." || segment == ".." {
			return "", "", false
		}
	}
	return raw, decoded, true
}

// unescaped is the byte that three characters of an escape stand for.
func unescaped(escape string) string {
	s, err := url.PathUnescape(escape)
	if err != nil {
		return "%" // whatever it is, it is refused
	}
	return s
}

// token reports whether s can be a method (RFC 9110 section 9.1), and is none that
// the mux reads in its own way.
func token(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return s != "" && s != http.MethodConnect
}
