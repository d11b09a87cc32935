package forwardauth_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/forwardauth"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

// Whatever bytes the Authorization fields hold, a request passes only where there is one,
// of the scheme Bearer, and the good token is all that follows; it is then alice's. The
// checker and the handler say the same.
func FuzzAuthorization(f *testing.F) {
	world := verifytest.New(f, gate.DefaultPolicy())
	// Nobody waits for the keys that a broken token names.
	check, err := front.NewChecker(front.Config{Realm: "orders", Within: time.Millisecond, MaxInFlight: 100}, world.Verifier)
	if err != nil {
		f.Fatal(err)
	}
	h, err := forwardauth.New(forwardauth.Forwarded, check)
	if err != nil {
		f.Fatal(err)
	}
	good := world.Issuer.Good(f, time.Now(), object{"exp": time.Now().Add(time.Hour).Unix()})
	if a := world.Checker(f).Check(f.Context(), front.Request{Authorization: []string{"Bearer " + good}}); !a.Allowed() { // and its key is known
		f.Fatal(a.Decision)
	}
	others := tokentest.NewIssuer(f, "their-")
	for _, a := range tokentest.Attacks(f, time.Now(), world.Issuer, others, tokentest.NewIssuer(f, "")) {
		if len(a.Token) < 4<<10 && !a.Blank {
			f.Add("Bearer "+a.Token, "", false)
		}
	}
	// The good token is another in every process: the place it stands in is what is kept.
	const place = "{good}"
	for _, field := range []string{
		"Bearer " + place, "bearer  " + place, "Bearer\t" + place, "Bearer " + place + " ", "Bearer " + place + "," + place, "Bearer Bearer " + place, place, "DPoP " + place,
	} {
		f.Add(field, "", false)
		f.Add(field, "Bearer "+place, true)
	}
	f.Fuzz(func(t *testing.T, first, second string, two bool) {
		fields := []string{strings.ReplaceAll(first, place, good)}
		if two {
			fields = append(fields, strings.ReplaceAll(second, place, good))
		}
		direct := check.Check(t.Context(), front.Request{Authorization: fields})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/auth"}, Header: http.Header{"Authorization": fields}})
		scheme, rest, _ := strings.Cut(fields[0], " ")
		want := len(fields) == 1 && strings.EqualFold(scheme, "Bearer") && strings.TrimLeft(rest, " ") == good
		statuses := []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusServiceUnavailable}
		subject := ""
		if want {
			statuses, subject = []int{http.StatusOK}, "alice"
		}
		if !slices.Contains(statuses, w.Code) || w.Header().Get("X-Auth-Subject") != subject {
			t.Errorf("%q: status %d for %q", fields, w.Code, w.Header().Get("X-Auth-Subject"))
		}
		if direct.Allowed() != want || string(direct.Claims.Subject) != subject {
			t.Errorf("%q: the checker decides %+v", fields, direct.Decision)
		}
		if said := direct.Decision.Status(); said != w.Code && said != http.StatusServiceUnavailable && w.Code != http.StatusServiceUnavailable {
			t.Errorf("%q: status %d, the checker says %d", fields, w.Code, said)
		}
	})
}
