package verify

import (
	"context"
	"errors"

	"github.com/revocast/revocast/sidecar/internal/node"
)

// New makes a verifier that keeps its own view, for a program that wants no sidecar. It
// names every fault of the options at once. It connects to nothing and starts nothing:
// until [Verifier.Run] runs, and has caught up, nothing passes. Whoever makes it closes it.
func New(options ...Option) (_ *Verifier, err error) {
	s := defaults()
	for _, set := range options {
		set(s)
	}
	s.validate()
	if err := errors.Join(append(s.faults, s.node.Validate())...); err != nil {
		return nil, err
	}
	n, err := node.New(s.node, s.log, s.metrics)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	metrics, err := NewMetrics(s.metrics)
	if err != nil {
		return nil, err
	}
	v, err := Assemble(Parts{
		Tokens: n.Tokens, Denylist: n.Denylist, Freshness: n, Policy: s.node.Policy, Metrics: metrics, Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	v.node = n
	return v, nil
}

// errAssembled is what the verifiers of [Assemble] say when they are asked to run.
var errAssembled = errors.New("the parts of this verifier are another's to run")

// Run follows the feed and the issuers' keys until ctx ends, and then writes what is not
// on disk yet. It returns nil for an end that was asked for; a broker that is away or
// refuses is tried for ever. Call it once.
func (v *Verifier) Run(ctx context.Context) error {
	if v.node == nil {
		return errAssembled
	}
	return v.node.Run(ctx)
}

// Ready says why the program should not be sent requests; nil if it may be. It may be
// called from anywhere, at any time before Close.
func (v *Verifier) Ready() error {
	if v.node == nil {
		return errAssembled
	}
	return v.node.Unready()
}

// Close closes what New has opened. Call it once, after Run has returned and the last
// token has been judged.
func (v *Verifier) Close() error {
	if v.node == nil {
		return nil
	}
	return v.node.Close()
}
