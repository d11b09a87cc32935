package grpcmw

import "github.com/revocast/revocast/sidecar/internal/front"

// Over makes the interceptor of a checker.
func Over(check *front.Checker) *Interceptor { return &Interceptor{check} }
