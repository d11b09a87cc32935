package differential

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/jwks"
	"github.com/revocast/revocast/sidecar/internal/token"
)

var (
	seedFlag   = flag.Uint64("differential.seed", 0, "the seed of the tokens; 0 for the usual one, or with PROOF=full for a new one")
	tokensFlag = flag.Uint64("differential.tokens", 0, "how many tokens to judge; 0 for the usual number")
	onlyFlag   = flag.Int64("differential.only", -1, "judge this one token of the seed, and print it")
)

// few are judged in passing, all with PROOF=full in the environment.
const few, all = 3_000, 100_000

// run is which tokens a test judges.
type run struct{ seed, from, to uint64 }

func runOf() run {
	r := run{seed: 1, to: few}
	if os.Getenv("PROOF") == "full" {
		r = run{seed: rand.Uint64(), to: all}
	}
	if *seedFlag > 0 {
		r.seed = *seedFlag
	}
	if *tokensFlag > 0 {
		r.to = *tokensFlag
	}
	if *onlyFlag >= 0 {
		r.from, r.to = uint64(*onlyFlag), uint64(*onlyFlag)+1
	}
	return r
}

// tally is what came of a comparison.
type tally struct {
	accepted, refused int
	// stricter and laxer count our verdicts by reason.
	stricter, laxer map[string]int
	// faults are the tokens that nothing explains.
	faults []error
}

func newTally() *tally { return &tally{stricter: map[string]int{}, laxer: map[string]int{}} }

// compare holds two verdicts on a token against each other.
func (t *tally) compare(s sample, our, their verdict) {
	fault := func(what string) {
		t.faults = append(t.faults, fmt.Errorf("%s\n  %s\n  we: %s\n  jwx: %s", what, s, our, their))
	}
	switch {
	case our.err == nil && their.err == nil:
		if err := our.claims.differ(their.claims); err != nil {
			fault("read otherwise: " + err.Error())
			return
		}
		t.accepted++
	case our.err != nil && their.err != nil:
		t.refused++
	case our.err != nil:
		if name, ok := explain(ourReasons(), s, our.err); ok {
			t.stricter[name]++
		} else {
			fault("we are stricter for no reason, or for more than one")
		}
	default:
		if name, ok := explain(theirReasons(), s, their.err); ok {
			t.laxer[name]++
		} else {
			fault("we are laxer")
		}
	}
}

// worst are enough faults to look at.
func (t *tally) worst(most int) error { return errors.Join(t.faults[:min(len(t.faults), most)]...) }

// table shows what was counted.
func (t *tally) table() string {
	var b strings.Builder
	line := func(n int, what, source string) { fmt.Fprintf(&b, "%8d  %s (%s)\n", n, what, source) }
	fmt.Fprintf(&b, "%8d  accepted by both and read alike\n%8d  refused by both\nrefused by us alone:\n", t.accepted, t.refused)
	for _, r := range ourReasons() {
		line(t.stricter[r.name], r.name, r.source)
	}
	b.WriteString("refused by jwx alone:\n")
	for _, r := range theirReasons() {
		line(t.laxer[r.name], r.name, r.source)
	}
	return b.String()
}

// TestDifferential: two verifiers that share no code differ in nothing but where the
// table of reasons says so.
func TestDifferential(t *testing.T) {
	w, r := newWorld(t), runOf()
	we, they := ours(t, w, policy(), leeway), theirs(w)
	mutations, counted := catalogue(), newTally()
	t.Logf("-differential.seed=%d -differential.tokens=%d", r.seed, r.to)
	for n := r.from; n < r.to; n++ {
		s := newSample(w, r.seed, n, mutations)
		our, their := we(s.raw, s.now), they(s.raw, s.now)
		counted.compare(s, our, their)
		if *onlyFlag >= 0 {
			t.Logf("%s\n  we: %s\n  jwx: %s", s, our, their)
		}
	}
	t.Logf("%d tokens\n%s", r.to-r.from, counted.table())
	if len(counted.faults) > 0 {
		t.Fatalf("seed %d: %d differences that nothing explains, among them\n%v", r.seed, len(counted.faults), counted.worst(10))
	}
	if *onlyFlag < 0 && (counted.accepted < int(r.to/10) || counted.refused < int(r.to/10)) {
		t.Error("the tokens are too much alike to show anything")
	}
}

