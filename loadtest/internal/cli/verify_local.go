package cli

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/loadtest/internal/front"
	"github.com/revocast/revocast/loadtest/internal/issuer"
	"github.com/revocast/revocast/loadtest/internal/local"
	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/mint"
	"github.com/revocast/revocast/loadtest/internal/scenario"
	"github.com/revocast/revocast/loadtest/internal/token"
	"github.com/revocast/revocast/services/stack"
	"github.com/revocast/revocast/sidecar/verify"
)

// localVerifying is a run against a system that lives as long as the run.
type localVerifying struct {
	*verifying
	system *local.System
	minter *mint.Issuer
	bad    []mint.Bad
	// rules are the issuers whose tokens are trusted: the system's own, and the minter.
	rules []string
}

// local measures a system of its own.
func (r *verifying) local(ctx context.Context) (err error) {
	l := localVerifying{verifying: r}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the programs beside this one: %w", err)
	}
	r.note("starting the local system")
	if err := r.pins.Servers(func() (err error) {
		l.system, err = local.Start(ctx, local.Config{Bin: filepath.Dir(self)})
		return err
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.system.Stop()) }()
	if l.minter, err = mint.New(r.Alg, stack.Audience); err != nil {
		return err
	}
	if l.bad, err = l.minter.Bad(); err != nil {
		return err
	}
	keys := l.path("minted.json")
	if err := l.minter.WriteKeys(keys); err != nil {
		return err
	}
	l.rules = []string{"issuer=" + l.system.Issuer().URL() + ",audience=" + stack.Audience, l.minter.Trust(keys)}
	r.begin("a local system, on this machine", scenario.Tokens{})
	for _, kind := range r.kinds() {
		if err := l.measure(ctx, kind); err != nil && ctx.Err() == nil {
			return err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return r.end(ctx)
}

func (l *localVerifying) path(name string) string { return filepath.Join(string(l.system.Dir()), name) }

// measure asks one front at every rate. It has a server of its own, so that nothing is
// left in it of those before.
func (l *localVerifying) measure(ctx context.Context, kind front.Kind) (err error) {
	var ends ends
	defer func() { err = errors.Join(err, ends.run()) }()
	a, beside, err := l.open(ctx, kind, &ends)
	if err != nil {
		return err
	}
	for _, at := range l.Rate {
		if err := l.one(ctx, a, at); err != nil || ctx.Err() != nil {
			return err
		}
		if beside.Front == nil {
			continue
		}
		if err := l.reference(ctx, beside, at); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// ends are what is to be done in the end, the last first.
type ends []func() error

func (e *ends) add(f func() error) { *e = append(*e, f) }

func (e *ends) run() error {
	var errs []error
	for n := range *e {
		errs = append(errs, (*e)[len(*e)-1-n]())
	}
	return errors.Join(errs...)
}

// background runs something until the end.
func (e *ends) background(ctx context.Context, run func(ctx context.Context) error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	var err error
	running.Go(func() { err = run(ctx) })
	e.add(func() error {
		stop()
		running.Wait()
		return err
	})
}

// open starts what a front needs. Beside is what to compare with, if there is anything.
func (l *localVerifying) open(ctx context.Context, kind front.Kind, ends *ends) (a, beside asked, err error) {
	a.name = string(kind)
	if kind == front.Library {
		a.Front, err = l.library(ctx, ends)
		return a, asked{Front: nobody{l.Expect}, name: "sender alone", reference: true}, err
	}
	var flags []string
	for _, rule := range l.rules {
		flags = append(flags, "--trust", rule)
	}
	base, grpc := "", ""
	if n := len(l.system.Sidecars()) + 1; l.Unix {
		a.name += " over Unix"
		base, grpc = "unix:"+l.path(fmt.Sprintf("h%d", n)), "unix:"+l.path(fmt.Sprintf("g%d", n))
		flags = append(flags, "--listen", base, "--grpc-listen", grpc)
	}
	cfg := front.Config{Kind: kind, Connections: l.Connections, Timeout: l.Timeout}
	switch kind {
	case front.Introspection:
		cfg.ClientID, cfg.ClientSecret = "loadtest", rand.Text()
		clients := l.path("introspection.yaml")
		if err := writeClients(clients, cfg.ClientID, cfg.ClientSecret); err != nil {
			return a, beside, err
		}
		flags = append(flags, "--introspection-clients", clients)
	case front.Proxy:
		url, err := l.upstream(ctx, ends)
		if err != nil {
			return a, beside, err
		}
		flags = append(flags, "--upstream", url)
		beside = asked{name: "application alone", reference: true}
		if beside.Front, err = front.Open(front.Config{Kind: front.Proxy, URL: url, Connections: l.Connections, Timeout: l.Timeout}); err != nil {
			return a, beside, err
		}
		ends.add(beside.Close)
	case front.ForwardAuth, front.ExtAuthz, front.Library:
	}
	var sidecar *stack.Server
	if err := l.pins.Servers(func() (err error) {
		sidecar, err = l.system.AddSidecar(ctx, flags...)
		return err
	}); err != nil {
		return a, beside, err
	}
	ends.add(func() error {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		return sidecar.Stop(stopping)
	})
	if !l.Unix {
		base, grpc = sidecar.URL(), sidecar.GRPCAddress()
	}
	cfg.URL = kind.At(base)
	if kind == front.ExtAuthz {
		cfg.URL = grpc
	}
	a.pid = sidecar.PID()
	if a.Front, err = front.Open(cfg); err == nil {
		ends.add(a.Close)
	}
	return a, beside, err
}

const stopWithin = 30 * time.Second

// library is a verifier in this process, as an application has one.
func (l *localVerifying) library(ctx context.Context, ends *ends) (*front.InProcess, error) {
	options := []verify.Option{
		verify.Feed(l.system.BrokerURL(), l.system.Dir().Credentials("sidecar")), verify.RealmRoot(l.system.Dir().RealmRoot()),
		verify.Realm(stack.Realm), verify.Name("loadtest"), verify.DataDir(l.path("library")),
	}
	for _, rule := range l.rules {
		options = append(options, verify.Trust(rule))
	}
	v, err := front.NewInProcess(options...)
	if err != nil {
		return nil, err
	}
	ends.add(v.Close)
	ends.background(ctx, v.Run)
	starting, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	return v, v.WaitReady(starting)
}

const startWithin = time.Minute

// upstream is the application behind the proxy, in this process.
func (l *localVerifying) upstream(ctx context.Context, ends *ends) (url string, err error) {
	network, address := "tcp", "127.0.0.1:0"
	if l.Unix {
		network, address = "unix", l.path("u"+strconv.Itoa(len(l.system.Sidecars())))
	}
	listener, err := new(net.ListenConfig).Listen(ctx, network, address)
	if err != nil {
		return "", fmt.Errorf("listening for the proxy: %w", err)
	}
	u := front.NewUpstream(listener)
	ends.background(ctx, u.Run)
	return u.URL(), nil
}

// nobody is asked nothing: what a request to it takes is the sender's own.
type nobody struct{ pass int }

// Ask implements [front.Front].
func (n nobody) Ask(context.Context, token.Token) (int, error) { return n.pass, nil }

// Close implements [front.Front].
func (nobody) Close() error { return nil }

// writeClients lets one client ask for introspection.
func writeClients(path, id, secret string) error {
	sum := sha256.Sum256([]byte(secret))
	text := fmt.Sprintf("- id: %s\n  secret_hash: \"sha256:%s\"\n", id, base64.RawURLEncoding.EncodeToString(sum[:]))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the clients of introspection: %w", err)
	}
	return nil
}

// referenceAtMost is how long what is only compared with is measured.
const referenceAtMost = 3 * time.Second

// reference sends good tokens to what judges none.
func (l *localVerifying) reference(ctx context.Context, a asked, at rate) error {
	tokens, err := l.minter.Mint(ctx, 1, time.Hour)
	if err != nil {
		return err
	}
	deck, err := scenario.NewDeck(scenario.Shares{}, 0, 1, 0, 0, l.Seed)
	if err != nil {
		return err
	}
	v := l.of(a, at, min(l.Duration, referenceAtMost))
	v.WarmUp = min(v.WarmUp, time.Second)
	v.Deck, v.Tokens = deck, scenario.Tokens{scenario.Good: minted(scenario.Good, tokens)}
	return l.send(ctx, a, v, nil)
}

const (
	// revokers is how many revocations are under way at once.
	revokers = 32
	// settleWithin is how long the last of them may take to be enforced.
	settleWithin = 30 * time.Second
	// coldAtMost is how many tokens a case can have that nobody has seen: they take a
	// kilobyte each. Where it is not known how many are needed there are less, and no more
	// than for a rate that is unlikely.
	coldAtMost    = 2_000_000
	coldOfUnknown = 100_000
	unlikely      = 200_000
	// outlives is how long tokens are good for beyond the load, and stays how long a
	// revocation stands beyond its token.
	outlives = 10 * time.Minute
	stays    = 2 * time.Minute
)

// one measures a front at one rate, with tokens of its own.
func (l *localVerifying) one(ctx context.Context, a asked, at rate) error {
	v := l.of(a, at, l.Duration)
	shares := l.shares()
	revoked := 0
	if shares.Revoked > 0 {
		revoked = max(1, int(float64(l.Tokens)*shares.Revoked))
	}
	var err error
	if v.Deck, err = scenario.NewDeck(shares, l.Zipf, l.Tokens, revoked, len(l.bad), l.Seed); err != nil {
		return err
	}
	cold := v.Deck.Colds(scenario.Arrivals(float64(at), l.WarmUp+l.Duration))
	if at == atMost {
		cold = min(coldOfUnknown, v.Deck.Colds(scenario.Arrivals(unlikely, l.WarmUp+l.Duration)))
	}
	l.note("minting %d tokens", l.Tokens+revoked+cold)
	tokens, err := l.minter.Mint(ctx, l.Tokens+revoked+cold, l.WarmUp+l.Duration+l.Timeout+outlives)
	if err != nil {
		return err
	}
	v.Tokens = scenario.Tokens{
		scenario.Good: minted(scenario.Good, tokens[:l.Tokens]), scenario.Revoked: minted(scenario.Revoked, tokens[l.Tokens:][:revoked]),
		scenario.Cold: minted(scenario.Cold, tokens[l.Tokens+revoked:]), scenario.Garbage: garbage(l.bad),
	}
	if err := l.settle(ctx, v); err != nil {
		return err
	}
	return l.send(ctx, a, v, l.revoking(v, a.name+", "+at.String()))
}

func minted(class scenario.Class, tokens []mint.Minted) []scenario.Known {
	all := make([]scenario.Known, len(tokens))
	for n, t := range tokens {
		all[n] = scenario.Known{Token: t.Token, Class: class, ID: t.ID, Until: t.Expires}
		if class == scenario.Good {
			all[n].Fate = new(scenario.Fate)
		}
	}
	return all
}

// settle revokes what is to be revoked beforehand, and sees to it that everything is as
// the load takes it to be.
func (l *localVerifying) settle(ctx context.Context, v scenario.Verify) error {
	revoking, during := errgroup.WithContext(ctx)
	revoking.SetLimit(revokers)
	for _, k := range v.Tokens[scenario.Revoked] {
		revoking.Go(func() error { return l.revoke(during, k) })
	}
	if err := revoking.Wait(); err != nil {
		return err
	}
	settling, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	if err := v.Settle(settling); err != nil {
		return err
	}
	return v.Probe(ctx)
}

// revoke revokes one token of the minter's.
func (l *localVerifying) revoke(ctx context.Context, k scenario.Known) error {
	_, err := l.system.API().Revoke(ctx, issuer.Revocation{
		Kind: "token", ID: k.ID, Issuer: mint.Name, ExpiresAt: k.Until.Add(stays), Reason: "loadtest",
	})
	if _, refused := errors.AsType[*issuer.RefusedError](err); refused {
		return fmt.Errorf("token %s: %w", k.ID, err)
	}
	return err
}

// revoking revokes good tokens while the case is measured; nil if none is to be.
func (l *localVerifying) revoking(v scenario.Verify, row string) func(ctx context.Context, began time.Time) {
	if l.RevokeRate == 0 {
		return nil
	}
	victims := scenario.Shuffled(v.Tokens[scenario.Good], l.Seed)
	return func(ctx context.Context, began time.Time) {
		recorder := measure.New(began)
		scenario.Revoke{
			Victims: victims, Do: l.revoke, Rate: l.RevokeRate, Duration: v.Duration, Workers: revokers, Seed: l.Seed,
		}.Run(ctx, began, recorder)
		l.keepRevocations(row, recorder.Summary(), time.Since(began))
	}
}
