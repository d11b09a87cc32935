package bearer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/front/bearer"
	"github.com/revocast/revocast/sidecar/internal/gate"
)

func TestCredentials(t *testing.T) {
	for name, c := range map[string]struct {
		fields  []string
		token   string
		outcome gate.Outcome
	}{
		"none":                                   {nil, "", gate.Absent},
		"empty":                                  {[]string{""}, "", gate.Absent},
		"bearer":                                 {[]string{"Bearer a.b.c"}, "a.b.c", gate.Unjudged},
		"lower case":                             {[]string{"bearer a.b.c"}, "a.b.c", gate.Unjudged},
		"capitals":                               {[]string{"BEARER a.b.c"}, "a.b.c", gate.Unjudged},
		"spaces":                                 {[]string{"Bearer   a.b.c"}, "a.b.c", gate.Unjudged},
		"inner space":                            {[]string{"Bearer a b"}, "a b", gate.Unjudged},
		"tab for space":                          {[]string{"Bearer\ta.b.c"}, "", gate.Absent},
		"no token":                               {[]string{"Bearer"}, "", gate.Malformed},
		"only spaces":                            {[]string{"Bearer   "}, "", gate.Malformed},
		"basic":                                  {[]string{"Basic YTpi"}, "", gate.Absent},
		"longer scheme":                          {[]string{"BearerX a.b.c"}, "", gate.Absent},
		"bare token":                             {[]string{"a.b.c"}, "", gate.Absent},
		"DPoP":                                   {[]string{"DPoP a.b.c"}, "", gate.Unsupported},
		"dpop":                                   {[]string{"dpop a.b.c"}, "", gate.Unsupported},
		"two":                                    {[]string{"Bearer a.b.c", "Bearer a.b.c"}, "", gate.Ambiguous},
		"two, one empty":                         {[]string{"", "Bearer a.b.c"}, "", gate.Ambiguous},
		"two, one basic":                         {[]string{"Bearer a.b.c", "Basic YTpi"}, "", gate.Ambiguous},
		"two, joined":                            {[]string{"Bearer a.b.c, Bearer d.e.f"}, "", gate.Ambiguous},
		"two, joined by one who knows no scheme": {[]string{"Basic YTpi,Bearer a.b.c"}, "", gate.Absent},
		"nothing and one, joined":                {[]string{",Bearer a.b.c"}, "", gate.Absent},
		"one and nothing, joined":                {[]string{"Bearer a.b.c,"}, "", gate.Ambiguous},
		"scheme with a colon":                    {[]string{"Bearer: a.b.c"}, "", gate.Absent},
	} {
		if token, outcome := bearer.Credentials(c.fields); token != c.token || outcome != c.outcome {
			t.Errorf("%s: %q, %d; want %q, %d", name, token, outcome, c.token, c.outcome)
		}
	}
}

func TestChallenge(t *testing.T) {
	realm, err := bearer.NewRealm(`or"de\rs`)
	if err != nil {
		t.Fatal(err)
	}
	const quoted = `Bearer realm="or\"de\\rs"`
	for name, c := range map[string]struct {
		d    gate.Decision
		want string
	}{
		"allowed":   {gate.Decision{Verdict: gate.Allow, Reason: gate.ReasonGood}, ""},
		"shadow":    {gate.Decision{Verdict: gate.Allow, Reason: gate.ReasonRevoked, Shadow: true}, ""},
		"zero":      {gate.Decision{}, ""},
		"stale":     {gate.Decision{Reason: gate.ReasonStale}, ""},
		"absent":    {gate.Decision{Reason: gate.ReasonAbsent}, quoted},
		"revoked":   {gate.Decision{Reason: gate.ReasonRevoked}, quoted + `, error="invalid_token", error_description="The access token was revoked"`},
		"ambiguous": {gate.Decision{Reason: gate.ReasonAmbiguous}, quoted + `, error="invalid_request", error_description="The request carries credentials more than once"`},
		"scope":     {gate.Decision{Reason: gate.ReasonScope, NeededScope: "a b"}, quoted + `, error="insufficient_scope", error_description="The access token lacks a required scope", scope="a b"`},
		"role":      {gate.Decision{Reason: gate.ReasonRole}, quoted + `, error="insufficient_scope", error_description="The access token lacks a required role"`},
		"step up": {
			gate.Decision{Reason: gate.ReasonAuthentication, NeededACR: "urn:two urn:one", NeededAge: 5 * time.Minute},
			quoted + `, error="insufficient_user_authentication", error_description="A more recent or a stronger authentication is required", acr_values="urn:two urn:one", max_age="300"`,
		},
		"anonymous": {gate.Decision{Verdict: gate.Allow, Reason: gate.ReasonAnonymous}, ""},
	} {
		if got := realm.Challenge(c.d); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
	for _, name := range []string{"", "a\r\nX: y", "a\x00", "\u00e9", strings.Repeat("a", 129)} {
		if _, err := bearer.NewRealm(name); err == nil {
			t.Errorf("realm %q passes", name)
		}
	}
}
