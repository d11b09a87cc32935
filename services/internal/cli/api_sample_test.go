package cli_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/revocast/revocast/services/internal/cli"
)

// The API answers with what it was told and nothing else, and ends when asked to.
func TestSampleAPI(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	read, write := io.Pipe()
	status := make(chan int, 1)
	go func() {
		status <- cli.Run(ctx, []string{"sample-api", "--listen", "127.0.0.1:0"}, cli.Streams{In: strings.NewReader(""), Out: write, Err: io.Discard}, "v1")
		_ = write.Close() // a pipe's never fails
	}()
	lines := bufio.NewScanner(read)
	if !lines.Scan() {
		t.Fatal("it says nothing")
	}
	_, url, _ := strings.Cut(lines.Text(), "on ")
	url, _, _ = strings.Cut(url, ". ")
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, url+"/orders/5?x=1", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Auth-Subject", "alice")
	r.Header.Set("Authorization", "Bearer secret")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	var who map[string]string
	if err := json.NewDecoder(answer.Body).Decode(&who); err != nil || answer.Body.Close() != nil {
		t.Fatal(err)
	}
	if who["method"] != "PUT" || who["path"] != "/orders/5" || who["subject"] != "alice" || who["session"] != "" {
		t.Errorf("%v", who)
	}
	if !lines.Scan() || !strings.Contains(lines.Text(), `"subject":"alice"`) || strings.Contains(lines.Text(), "secret") {
		t.Errorf("it logs %q", lines.Text())
	}
	stop()
	for lines.Scan() {
		continue
	}
	if got := <-status; got != 0 {
		t.Errorf("exit status %d", got)
	}
}

// It lets everybody in, so it listens for this machine alone.
func TestSampleAPIIsNotForOthers(t *testing.T) {
	for _, address := range []string{":9000", "0.0.0.0:9000", "192.0.2.1:9000", "localhost:9000", "x", "unix:/x"} {
		if got := cli.Run(t.Context(), []string{"sample-api", "--listen", address}, cli.Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}, "v1"); got != 2 {
			t.Errorf("%s: exit status %d", address, got)
		}
	}
}