// TestReasons gives every reason a token of its own, so that none stands in the table
// unused, and each is found by that name.
func TestReasons(t *testing.T) {
	w := newWorld(t)
	we, they := ours(t, w, policy(), leeway), theirs(w)
	claim := func(name, value string) mutation { return oneOf(payloadOf, name, value) }
	header := func(name, value string) mutation { return oneOf(headerOf, name, value) }
	text := func(change func(string) string) mutation {
		return mutation{"", atTexts, func(_ *rand.Rand, d *draft) string { d.texts[1] = change(d.texts[1]); return "" }}
	}
	behind := func(members int, of func(*draft) *[]member) mutation {
		return mutation{"", atMembers, func(_ *rand.Rand, d *draft) string {
			for i := range members {
				*of(d) = append(*of(d), member{fmt.Sprintf(`"m%d"`, i), "0"})
			}
			return ""
		}}
	}
	examples := []mutation{
		{"", atRaw, func(_ *rand.Rand, d *draft) string { d.raw += "=="; return "" }},
		text(func(s string) string { return s[:len(s)-1] + `,"sub":"root"}` }),
		text(func(s string) string { return s + `{"sub":"root"}` }),
		claim("sub", "\"al\xffice\""),
		claim("unknown", `"\ud800"`),
		claim("unknown", `1e-400`),
		claim("unknown", nest(10)),
		behind(115, payloadOf),
		claim("pad", `"`+strings.Repeat("p", 8<<10)+`"`),
		header("jku", `"https://evil.example/keys"`),
		header("crit", `null`),
		header("b64", `true`),
		header("alg", `"RS256"`),
		{"", atRaw, func(_ *rand.Rand, d *draft) string {
			d.raw = encode(d.texts[0]+"\n") + d.raw[strings.IndexByte(d.raw, '.'):]
			return ""
		}},
		claim("exp", `"1795999999"`),
		claim("iat", `-1`),
		claim("exp", `253402300800`),
		claim("auth_time", `null`),
		claim("exp", `1795310395.5`),
		{"", atMembers, func(_ *rand.Rand, d *draft) string {
			d.now = d.now.Add(500 * time.Millisecond)
			d.payload = place(d.payload, "nbf", `1795310405.25`)
			return ""
		}},
		claim("sub", `"alice "`),
		claim("scope", `"read  write"`),
		claim("acr", `1`),
		claim("ssq", `"x"`),
		claim("events", `{}`),
		claim("cnf", `{"jkt":"AA"}`),
	}
	for i, reason := range ourReasons() {
		counted, s := newTally(), sampleOf(w, examples[i])
		if counted.compare(s, we(s.raw, s.now), they(s.raw, s.now)); counted.stricter[reason.name] != 1 {
			t.Errorf("%s: %s\n%s", reason.name, counted.table(), counted.worst(1))
		}
	}
	examples = []mutation{
		header("x5t", "[]"),
		{"", atTexts, func(_ *rand.Rand, d *draft) string { d.texts[0] += "\n"; return "" }},
	}
	for i, reason := range theirReasons() {
		counted, s := newTally(), sampleOf(w, examples[i])
		if counted.compare(s, we(s.raw, s.now), they(s.raw, s.now)); counted.laxer[reason.name] != 1 {
			t.Errorf("%s: %s\n%s", reason.name, counted.table(), counted.worst(1))
		}
	}
}

// TestIssuedAhead: an iat counts as ahead from the first millisecond beyond the leeway.
func TestIssuedAhead(t *testing.T) {
	w := newWorld(t)
	we, they := ours(t, w, policy(), leeway), theirs(w)
	for iat, ahead := range map[string]bool{
		`1795310405`: false, `1795310405.001`: true, `1795310405.5`: true, `1.7953104055e9`: true, `1795310405.999`: true, `1795310406`: true,
	} {
		counted, s := newTally(), sampleOf(w, oneOf(payloadOf, "iat", iat))
		if counted.compare(s, we(s.raw, s.now), they(s.raw, s.now)); len(counted.faults) > 0 || counted.refused == 1 != ahead {
			t.Errorf("iat %s: ahead %t, want %t\n%s", iat, counted.refused == 1, ahead, counted.worst(1))
		}
	}
}

