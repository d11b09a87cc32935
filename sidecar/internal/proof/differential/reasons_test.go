package differential

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/revocast/revocast/sidecar/internal/strict"
	"github.com/revocast/revocast/sidecar/internal/token"
)

// reason is one way in which a judge is stricter than the other.
type reason struct {
	// name is what the token has, and what the laxer judge makes of it.
	name string
	// source backs the stricter.
	source string
	// says reports whether the stricter one's error means this reason.
	says func(error) bool
	// shows reports whether the token gives this reason, by a reading of its own.
	shows func(exhibit) bool
}

// exhibit is a token as [look] sees it, the claim or parameter that the error names, if
// any, and when it was judged.
type exhibit struct {
	view
	name  string
	value json.RawMessage
	now   time.Time
}

// of reports whether the error names one of these.
func (e exhibit) of(names ...string) bool { return slices.Contains(names, e.name) }

// kind reports whether the value named begins with one of the letters, by which JSON
// tells types apart.
func (e exhibit) kind(letters string) bool {
	return len(e.value) > 0 && strings.IndexByte(letters, e.value[0]) >= 0
}

// explain gives the one reason that fits. None is a fault, and so are two.
func explain(reasons []reason, s sample, refusal error) (string, bool) {
	e := exhibit{view: look(s.raw), now: s.now}
	e.name, e.value = e.named(refusal)
	fits := slices.DeleteFunc(slices.Clone(reasons), func(r reason) bool { return !r.says(refusal) || !r.shows(e) })
	if len(fits) != 1 {
		return "", false
	}
	return fits[0].name, true
}

func matching(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func wording(words ...string) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(err.Error(), w) })
	}
}

// either asks both texts of a token.
func either(has func(document) bool) func(exhibit) bool {
	return func(e exhibit) bool { return has(e.header) || has(e.payload) }
}

