// Package grpccode says in gRPC's words what a decision says in HTTP's.
//
// Invariants:
//
//   - OK is the code of an allowance and of nothing else.
package grpccode

import (
	"net/http"

	"google.golang.org/grpc/codes"

	"github.com/revocast/revocast/sidecar/internal/gate"
)

// Of is the code that goes with the HTTP status of d: OK, InvalidArgument for 400,
// Unauthenticated for 401, PermissionDenied for 403, and Unavailable for all else.
func Of(d gate.Decision) codes.Code {
	switch d.Status() {
	case http.StatusOK:
		return codes.OK
	case http.StatusBadRequest:
		return codes.InvalidArgument
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	}
	return codes.Unavailable
}
