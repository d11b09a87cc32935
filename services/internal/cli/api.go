package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	defaultIssuerURL       = "http://127.0.0.1:8080"
	defaultSidecarURL      = "http://127.0.0.1:9470"
	defaultSidecarAdminURL = "http://127.0.0.1:9472"
)

const (
	maxAnswer   = 8 << 20
	callTimeout = 30 * time.Second
)

// api is one HTTP listener of an issuer or a sidecar.
type api struct {
	base   string
	bearer string
	client *http.Client
}

// answer is a whole HTTP answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// newAPI checks where credentials are about to go. bearer, if not empty, goes along
// with every request.
func newAPI(base, bearer string, allowPlain bool) (*api, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, usage(fmt.Errorf("%q is not a base URL such as %s", base, defaultIssuerURL))
	case u.Scheme == "http" && !allowPlain && !isLoopback(u.Hostname()):
		return nil, usage(fmt.Errorf("%s would get credentials over plain HTTP; use https, or --allow-plain-http where the network is trusted", base))
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, usage(fmt.Errorf("%q: want http or https", base))
	}
	// Going on to where a redirect points would take the credentials along.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
	}
	return &api{
		base: strings.TrimSuffix(base, "/"), bearer: bearer,
		client: &http.Client{Timeout: callTimeout, CheckRedirect: stay, Transport: transport},
	}, nil
}

// secure trusts the authority in a file instead of the system's, and proves this side
// by a certificate; what is not named is left as it is.
func (a *api) secure(ca, cert, key string) error {
	if (cert == "") != (key == "") {
		return usage(errors.New("--admin-cert and --admin-key go together"))
	}
	if ca == "" && cert == "" {
		return nil
	}
	transport, ok := a.client.Transport.(*http.Transport)
	if !ok || !strings.HasPrefix(a.base, "https://") {
		return usage(fmt.Errorf("%s is not https; certificates are for that alone", a.base))
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if ca != "" {
		text, err := os.ReadFile(ca) //nolint:gosec // the caller names the file
		if err != nil {
			return fmt.Errorf("reading the authority: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("reading the authority: %s holds no certificate", ca)
		}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return fmt.Errorf("reading the client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	transport.TLSClientConfig = config
	return nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// call sends a request without a body, and sendJSON and sendForm one with.
func (a *api) call(ctx context.Context, method, path string) (answer, error) {
	return a.do(ctx, method, path, "", http.NoBody)
}

func (a *api) sendJSON(ctx context.Context, path string, body any) (answer, error) {
	return a.json(ctx, http.MethodPost, path, body)
}

// putJSON is sendJSON for what replaces something.
func (a *api) putJSON(ctx context.Context, path string, body any) (answer, error) {
	return a.json(ctx, http.MethodPut, path, body)
}

func (a *api) json(ctx context.Context, method, path string, body any) (answer, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return answer{}, fmt.Errorf("encoding the request: %w", err)
	}
	return a.do(ctx, method, path, "application/json", bytes.NewReader(text))
}

func (a *api) sendForm(ctx context.Context, path string, form url.Values) (answer, error) {
	return a.do(ctx, http.MethodPost, path, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
}

func (a *api) do(ctx context.Context, method, path, contentType string, body io.Reader) (answer, error) {
	resp, err := a.send(ctx, a.client, method, path, contentType, body)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer{}, fmt.Errorf("reading the answer of %s: %w", a.base, err)
	case len(text) > maxAnswer:
		return answer{}, fmt.Errorf("reading the answer of %s: larger than %d bytes", a.base, maxAnswer)
	}
	return answer{resp.StatusCode, resp.Header, text}, nil
}

// lines sends a request without a body and gives the lines of the answer one by one, as
// they come, however long that takes. Any status but 200 is a [*refusal].
func (a *api) lines(ctx context.Context, method, path string, line func([]byte) error) error {
	patient := *a.client
	patient.Timeout = 0
	resp, err := a.send(ctx, &patient, method, path, "", http.NoBody)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // only to say more
		return answer{resp.StatusCode, resp.Header, text}.refusal()
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		if err := line(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", a.base, err)
	}
	return nil
}

func (a *api) send(ctx context.Context, client *http.Client, method, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", a.base, err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", "application/json")
	if a.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+a.bearer)
	}
	return client.Do(req) // its errors name method and URL
}

// refusal is an answer that says no.
type refusal struct {
	Status int
	// Code is an OAuth error code (RFC 6749 section 5.2, RFC 6750 section 3.1), if
	// the answer had one.
	Code string
	// Detail is meant for people.
	Detail     string
	RetryAfter string
}

func (r *refusal) Error() string {
	parts := []string{fmt.Sprintf("refused with %d %s", r.Status, http.StatusText(r.Status)), r.Code, r.Detail}
	if r.RetryAfter != "" {
		parts = append(parts, "retry after "+r.RetryAfter+" s")
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": ")
}

// into decodes an answer with one of the wanted statuses into v, unless that is nil;
// any other is a [*refusal].
func (a answer) into(v any, wanted int) error {
	if a.status != wanted {
		return a.refusal()
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}

// refusal reads an OAuth error (RFC 6749 section 5.2) or problem details (RFC 9457).
func (a answer) refusal() error {
	var says struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Title       string `json:"title"`
		Detail      string `json:"detail"`
	}
	r := &refusal{Status: a.status, RetryAfter: a.header.Get("Retry-After")}
	if json.Unmarshal(a.body, &says) == nil {
		r.Code = says.Error
		r.Detail = cmp.Or(says.Description, says.Detail, says.Title)
	}
	return r
}

func isRefusal(err error, status int, code string) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.Status == status && r.Code == code
}