// sampleOf is a good token with certain mutations.
func sampleOf(w *world, with ...mutation) sample {
	d := newDraft(w, w.issuer.ES256)
	did := d.finish(rand.New(rand.NewPCG(0, 0)), with)
	return sample{raw: d.raw, now: d.now, recipe: did}
}

// TestSeed: a token is the same whenever its seed and number are.
func TestSeed(t *testing.T) {
	w, mutations := newWorld(t), catalogue()
	first := map[uint64]string{}
	for n := range uint64(500) {
		first[n] = newSample(w, 7, n, mutations).raw
	}
	w = newWorld(t)
	for n := uint64(499); n > 0; n-- {
		if newSample(w, 7, n, mutations).raw != first[n] {
			t.Fatalf("token %d is another the second time", n)
		}
	}
}

// TestLaxJudges: were the verifier to leave out a check, or to refuse or misread what is
// good, the comparison would say so.
func TestLaxJudges(t *testing.T) {
	w := newWorld(t)
	we, they := ours(t, w, policy(), leeway), theirs(w)
	anyAudience := policy()
	anyAudience.Audiences, anyAudience.Require = nil, []token.Requirement{{Claim: token.Path{"iss"}, Value: issuerID}}
	// What is forgiven is read as jwx reads it, so that nothing but the laxity can tell.
	forgiving := func(words string) judge {
		return func(raw string, now time.Time) verdict {
			v := we(raw, now)
			if v.err != nil && strings.Contains(v.err.Error(), words) {
				return verdict{claims: they(raw, now).claims}
			}
			return v
		}
	}
	turned := func(turn func(verdict) verdict) judge {
		return func(raw string, now time.Time) verdict { return turn(we(raw, now)) }
	}
	refusing := func(err error) judge {
		return turned(func(v verdict) verdict {
			if v.err == nil && v.claims.subject != "alice" {
				return verdict{err: err}
			}
			return v
		})
	}
	reading := func(wrongly func(*claims)) judge {
		return turned(func(v verdict) verdict { wrongly(&v.claims); return v })
	}
	wrong := map[string]judge{
		"skips the audience":          ours(t, w, anyAudience, leeway),
		"is a second more patient":    ours(t, w, policy(), leeway+time.Second),
		"is a second less patient":    ours(t, w, policy(), leeway-time.Second),
		"skips the signature":         forgiving("signature does not verify"),
		"skips the issuer":            forgiving("of no trusted issuer"),
		"skips the type":              forgiving("typ is not the rule's"),
		"takes any algorithm":         forgiving("alg is not on the list"),
		"takes any key":               forgiving(jwks.ErrUnknownKey.Error()),
		"skips expiry":                forgiving(token.ErrExpired.Error()),
		"skips not before":            forgiving(token.ErrPremature.Error()),
		"does without an expiry":      forgiving("exp is missing"),
		"does without a client":       forgiving("client_id is missing"),
		"does without a subject":      forgiving("sub is missing"),
		"understands every crit":      forgiving("header has crit"),
		"reads any JSON":              forgiving("not one JSON object"),
		"reads any time":              forgiving("is not a number of seconds"),
		"takes a part more":           forgiving("not base64url"),
		"refuses for no reason":       refusing(token.ErrUntrusted),
		"sees what is not there":      refusing(fmt.Errorf("%w: header has jku", token.ErrMalformed)),
		"reads another subject":       reading(func(c *claims) { c.subject = strings.ToLower(c.subject) }),
		"reads one audience":          reading(func(c *claims) { c.audience = c.audience[:min(1, len(c.audience))] }),
		"reads expiry a second later": reading(func(c *claims) { c.expires++ }),
		"reads no roles":              reading(func(c *claims) { c.roles = nil }),
		"reads no session":            reading(func(c *claims) { c.session = "" }),
	}
	mutations := catalogue()
	for n := uint64(0); n < few && len(wrong) > 0; n++ {
		s := newSample(w, 1, n, mutations)
		their := they(s.raw, s.now)
		for name, one := range wrong {
			counted := newTally()
			if counted.compare(s, one(s.raw, s.now), their); len(counted.faults) > 0 {
				delete(wrong, name) // caught
			}
		}
	}
	for name := range wrong {
		t.Errorf("of %d tokens none shows that a judge %s", few, name)
	}
}
