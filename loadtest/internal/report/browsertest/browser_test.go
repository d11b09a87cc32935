// Package browsertest opens the page of results in a real Chromium.
package browsertest

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// keep is where pictures are left for people to look at.
var keep = flag.String("keep", "", "directory for screenshots and the printed page; it must be there")

// browser is a window of a Chromium of its own, and what it complained about or asked
// the network for.
type browser struct {
	*testing.T
	ctx context.Context //nolint:containedctx // the window is a context

	mu       sync.Mutex
	faults   []string
	requests []string
}

// open starts a browser. What the window draws as text is recorded in its drawn.
func open(t *testing.T) *browser {
	t.Helper()
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Skip("no chromium here: scripts/install-chromium.sh installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-background-networking", true),
	)
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it refuses to run as root otherwise
	}
	within, stop := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(stop)
	allocated, end := chromedp.NewExecAllocator(within, options...)
	t.Cleanup(end)
	ctx, closeWindow := chromedp.NewContext(allocated)
	t.Cleanup(closeWindow)
	b := &browser{T: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	b.call(chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
		window.drawn = new Set();
		const fill = CanvasRenderingContext2D.prototype.fillText;
		CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) { window.drawn.add(text); return fill.call(this, text, ...rest); };
	`}))
	return b
}

func (b *browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.faults = append(b.faults, fmt.Sprintf("exception: %s", e.ExceptionDetails.Text))
		if e.ExceptionDetails.Exception != nil {
			b.faults = append(b.faults, e.ExceptionDetails.Exception.Description)
		}
	case *runtime.EventConsoleAPICalled:
		b.faults = append(b.faults, fmt.Sprintf("console.%s", e.Type))
	case *log.EventEntryAdded:
		b.faults = append(b.faults, fmt.Sprintf("%s: %s", e.Entry.Source, e.Entry.Text))
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	}
}

// call fails the test if a command failed.
func (b *browser) call(_ any, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.Fatal(err)
	}
}

// load opens a file.
func (b *browser) load(path string) {
	b.Helper()
	b.do(chromedp.Navigate((&url.URL{Scheme: "file", Path: path}).String()))
}

// evaluate gives what a script's expression is.
func evaluate[T any](b *browser, expression string) T {
	b.Helper()
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.Fatalf("%s: %v", expression, err)
	}
	return got
}

// media makes the page believe that it is looked at like that, and waits until it has
// been drawn so.
func (b *browser) media(kind, scheme string) {
	b.Helper()
	b.call(chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Media: kind, Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}))
	evaluate[bool](b, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
}

// picture leaves the whole page as an image.
func (b *browser) picture(name string) {
	b.Helper()
	if *keep == "" {
		return
	}
	image, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.Fatal(err)
	}
	b.leave(name+".png", image)
}

func (b *browser) leave(name string, content []byte) {
	b.Helper()
	if *keep == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(*keep, name), content, 0o600); err != nil {
		b.Fatal(err)
	}
}

// quiet fails the test if the page complained, or asked for more than the files given.
func (b *browser) quiet(files ...string) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, fault := range b.faults {
		b.Errorf("the page complained: %s", fault)
	}
	for _, request := range b.requests {
		if strings.HasPrefix(request, "data:") {
			continue
		}
		asked, err := url.Parse(request)
		if err != nil || asked.Scheme != "file" || len(files) == 0 || asked.Path != files[0] {
			b.Errorf("the page asked for %s", request)
		}
	}
}
