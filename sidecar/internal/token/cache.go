package token

import (
	"fmt"
	"hash/maphash"
	"math"
	"strings"
	"unsafe"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count how the cache fares.
type Metrics struct{ hits, misses prometheus.Counter }

// NewMetrics registers the metrics with reg, once a process.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	lookups := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "revocast_sidecar_token_cache_lookups_total",
		Help: "Tokens looked up among those verified before, by result (hit, miss).",
	}, []string{"result"})
	if err := reg.Register(lookups); err != nil {
		return nil, err
	}
	return &Metrics{hits: lookups.WithLabelValues("hit"), misses: lookups.WithLabelValues("miss")}, nil
}

// cache keeps verified tokens, and nothing else: what fails leaves no trace, so
// only who holds many good tokens can push others out, and otter's admission
// policy prefers those in use over those seen once.
//
// The key is a hash of the token's end, seeded at random so that nobody can aim at
// it; the whole token is compared on a hit. The end is the signature's: no two
// tokens that verify have it in common, and of others nothing is kept.
type cache struct {
	seed    maphash.Seed
	tokens  *otter.Cache[uint64, *entry] // nil keeps nothing
	metrics *Metrics
}

type entry struct {
	token    string
	verified *Verified
}

// overhead is what an entry takes besides its texts: itself, otter's node and
// its share of the hash table, rounded up from what TestCacheMemory measures.
const overhead = int64(unsafe.Sizeof(entry{})+unsafe.Sizeof(Verified{})) + 320

func newCache(bytes int64, m *Metrics) (*cache, error) {
	c := &cache{seed: maphash.MakeSeed(), metrics: m}
	if bytes == 0 {
		return c, nil
	}
	tokens, err := otter.New(&otter.Options[uint64, *entry]{
		MaximumWeight: uint64(bytes), //nolint:gosec // Validate refuses negative sizes
		Weigher:       func(_ uint64, e *entry) uint32 { return e.weight() },
		// Maintenance on the caller's goroutine: short, and there is no other
		// that nobody would wait for.
		Executor: func(task func()) { task() },
	})
	if err != nil {
		return nil, fmt.Errorf("making the cache of verified tokens: %w", err)
	}
	c.tokens = tokens
	return c, nil
}

// weight is what e takes in bytes: the token, the payload that most claims are
// parts of, and as much again for claims that had to be copied out of escapes.
func (e *entry) weight() uint32 {
	c := &e.verified.Claims
	texts := int64(c.Audience.Len()+c.Roles.Len()+c.AMR.Len()) * int64(unsafe.Sizeof(""))
	return uint32(min(overhead+int64(len(e.token)+2*e.verified.size)+texts, math.MaxUint32)) //nolint:gosec // bounded
}

// tail is 48 bytes of signature. To hash all of a token would be a tenth of what a
// hit takes.
const tail = 64

func (c *cache) key(token string) uint64 {
	return maphash.String(c.seed, token[max(0, len(token)-tail):])
}

// get gives what put has kept for that very token, or nil.
func (c *cache) get(token string) *Verified {
	if c.tokens != nil {
		if e, ok := c.tokens.GetIfPresent(c.key(token)); ok && e.token == token {
			c.metrics.hits.Inc()
			return e.verified
		}
	}
	c.metrics.misses.Inc()
	return nil
}

// put keeps v. The token is copied: a front's string may be part of a far larger
// one, which the cache would keep alive beyond its bounds.
func (c *cache) put(token string, v *Verified) {
	if c.tokens != nil {
		c.tokens.Set(c.key(token), &entry{strings.Clone(token), v})
	}
}
