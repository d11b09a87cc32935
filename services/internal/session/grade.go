package session

import (
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
)

// Authentication context classes (`acr`, RFC 9470 section 4).
const (
	// ACRPassword is what a step-up asks for.
	ACRPassword = "urn:revocast:password"
	// ACRHigh is that of tokens minted soon after the password was given, ACRLow of
	// all others where policy tells the two apart.
	ACRHigh = "urn:revocast:high"
	ACRLow  = "urn:revocast:low"
)

// Grade is what an access token says by policy.
type Grade struct {
	// ACR is empty where policy knows no grades.
	ACR     string
	Scope   string
	Expires time.Time
}

// GradeOf says what a token minted for n at n.MintedAt may say, of the scope and up
// to the expiry that it would have otherwise.
//
// A token of high grade does not outlive the time for which policy grants the grade,
// or that would be longer by the token's lifetime. All times count in whole seconds,
// as in the token, so that a repeated answer has the grade of the first.
func GradeOf(p Policy, n events.Session, scope string, expires time.Time) Grade {
	if p.HighGradeFor <= 0 {
		return Grade{Scope: scope, Expires: expires}
	}
	until := time.Unix(n.AuthTime.Unix(), 0).Add(p.HighGradeFor)
	if n.MintedAt.Unix() < until.Unix() {
		if until.Before(expires) {
			expires = until
		}
		return Grade{ACR: ACRHigh, Scope: scope, Expires: expires}
	}
	var low []string
	for one := range strings.FieldsSeq(scope) {
		if !slices.Contains(p.HighGradeScopes, one) {
			low = append(low, one)
		}
	}
	return Grade{ACR: ACRLow, Scope: strings.Join(low, " "), Expires: expires}
}
