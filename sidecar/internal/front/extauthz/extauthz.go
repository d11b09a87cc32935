// Package extauthz answers Envoy, and whatever else speaks its external authorization
// protocol: envoy.service.auth.v3.Authorization/Check, with grpc.health.v1 beside it.
//
// A route's `context_extensions` may demand more, as the query does of forward-auth:
// `scope` and `max_stale`, and nothing else.
//
// Invariants:
//
//   - An allowance replaces every identity header, with nothing where nothing is known,
//     and removes every other header of the request that could be taken for one.
//   - A denial is an answer and not an error of the call: no proxy that lets requests
//     pass when calls fail can be made to by a client.
//   - A request that is not described, or in two ways at once, is refused.
//   - What Check is told is neither kept nor logged.
package extauthz

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/grpccode"
)

// authorization implements the protocol's service.
type authorization struct {
	authv3.UnimplementedAuthorizationServer
	check *front.Checker
}

// Check implements [authv3.AuthorizationServer].
func (a *authorization) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	request, identity := read(r.GetAttributes())
	return word(a.check.Check(ctx, request), identity), nil
}

// read finds the request in what the proxy says of it, and the names of the headers in
// it that could be taken for identity headers.
func read(a *authv3.AttributeContext) (r front.Request, identity []string) {
	asked := a.GetRequest().GetHttp()
	r.Method, r.Host, r.Target = asked.GetMethod(), asked.GetHost(), asked.GetPath()
	demands := map[string][]string{}
	for name, value := range a.GetContextExtensions() {
		demands[name] = []string{value}
	}
	ask, err := front.AskOf(demands)
	twice := len(asked.GetHeaders()) > 0 && len(asked.GetHeaderMap().GetHeaders()) > 0
	r.Ask, r.Unreadable = ask, err != nil || asked == nil || twice
	for name, value := range headers(asked) {
		switch {
		case strings.EqualFold(name, "Authorization"):
			r.Authorization = append(r.Authorization, value)
		case front.IsIdentity(name):
			identity = append(identity, name)
		}
	}
	return r, identity
}

// headers are those of the request. Envoy tells them in one of two ways: with fields
// of the same name joined by commas, or (`encode_raw_headers`) one by one, and then in
// bytes. Whoever does both at once is not believed in either: all are given.
func headers(r *authv3.AttributeContext_HttpRequest) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for name, value := range r.GetHeaders() {
			if !yield(name, value) {
				return
			}
		}
		for _, h := range r.GetHeaderMap().GetHeaders() {
			value, raw := h.GetValue(), string(h.GetRawValue())
			if raw != "" && value != "" && !yield(h.GetKey(), raw) {
				return
			}
			if !yield(h.GetKey(), cmp.Or(value, raw)) {
				return
			}
		}
	}
}

// word puts an answer into the protocol's words. Sent are the names of the headers that
// could be taken for identity headers.
func word(a front.Answer, sent []string) *authv3.CheckResponse {
	response := &authv3.CheckResponse{
		Status:          &status.Status{Code: int32(grpccode.Of(a.Decision))}, //nolint:gosec // codes are small
		DynamicMetadata: metadata(a),
	}
	if !a.Allowed() {
		response.HttpResponse = &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(a.Decision.Status())}, //nolint:gosec // so are these
			Headers: set(append(a.Refusal(), a.Fresh())...),
		}}
		return response
	}
	identity := a.Identity()
	// What is set is not removed, too: Envoy removes last.
	lookalikes := slices.DeleteFunc(sent, func(name string) bool {
		return slices.ContainsFunc(identity[:], func(f front.Field) bool { return strings.EqualFold(f.Name, name) })
	})
	response.HttpResponse = &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
		Headers: set(append(identity[:], a.Fresh())...), HeadersToRemove: lookalikes, ResponseHeadersToAdd: set(a.Fresh()),
	}}
	return response
}

// set replaces header fields whatever there is of them, with nothing where that is
// their value.
func set(fields ...front.Field) []*corev3.HeaderValueOption {
	options := make([]*corev3.HeaderValueOption, len(fields))
	for i, f := range fields {
		options[i] = &corev3.HeaderValueOption{
			Header:         &corev3.HeaderValue{Key: f.Name, Value: f.Value},
			AppendAction:   corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			KeepEmptyValue: true,
		}
	}
	return options
}

// metadata tells the filters behind, and the access log, what the answer rests on.
func metadata(a front.Answer) *structpb.Struct {
	roles := make([]*structpb.Value, 0, a.Claims.Roles.Len())
	for role := range a.Claims.Roles.All() {
		roles = append(roles, structpb.NewStringValue(role))
	}
	expires := structpb.NewNullValue()
	if a.Known() {
		expires = structpb.NewNumberValue(float64(a.Claims.Expires.Unix()))
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"subject":     structpb.NewStringValue(string(a.Claims.Subject)),
		"session":     structpb.NewStringValue(string(a.Claims.Session)),
		"client":      structpb.NewStringValue(string(a.Claims.Client)),
		"scope":       structpb.NewStringValue(a.Claims.Scope),
		"roles":       structpb.NewListValue(&structpb.ListValue{Values: roles}),
		"expires":     expires,
		"reason":      structpb.NewStringValue(a.Decision.Reason.String()),
		"fresh_as_of": structpb.NewStringValue(a.Fresh().Value),
	}}
}
