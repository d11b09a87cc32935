package grpccode_test

import (
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/revocast/revocast/sidecar/internal/front/grpccode"
	"github.com/revocast/revocast/sidecar/internal/gate"
)

// Every reason has the code that its status has, and none but an allowance is OK.
func TestOf(t *testing.T) {
	want := map[int]codes.Code{400: codes.InvalidArgument, 401: codes.Unauthenticated, 403: codes.PermissionDenied, 503: codes.Unavailable}
	for _, r := range gate.Reasons() {
		d := gate.Decision{Reason: r}
		if got := grpccode.Of(d); got != want[d.Status()] {
			t.Errorf("%s, %d: %s, want %s", r, d.Status(), got, want[d.Status()])
		}
		d.Verdict = gate.Allow
		if got := grpccode.Of(d); got != codes.OK {
			t.Errorf("%s, allowed: %s", r, got)
		}
	}
}
