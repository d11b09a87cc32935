package verify

import "context"

type contextKey struct{}

// NewContext gives a context that says who asks. The middleware does so for what passes;
// a program's own tests may.
func NewContext(ctx context.Context, c Claims) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// FromContext says who asks. It does not know where the request needed no token, and in
// shadow mode where that one was not genuine.
func FromContext(ctx context.Context) (c Claims, known bool) {
	c, known = ctx.Value(contextKey{}).(Claims)
	return c, known
}
