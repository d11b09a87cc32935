package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/sidecar/internal/front/proxy"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

func TestParseUpstream(t *testing.T) {
	for _, good := range []string{
		"http://127.0.0.1:8080", "http://app", "http://app/", "https://app.example", "https://app.example:8443", "h2c://127.0.0.1:8080", "http://[::1]:8080", "unix:/run/app.sock",
	} {
		if u, err := proxy.ParseUpstream(good); err != nil || u == (proxy.Upstream{}) {
			t.Errorf("%s: %+v, %v", good, u, err)
		}
	}
	for bad, want := range map[string]string{
		"":                                   "a host",
		"127.0.0.1:8080":                     "want http://",
		"app":                                "a host",
		"ftp://app":                          "a host",
		"http://":                            "a host",
		"http://:8080":                       "a host",
		"http://app/base":                    "nothing behind the port",
		"http://app?x=y":                     "nothing behind the port",
		"http://app?":                        "nothing behind the port",
		"http://app#x":                       "nothing behind the port",
		"http://u:hush@app":                  "a user or password",
		"http://u:hush@app:port":             "want http://",
		"unix:":                              "a path",
		"unix:/" + string(make([]byte, 200)): "a path",
	} {
		u, err := proxy.ParseUpstream(bad)
		if err == nil || u != (proxy.Upstream{}) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%.30q: %+v, %v, want %q", bad, u, err, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	check := verifytest.New(t, gate.DefaultPolicy()).Checker(t)
	upstream, err := proxy.ParseUpstream("https://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]proxy.Config{
		"nowhere":      {AnswerWithin: time.Second},
		"no time":      {Upstream: upstream},
		"no authority": {Upstream: upstream, AnswerWithin: time.Second, CA: "proxy.go"},
		"no file":      {Upstream: upstream, AnswerWithin: time.Second, CA: "/nowhere"},
	} {
		metrics, err := proxy.NewMetrics(prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := proxy.New(cfg, check, metrics, zap.NewNop()); err == nil {
			t.Errorf("%s: it passes", name)
		}
	}
}
