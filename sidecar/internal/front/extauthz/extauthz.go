// Package extauthz answers Envoy, and whatever else speaks its external authorization
// protocol: envoy.service.auth.v3.Authorization/Check, with grpc.health.v1 beside it.
//
// A route's `context_extensions` may demand more, as the query does of forward-auth:
// `scope` and `max_stale`, and nothing else.
//
// Invariants:
//
//   - An allowance replaces every identity header, with nothing where nothing is known,
//     and removes every other header of the request that could be taken for one, or by
//     which an application may take the request for another.
//   - A denial is an answer and not an error of the call: no proxy that lets requests
//     pass when calls fail can be made to by a client.
//   - A request that is not described, or in two ways at once, is refused.
//   - What Check is told is neither kept nor logged.
package extauthz

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/grpccode"
)

// authorization implements the protocol's service.
type authorization struct{ check *front.Checker }

// serviceName is the service's, and checkMethod its one method's, with it.
const (
	serviceName = "envoy.service.auth.v3.Authorization"
	checkMethod = "/" + serviceName + "/Check"
)

// register has the server answer Check. It needs [codec].
func (a authorization) register(s *grpc.Server) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName, HandlerType: (*any)(nil),
		Methods:  []grpc.MethodDesc{{MethodName: "Check", Handler: a.handle}},
		Metadata: "envoy/service/auth/v3/external_auth.proto",
	}, a)
}

// handle is what protoc-gen-go-grpc would make of Check.
func (a authorization) handle(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // grpc calls it so
	q := new(question)
	if err := decode(q); err != nil {
		return nil, err
	}
	return intercept(ctx, q, &grpc.UnaryServerInfo{Server: a, FullMethod: checkMethod}, func(ctx context.Context, _ any) (any, error) {
		return a.answer(ctx, q), nil
	})
}

func (a authorization) answer(ctx context.Context, q *question) reply {
	return word(a.check.Check(ctx, q.request()), q.unwanted)
}

// request is what is asked about. Whoever tells of it in two ways is not believed in
// either.
func (q *question) request() front.Request {
	ask, err := front.AskOf(q.demands)
	return front.Request{
		Method: q.method, Host: q.host, Target: q.path, Authorization: q.authorization,
		Ask: ask, Unreadable: err != nil || !q.described || q.twice || q.joined && q.raw,
	}
}

// word puts an answer into the protocol's words. Unwanted are the names of the headers
// that an application must not be told.
func word(a front.Answer, unwanted []string) reply {
	b := make([]byte, 0, roomy)
	b = nested(b, responseStatus, func(b []byte) []byte {
		return integer(b, statusCode, uint64(grpccode.Of(a.Decision)))
	})
	fresh := a.Fresh()
	if a.Allowed() {
		b = nested(b, responseOK, func(b []byte) []byte { return allow(b, a.Identity(), fresh, unwanted) })
	} else {
		b = nested(b, responseDenied, func(b []byte) []byte {
			b = nested(b, deniedStatus, func(b []byte) []byte { return integer(b, statusCode, uint64(a.Decision.Status())) }) //nolint:gosec // three digits
			for _, f := range a.Refusal() {
				b = set(b, answerHeaders, f)
			}
			return set(b, answerHeaders, fresh)
		})
	}
	return nested(b, responseMetadata, func(b []byte) []byte { return metadata(b, a, fresh.Value) })
}

// roomy is more than most answers take, in bytes.
const roomy = 1 << 10

// allow appends the content of an OkHttpResponse.
func allow(b []byte, identity [6]front.Field, fresh front.Field, unwanted []string) []byte {
	for _, f := range identity {
		b = set(b, answerHeaders, f)
	}
	b = set(b, answerHeaders, fresh)
	for _, name := range unwanted {
		// What is set is not removed, too: Envoy removes last.
		if !slices.ContainsFunc(identity[:], func(f front.Field) bool { return strings.EqualFold(f.Name, name) }) {
			b = text(b, okRemove, name)
		}
	}
	return set(b, okResponse, fresh)
}

// metadata appends a google.protobuf.Struct that tells the filters behind, and the access
// log, what the answer rests on.
func metadata(b []byte, a front.Answer, fresh string) []byte {
	c := &a.Claims
	b = textFact(b, "subject", string(c.Subject))
	b = textFact(b, "session", string(c.Session))
	b = textFact(b, "client", string(c.Client))
	b = textFact(b, "scope", c.Scope)
	b = fact(b, "roles", func(b []byte) []byte {
		return nested(b, valueList, func(b []byte) []byte {
			for role := range c.Roles.All() {
				b = nested(b, listValues, func(b []byte) []byte { return text(b, valueText, role) })
			}
			return b
		})
	})
	if a.Known() {
		b = numberFact(b, "expires", float64(c.Expires.Unix()))
	} else {
		b = fact(b, "expires", func(b []byte) []byte { return integer(b, valueNull, 0) })
	}
	b = textFact(b, "reason", a.Decision.Reason.String())
	return textFact(b, "fresh_as_of", fresh)
}
