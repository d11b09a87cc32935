package forwardauth_test

import (
	"net/http"
	"testing"

	"github.com/revocast/revocast/sidecar/internal/front/forwardauth"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

// answer is what the server makes of an answer, without the server.
type answer struct{ header http.Header }

func (a answer) Header() http.Header       { return a.header }
func (answer) Write(p []byte) (int, error) { return len(p), nil }
func (answer) WriteHeader(int)             {}

// BenchmarkPass is what forward-auth adds to net/http for a token that was seen before.
func BenchmarkPass(b *testing.B) {
	rig := verifytest.New(b, gate.DefaultPolicy())
	h, err := forwardauth.New(forwardauth.Forwarded, rig.Checker(b))
	if err != nil {
		b.Fatal(err)
	}
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "/auth", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	r.Header = http.Header{
		"Authorization": {"Bearer " + rig.Good(b, nil)}, "X-Forwarded-Method": {"GET"}, "X-Forwarded-Host": {"api.example"}, "X-Forwarded-Uri": {"/orders/5"},
	}
	w := answer{http.Header{}}
	h.ServeHTTP(w, r)
	if w.header.Get("X-Auth-Subject") == "" {
		b.Fatalf("it does not pass: %v", w.header)
	}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(answer{http.Header{}}, r)
	}
}
