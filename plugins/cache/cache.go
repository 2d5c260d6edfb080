// Package cache answers a request that has been asked before with the answer
// that it got then. Two requests are the same if nothing in them could make a
// difference to the answer; there is no likeness here, only sameness.
//
// Only answers that are whole and good are kept. A stream is kept too, once it
// has ended well, and comes back as a stream. Place the stage behind
// authentication: the tenant is part of what makes requests the same.
package cache

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/lru"
	"github.com/headrace/headrace/pipeline/quiet"
)

//go:embed cache.go
var source string

// Plugin describes cache to a registry.
var Plugin = config.Define[pipeline.Handler]("cache", Config{
	Max:      64 << 20,
	TTL:      10 * time.Minute,
	MaxTTL:   24 * time.Hour,
	MaxEntry: 1 << 20,
	Ops:      cacheable,
}, source)

// Config answers repeated requests with the answer that they got before.
type Config struct {
	// Store keeps the answers. Without one the stage keeps them in memory of
	// its own, which a changed setting empties.
	Store config.Ref[pipeline.CacheStore] `yaml:"store"`
	// Max is how much memory the stage takes for answers when it has no store.
	Max config.Size `yaml:"max" check:"min=64KiB"`
	// TTL is how long an answer may be used again.
	TTL time.Duration `yaml:"ttl" check:"min=1s"`
	// MaxTTL bounds what a client may ask for instead, with "cache": {"ttl": 3600}.
	MaxTTL time.Duration `yaml:"max_ttl" check:"min=1s"`
	// MaxEntry is the largest answer worth keeping. Larger ones pass through.
	MaxEntry config.Size `yaml:"max_entry" check:"min=1"`
	// Ops are the operations whose answers are kept.
	Ops []Op `yaml:"ops"`
	// OptIn leaves every request alone but those that say "cache": {"use-cache": true}.
	OptIn bool `yaml:"opt_in"`
	// MaxTemperature leaves requests alone that ask for a higher temperature, or
	// for none: the answer to those is meant to vary. Unset, the temperature
	// makes no difference. Embeddings and rankings have none and are kept.
	MaxTemperature *float64 `yaml:"max_temperature"`
	// Vary are further request headers that can change the answer. OpenAI-Beta,
	// OpenAI-Organization, OpenAI-Project and X-RAG always count.
	Vary []string `yaml:"vary"`
}

// Validate refuses settings that contradict each other.
func (c Config) Validate() error {
	if len(c.Ops) == 0 {
		return errors.New("ops is empty, so that nothing would be kept; leave it out to keep all that can be")
	}
	if c.MaxTTL < c.TTL {
		return fmt.Errorf("ttl is %s, and max_ttl %s: raise max_ttl, which bounds it", c.TTL, c.MaxTTL)
	}
	return nil
}

// Build implements config.Builder.
func (c Config) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	h := &handler{
		name: env.Name, ttl: c.TTL, maxTTL: c.MaxTTL, max: int(c.MaxEntry), optIn: c.OptIn,
		maxTemperature: c.MaxTemperature, vary: append(vary[:len(vary):len(vary)], c.Vary...),
		log: quiet.New(env.Log),
	}
	for _, op := range c.Ops {
		h.ops[op.Operation] = true
	}
	if c.Store.IsZero() {
		h.store = own{lru.New(int64(c.Max))}
	} else {
		h.store = c.Store.Get()
	}
	return h, h.counts.register(env.Metrics)
}

type handler struct {
	name           string
	store          pipeline.CacheStore
	ttl, maxTTL    time.Duration
	max            int // bytes of one answer
	ops            [pipeline.OpModels + 1]bool
	optIn          bool
	maxTemperature *float64
	vary           []string
	counts         counts
	log            *quiet.Log
}

// The values of the response header that says where an answer came from.
const (
	header = "X-Headrace-Cache"
	hit    = "hit"
	miss   = "miss"
	bypass = "bypass"
)

var errNotCached = &pipeline.Error{
	Status: fasthttp.StatusGatewayTimeout, Code: "not_cached", Fault: pipeline.CallerFault,
	Err: errors.New("the request allows a cached answer only, and there is none"),
}

// Handle implements pipeline.Handler.
func (h *handler) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	if !h.ops[ex.Op] || ex.Request.Upload != nil || !ex.Request.Header.IsPost() || ex.Skips("cache") {
		return h.pass(ctx, ex, next, control{})
	}
	body, err := ex.Chat()
	if err != nil {
		return err
	}
	l := lookups.Get().(*lookup)
	defer lookups.Put(l)
	c, err := l.control(ex, body)
	if err != nil {
		return err
	}
	if !h.applies(ex, body, c) {
		return h.pass(ctx, ex, next, c)
	}
	key := l.key(h, ex, body, c)
	if !c.noLookup && h.answer(ctx, ex, key, c) {
		h.counts.hit.Inc()
		return nil
	}
	if c.onlyIfCached {
		return errNotCached
	}
	if err := next.Handle(ctx, ex); err != nil {
		return err
	}
	if c.noLookup {
		h.mark(ex, bypass)
	} else {
		h.mark(ex, miss)
	}
	if !c.noStore {
		h.record(ex, key, h.lifetime(c))
	}
	return nil
}

// applies reports whether the answer to the request may be looked up or kept
// at all.
func (h *handler) applies(ex *pipeline.Exchange, body *chat.Request, c control) bool {
	if c.noLookup && c.noStore || h.optIn && !c.use {
		return false
	}
	// A request to store the answer upstream asks for that effect, every time.
	if v, ok := body.Member("store"); ok && string(v) == "true" {
		return false
	}
	// The key knows streams and others; what is neither is for the upstream to refuse.
	if v, ok := body.Member("stream"); ok && string(v) != "true" && string(v) != "false" && string(v) != "null" {
		return false
	}
	return h.maxTemperature == nil || ex.Op == pipeline.OpEmbeddings || ex.Op == pipeline.OpRerank ||
		temperature(body) <= *h.maxTemperature
}

// pass leaves the request to the rest of the chain.
func (h *handler) pass(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain, c control) error {
	if c.onlyIfCached {
		return errNotCached
	}
	err := next.Handle(ctx, ex)
	if err == nil {
		h.mark(ex, bypass)
	}
	return err
}

// mark notes on the answer how the cache took part.
func (h *handler) mark(ex *pipeline.Exchange, how string) {
	ex.Response.Header.Set(header, how)
	if how == miss {
		h.counts.miss.Inc()
	} else {
		h.counts.bypass.Inc()
	}
}
