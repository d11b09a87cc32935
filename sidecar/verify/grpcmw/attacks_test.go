package grpcmw_test

import (
	"net/http"
	"strconv"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/fronttest"
	"github.com/revocast/revocast/sidecar/verify/grpcmw"
)

// Whatever is refused never reaches the service. The calls are written frame by frame:
// gRPC's own client would not send the half of them.
func TestAttacks(t *testing.T) {
	fronttest.Attacks(t, func(t *testing.T, check *front.Checker) fronttest.Do {
		s, address := listen(t, grpcmw.Over(check))
		return func(t *testing.T, r fronttest.Request) fronttest.Response {
			t.Helper()
			r.Header = r.Header.Clone()
			r.Header["Content-Type"], r.Header["Te"] = []string{"application/grpc"}, []string{"trailers"}
			got := fronttest.SendHTTP2(t, address, r, make([]byte, 5)) // an empty message
			told, _, _ := s.last()
			if code := got.Header.Get("Grpc-Status"); code != "" {
				n, err := strconv.ParseUint(code, 10, 32)
				status, ok := statuses[codes.Code(n)]
				if err != nil || !ok {
					t.Fatalf("code %s: %v", code, got.Header)
				}
				got.Status = status
			}
			if told != nil {
				got.Application = http.Header{}
				for name, values := range told {
					got.Application[http.CanonicalHeaderKey(name)] = values
				}
			}
			return got
		}
	})
}