// ourReasons are all for which we refuse what jwx accepts.
func ourReasons() []reason {
	noTime := wording("is not a number of seconds")
	scopes := regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+( [\x21\x23-\x5B\x5D-\x7E]+)*$`)
	noText := wording("is not plain text", "is not a list of plain texts")
	return []reason{
		{
			"not base64url by the letter: jwx guesses the alphabet, skips line breaks and stray bits", "RFC 7515 section 2",
			matching(strict.ErrBase64), func(e exhibit) bool { return e.misspelt },
		},
		{
			"a member twice: jwx takes the last", "RFC 7515 section 4, RFC 7519 section 4",
			matching(strict.ErrDuplicate), either(func(d document) bool { return d.twice }),
		},
		{
			"not one JSON object: jwx reads the first, and trims what is no space in JSON", "RFC 8259 section 2, RFC 7519 section 7.2",
			matching(strict.ErrSyntax), either(func(d document) bool { return !json.Valid(d.text) }),
		},
		{
			"not UTF-8: jwx puts in replacements", "RFC 8259 section 8.1",
			matching(strict.ErrUTF8), either(func(d document) bool { return !utf8.Valid(d.text) }),
		},
		{
			"NUL, or half a surrogate pair, which jwx replaces", "RFC 7493 section 2.1, RFC 8259 section 8.2",
			matching(strict.ErrString), either(func(d document) bool { return d.strange }),
		},
		{
			"a number that not all read alike", "RFC 7493 section 2.2, RFC 8259 section 6",
			matching(strict.ErrNumber), either(func(d document) bool { return d.long }),
		},
		{
			"nested deeper than we read", "RFC 8259 section 9",
			matching(strict.ErrDepth), func(e exhibit) bool { return e.header.depth > 4 || e.payload.depth > 10 },
		},
		{
			"more members than we read", "RFC 8259 section 9",
			matching(strict.ErrMembers), func(e exhibit) bool { return e.header.members > 20 || e.payload.members > 128 },
		},
		{
			"longer than we read", "RFC 8259 section 9",
			wording("longer than"), func(e exhibit) bool { return e.size > 8<<10 },
		},
		{
			"the header brings a key or says where one is: jwx ignores it", "RFC 8725 section 3.10",
			wording("header has jku", "header has jwk", "header has x5u", "header has x5c"),
			func(e exhibit) bool { return e.heads("jku", "jwk", "x5u", "x5c") },
		},
		{
			"crit without names: jwx takes null for none", "RFC 7515 section 4.1.11",
			wording("header has crit"), func(e exhibit) bool { return string(e.head["crit"]) == "null" },
		},
		{
			"b64, for which a JWT has no use", "RFC 7797 section 7",
			wording("header has b64"), func(e exhibit) bool { return e.heads("b64") },
		},
		{
			"alg is not the key's: jwx goes by the key", "RFC 7515 section 4.1.1, RFC 8725 section 3.1",
			wording("alg is not the key's"), func(e exhibit) bool { return e.said("alg") != e.said("kid") },
		},
		{
			"space around the header that nobody has signed: jwx verifies without it", "RFC 7515 section 5.2",
			wording("signature does not verify"), func(e exhibit) bool { return e.spaced() },
		},
		{
			"a time in a string: jwx reads it, or does not look at auth_time", "RFC 7519 section 2",
			noTime, func(e exhibit) bool { return e.kind(`"`) },
		},
		{
			"a time before 1970", "RFC 7519 section 2, POSIX.1-2017 section 4.16",
			noTime, func(e exhibit) bool { return e.kind("-") },
		},
		{
			"a time beyond the year 9999", "RFC 3339 section 5.6",
			noTime, func(e exhibit) bool { return beyond(e.value) },
		},
		{
			"auth_time of another type, at which jwx does not look", "OpenID Connect Core section 2",
			noTime, func(e exhibit) bool { return e.of("auth_time") && e.kind("ntf[{") },
		},
		{
			"in the very second of exp: we cut its fraction off", "RFC 7519 section 4.1.4",
			matching(token.ErrExpired), func(e exhibit) bool { return e.secondOf("exp", leeway) },
		},
		{
			"in the very second of nbf or iat: we make its fraction a whole one", "RFC 7519 sections 4.1.5 and 4.1.6",
			matching(token.ErrPremature), func(e exhibit) bool { return e.secondOf("nbf", -leeway) || e.secondOf("iat", -leeway) },
		},
		{
			"control characters, or a space at an end: unfit for a header", "RFC 9110 section 5.5",
			noText, func(e exhibit) bool { return (e.kind(`"`) || e.of("aud", "roles", "amr")) && unclean(e.value) },
		},
		{
			"a scope that is no list of names with single spaces between", "RFC 6749 section 3.3",
			wording("is no list of scopes"), func(e exhibit) bool {
				var scope string
				return json.Unmarshal(e.value, &scope) == nil && !scopes.MatchString(scope)
			},
		},
		{
			"acr, amr, ssq or tsq of another type, at which jwx does not look", "OpenID Connect Core section 2, package claims",
			noText, func(e exhibit) bool {
				return e.of("acr", "ssq", "tsq") && !e.kind(`"`) || e.of("amr") && !isTexts(e.value)
			},
		},
		{
			"ssq or tsq that is no position: jwx does not know them", "package claims",
			wording("is not a position"), func(e exhibit) bool { return e.of("ssq", "tsq") && !position.Match(e.value) },
		},
		{
			"it tells events, as logout tokens do", "RFC 8725 section 3.12, RFC 8417 section 2.2",
			wording("it tells events"), func(e exhibit) bool { return e.claims["events"] != nil },
		},
		{
			"bound to a key that nobody has been asked to prove", "RFC 7800 section 3, RFC 9449 section 7.2",
			matching(token.ErrUnsupported), func(e exhibit) bool { return e.claims["cnf"] != nil },
		},
	}
}

// theirReasons are all for which jwx refuses what we accept.
func theirReasons() []reason {
	return []reason{
		{
			"cty or x5t of another type, which neither uses", "RFC 7515 section 4: what is not understood is ignored",
			wording("failed to decode value for key cty", "failed to decode value for key x5t"),
			func(e exhibit) bool { return e.of("cty", "x5t", "x5t#S256") && e.kind("tf-0123456789[{") },
		},
		{
			"space around the header that was signed with it: jwx verifies without it", "RFC 7515 sections 3 and 5.2",
			wording("none verified successfully"), func(e exhibit) bool { return e.spaced() },
		},
	}
}
