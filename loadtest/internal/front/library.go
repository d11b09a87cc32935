package front

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/revocast/revocast/loadtest/internal/token"
	"github.com/revocast/revocast/sidecar/verify"
)

// InProcess is a verifier in this process, made as an application makes its own.
type InProcess struct{ verifier *verify.Verifier }

// NewInProcess makes one. It starts nothing: see [InProcess.Run].
func NewInProcess(options ...verify.Option) (*InProcess, error) {
	v, err := verify.New(options...)
	if err != nil {
		return nil, fmt.Errorf("making a verifier in this process: %w", err)
	}
	return &InProcess{v}, nil
}

// Run follows revocations until ctx ends. Call it once, and Close after it.
func (p *InProcess) Run(ctx context.Context) error {
	if err := p.verifier.Run(ctx); err != nil {
		return fmt.Errorf("running the verifier in this process: %w", err)
	}
	return nil
}

// WaitReady returns once it has caught up, or says what it waits for when ctx ends.
func (p *InProcess) WaitReady(ctx context.Context) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := p.verifier.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the verifier in this process: %w: %w", context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}

// Ask implements [Front].
func (p *InProcess) Ask(ctx context.Context, t token.Token) (int, error) {
	_, err := p.verifier.Verify(ctx, t.Raw())
	switch {
	case err == nil:
		return http.StatusOK, nil
	case errors.Is(err, verify.ErrStale):
		return http.StatusServiceUnavailable, nil
	case errors.Is(err, verify.ErrInsufficientScope):
		return http.StatusForbidden, nil
	}
	return http.StatusUnauthorized, nil
}

// Close implements [Front].
func (p *InProcess) Close() error { return p.verifier.Close() }
