package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
)

// maxDocument bounds what is read: a hundred RSA keys take about 80 kB.
const maxDocument = 256 << 10

// source is where a provider's keys are read from.
type source struct {
	provider Provider
	client   *http.Client
}

func newSource(p Provider) source {
	return source{provider: p, client: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConns: 2, IdleConnTimeout: 30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
		// Whoever moves says so in the metadata.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (s source) read(ctx context.Context) (map[events.KeyID]Key, []error, error) {
	text, err := s.text(ctx)
	if err != nil {
		return nil, nil, err
	}
	keys, refused, err := parseSet(text)
	if err == nil && len(keys) == 0 {
		err = errors.New("a key set without a usable key")
	}
	if err != nil {
		return nil, refused, fmt.Errorf("reading the keys: %w", err)
	}
	return keys, refused, nil
}

func (s source) text(ctx context.Context) ([]byte, error) {
	address := s.provider.JWKS
	switch {
	case address == "":
		var err error
		if address, err = s.discover(ctx); err != nil {
			return nil, err
		}
	case !strings.Contains(address, "://"):
		return readFile(address)
	}
	return s.get(ctx, address)
}

// discover asks for the provider's metadata (OpenID Connect Discovery 1.0 section 4).
func (s source) discover(ctx context.Context) (string, error) {
	address := strings.TrimSuffix(string(s.provider.Issuer), "/") + "/.well-known/openid-configuration"
	text, err := s.get(ctx, address)
	if err != nil {
		return "", err
	}
	var metadata struct {
		Issuer events.Issuer `json:"issuer"`
		JWKS   string        `json:"jwks_uri"`
	}
	if err := json.Unmarshal(text, &metadata); err != nil {
		return "", fmt.Errorf("reading %s: not the JSON object that belongs there", address)
	}
	if metadata.Issuer != s.provider.Issuer { // section 4.3: exactly
		return "", fmt.Errorf("reading %s: it names another issuer", address)
	}
	u, err := parseURL(metadata.JWKS)
	if err != nil {
		return "", fmt.Errorf("reading %s: jwks_uri: %w", address, err)
	}
	if u.Scheme != "https" && strings.HasPrefix(address, "https:") {
		return "", fmt.Errorf("reading %s: jwks_uri leads from https to http", address)
	}
	return metadata.JWKS, nil
}

func (s source) get(ctx context.Context, address string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", address, err)
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, err // names method and address itself
	}
	defer func() { _ = answer.Body.Close() }() // it was read, or is of no use
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching %s: status %d", address, answer.StatusCode)
	}
	text, err := readBounded(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", address, err)
	}
	return text, nil
}

func readFile(path string) ([]byte, error) {
	// To open a pipe would wait for its other end, for as long as that takes.
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("reading the keys in %s: not a regular file", path)
	}
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	defer func() { _ = f.Close() }() // opened for reading only
	text, err := readBounded(f)
	if err != nil {
		return nil, fmt.Errorf("reading the keys in %s: %w", path, err)
	}
	return text, nil
}

func readBounded(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxDocument {
		return nil, fmt.Errorf("longer than %d bytes", maxDocument)
	}
	return text, nil
}
