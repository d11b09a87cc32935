// Package risk asks an operator's own service whether a refresh should need a
// credential: one POST of JSON to one URL, one word back.
//
//	→ {"subject","session_id","client_id","device_id"?,"session_device_id"?,"address"?,
//	   "network_changed","auth_time","last_refresh_at"}        times as RFC 3339
//	← 200 application/json {"verdict":"allow"} or {"verdict":"step-up"}
//
// Invariants:
//
//   - No request holds a credential, or anything a credential could be made from.
//   - Only the two words count, said exactly so, in time and with status 200. All
//     else is a failure, and the configuration says what a failure means.
//   - A service that hangs delays a refresh by the timeout and no longer, and holds a
//     bounded number of connections.
package risk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	strict "github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/services/internal/issue"
)

const (
	// maxAnswer bounds an answer in bytes.
	maxAnswer = 1024
	// maxConnections bounds what the service is asked at a time.
	maxConnections = 64
)

// The two words, and what else is counted.
const (
	allow  = "allow"
	stepUp = "step-up"
	failed = "failed"
)

// Config is one service.
type Config struct {
	// URL is where it listens: https, or plain http on loopback.
	URL string
	// Timeout is how long it may take; more than 0.
	Timeout time.Duration
	// Failure is the verdict where it gives none.
	Failure issue.RiskVerdict
}

// Hook is an [issue.Risk]. It is safe for concurrent use.
type Hook struct {
	cfg      Config
	client   *http.Client
	log      *zap.Logger
	verdicts *prometheus.CounterVec
}

// New makes a hook; it connects when it is first asked.
func New(cfg Config, log *zap.Logger, metrics prometheus.Registerer) (*Hook, error) {
	if err := CheckURL(cfg.URL); err != nil {
		return nil, err
	}
	if cfg.Timeout <= 0 {
		return nil, errors.New("the risk hook has no timeout")
	}
	h := &Hook{
		cfg: cfg, log: log,
		client: &http.Client{
			Transport: &http.Transport{
				MaxConnsPerHost: maxConnections, MaxIdleConnsPerHost: maxConnections, IdleConnTimeout: time.Minute,
				MaxResponseHeaderBytes: 16 << 10, ForceAttemptHTTP2: true,
			},
			// What is asked is nobody else's business.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_issuer_risk_verdicts_total",
			Help: "Answers of the risk hook: allow, step-up, or failed, for which the configuration stands in.",
		}, []string{"verdict"}),
	}
	for _, v := range []string{allow, stepUp, failed} {
		h.verdicts.WithLabelValues(v)
	}
	if err := metrics.Register(h.verdicts); err != nil {
		return nil, fmt.Errorf("registering risk metrics: %w", err)
	}
	return h, nil
}

// Close gives idle connections back.
func (h *Hook) Close() { h.client.CloseIdleConnections() }

// CheckURL says what is wrong with a URL to ask.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return errors.New("want an absolute URL without user and fragment")
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	if u.Scheme != "https" && (u.Scheme != "http" || !ip.IsLoopback() && u.Hostname() != "localhost") {
		return errors.New("want https, or http on loopback")
	}
	return nil
}

// Judge implements [issue.Risk]. The only error is that the caller has given up.
func (h *Hook) Judge(ctx context.Context, r issue.RiskRequest) (issue.RiskVerdict, error) {
	word, err := h.ask(ctx, r)
	if ctx.Err() != nil {
		return issue.RiskStepUp, ctx.Err()
	}
	if err != nil {
		h.verdicts.WithLabelValues(failed).Inc()
		h.log.Warn("no verdict from the risk hook", zap.Error(err))
		return h.cfg.Failure, nil
	}
	h.verdicts.WithLabelValues(word).Inc()
	if word == allow {
		return issue.RiskAllow, nil
	}
	return issue.RiskStepUp, nil
}

type request struct {
	Subject         string     `json:"subject"`
	Session         string     `json:"session_id"`
	Client          string     `json:"client_id"`
	DeviceID        string     `json:"device_id,omitempty"`
	SessionDeviceID string     `json:"session_device_id,omitempty"`
	Address         netip.Addr `json:"address,omitzero"`
	NetworkChanged  bool       `json:"network_changed"`
	AuthTime        time.Time  `json:"auth_time"`
	LastRefreshAt   time.Time  `json:"last_refresh_at"`
}

// ask gives one of the two words.
func (h *Hook) ask(ctx context.Context, r issue.RiskRequest) (string, error) {
	body, err := json.Marshal(request{
		Subject: string(r.Subject), Session: string(r.Session), Client: string(r.Client),
		DeviceID: r.DeviceID, SessionDeviceID: r.SessionDeviceID, Address: r.Address,
		NetworkChanged: r.NetworkChanged, AuthTime: r.AuthTime.UTC(), LastRefreshAt: r.LastRefresh.UTC(),
	})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Timeout)
	defer cancel()
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, h.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	post.Header.Set("Content-Type", "application/json")
	post.Header.Set("Accept", "application/json")
	answer, err := h.client.Do(post)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }() // it was read, or is of no use
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d", answer.StatusCode)
	}
	if kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return "", errors.New("the answer is not JSON")
	}
	return read(answer.Body)
}

func read(r io.Reader) (string, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err != nil {
		return "", err
	}
	if len(body) > maxAnswer {
		return "", fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	var a struct {
		Verdict string `json:"verdict"`
	}
	if err := strict.Unmarshal(body, &a, strict.RejectUnknownMembers(true)); err != nil {
		return "", errors.New("the answer is not the JSON object that belongs here")
	}
	if a.Verdict != allow && a.Verdict != stepUp {
		return "", errors.New("the verdict is neither allow nor step-up")
	}
	return a.Verdict, nil
}
