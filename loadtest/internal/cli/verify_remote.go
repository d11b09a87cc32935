package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/revocast/revocast/loadtest/internal/front"
	"github.com/revocast/revocast/loadtest/internal/mint"
	"github.com/revocast/revocast/loadtest/internal/scenario"
	"github.com/revocast/revocast/loadtest/internal/token"
)

func processors() int { return runtime.GOMAXPROCS(0) }

// remote measures a front that runs already.
func (r *verifying) remote(ctx context.Context) (err error) {
	secret, err := r.secret()
	if err != nil {
		return err
	}
	a := asked{name: string(r.kind())}
	if a.Front, err = front.Open(front.Config{
		Kind: r.kind(), URL: r.URL, Owned: r.Owned, Connections: r.Connections, Timeout: r.Timeout, ClientID: r.ClientID, ClientSecret: secret,
	}); err != nil {
		return usage(err)
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	tokens, err := r.givenTokens()
	if err != nil {
		return err
	}
	deck, err := scenario.NewDeck(r.shares(), r.Zipf, len(tokens[scenario.Good]), len(tokens[scenario.Revoked]), len(tokens[scenario.Garbage]), r.Seed)
	if err != nil {
		return err
	}
	r.begin(r.URL, tokens)
	for n, at := range r.Rate {
		v := r.of(a, at, r.Duration)
		v.Name, v.Deck, v.Tokens = r.URL, deck, tokens
		if n == 0 {
			if err := v.Probe(ctx); err != nil {
				return err
			}
		}
		if err := r.send(ctx, a, v, nil); err != nil {
			return err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return r.end(ctx)
}

// maxSecret bounds the file of a secret in bytes.
const maxSecret = 4 << 10

func (r *verifying) secret() (string, error) {
	if r.ClientSecretFile == "" {
		return "", nil
	}
	f, err := os.Open(r.ClientSecretFile)
	if err != nil {
		return "", fmt.Errorf("reading the client's secret: %w", err)
	}
	defer func() { _ = f.Close() }() // opened for reading only
	text, err := io.ReadAll(io.LimitReader(f, maxSecret))
	text = bytes.TrimSpace(text)
	if err == nil && len(text) == 0 {
		err = errors.New("the file is empty")
	}
	if err != nil {
		return "", fmt.Errorf("reading the client's secret: %w", err)
	}
	return string(text), nil
}

// spoiled is how many of the good tokens garbage is made of.
const spoiled = 8

// givenTokens are those of the files, and garbage made of them.
func (r *verifying) givenTokens() (all scenario.Tokens, err error) {
	good, err := r.readTokens(r.TokenFile)
	if err != nil {
		return all, err
	}
	all[scenario.Good] = known(scenario.Good, good)
	if r.RevokedTokenFile != "" {
		revoked, err := r.readTokens(r.RevokedTokenFile)
		if err != nil {
			return all, err
		}
		all[scenario.Revoked] = known(scenario.Revoked, revoked)
	}
	if r.shares().Garbage > 0 {
		for _, t := range good[:min(len(good), spoiled)] {
			all[scenario.Garbage] = append(all[scenario.Garbage], garbage(mint.Spoil(t))...)
		}
	}
	return all, nil
}

func known(class scenario.Class, tokens []token.Token) []scenario.Known {
	all := make([]scenario.Known, len(tokens))
	for n, t := range tokens {
		all[n] = scenario.Known{Token: t, Class: class}
	}
	return all
}

func garbage(bad []mint.Bad) []scenario.Known {
	all := make([]scenario.Known, len(bad))
	for n, b := range bad {
		all[n] = scenario.Known{Token: b.Token, Class: scenario.Garbage, What: b.What}
	}
	return all
}

// readTokens reads a file, or standard input if there is none.
func (r *verifying) readTokens(path string) ([]token.Token, error) {
	if path != "" {
		f, err := os.Open(path) //nolint:gosec // named on the command line
		if err != nil {
			return nil, fmt.Errorf("reading tokens: %w", err)
		}
		defer func() { _ = f.Close() }() // opened for reading only
		return token.Read(f)
	}
	if isTerminal(r.In) {
		r.note("paste tokens, one a line, then Ctrl-D")
	}
	return token.Read(r.In)
}
