// Package embedder turns texts into vectors: embedder asks an upstream,
// hash_embedder makes them by itself.
//
// Vectors of an upstream are kept in memory, and a text that several ask for at
// the same time is sent once. Whoever waits leaves when its own context ends;
// the call itself ends when nobody waits any more.
package embedder

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
)

//go:embed embedder.go
var source string

// Component describes embedder to a registry.
var Component = config.Define[pipeline.Embedder]("embedder", Config{
	Encoding: "auto", Batch: 256, Parallel: 4, Questions: 256, Timeout: 30 * time.Second, Cache: 64 << 20,
}, source)

// Config turns texts into vectors by asking an upstream for embeddings.
type Config struct {
	// Provider is asked, if it is one that is asked by itself.
	Provider config.Ref[pipeline.Provider] `yaml:"provider"`
	// Chain is asked in its place: stages as in a route, such as a breaker, or a
	// race between branches that call different providers.
	Chain pipeline.Chain `yaml:"chain"`
	// Model is the upstream's name of the model.
	Model string `yaml:"model" check:"required"`
	// Space names what the vectors can be compared with, which is the model where
	// nothing stands here. A collection takes vectors of one space only: give a model
	// that is called differently now, or by another upstream, the space that it had.
	Space string `yaml:"space" check:"max=200"`
	// Dimensions is the length of vectors to ask for. At 0 it is the model's
	// own. A vector of another length is an error.
	Dimensions int `yaml:"dimensions" check:"min=0,max=16384"`
	// Encoding is base64 to ask for packed vectors, which are half as long on the
	// wire and quicker to read, float for numbers, or auto for packed ones until
	// the upstream refuses to pack them. Either is taken, whatever was asked for.
	Encoding string `yaml:"encoding" check:"enum=auto|float|base64"`
	// QueryPrefix is put in front of questions, for models that want it.
	QueryPrefix string `yaml:"query_prefix"`
	// PassagePrefix is put in front of what is stored, for models that want it.
	PassagePrefix string `yaml:"passage_prefix"`
	// QueryFields are further fields of a request for questions, for models that tell
	// them from passages by such a field: { input_type: search_query } for Cohere's,
	// { task: retrieval.query } for Jina's.
	QueryFields map[string]string `yaml:"query_fields"`
	// PassageFields are the same for what is stored, such as
	// { input_type: search_document } and { task: retrieval.passage }.
	PassageFields map[string]string `yaml:"passage_fields"`
	// Batch is how many texts go into one call, or fewer where an upstream refuses
	// so many with 413.
	Batch int `yaml:"batch" check:"min=1,max=2048"`
	// Parallel is how many calls for what is stored run at once.
	Parallel int `yaml:"parallel" check:"min=1,max=64"`
	// Questions is how many calls for questions run at once. They do not wait
	// for those for what is stored.
	Questions int `yaml:"questions" check:"min=1,max=65536"`
	// Timeout bounds one call.
	Timeout time.Duration `yaml:"timeout" check:"min=1ms"`
	// Cache is how much memory vectors may take that were made before. At 0
	// none are kept.
	Cache config.Size `yaml:"cache"`
}

// Validate implements the cross-field rule.
func (c Config) Validate() error {
	if c.Provider.IsZero() == (len(c.Chain) == 0) {
		return ask.ErrWhom
	}
	for _, name := range []string{"model", "input", "dimensions", "encoding_format"} {
		_, asking := c.QueryFields[name]
		if _, storing := c.PassageFields[name]; asking || storing {
			return fmt.Errorf("query_fields and passage_fields cannot have %s, which every request has by itself", name)
		}
	}
	return nil
}

// Build implements config.Builder.
func (c Config) Build(_ context.Context, env config.Env) (pipeline.Embedder, error) {
	e := &embedder{
		Config: c, chain: c.Chain, vectors: newVectors(int64(c.Cache)),
		flights: map[key]place{},
		sides: [2]side{
			pipeline.ForStoring: newSide(c.PassagePrefix, c.PassageFields, c.Parallel),
			pipeline.ForAsking:  newSide(c.QueryPrefix, c.QueryFields, c.Questions),
		},
		texts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headrace_embedder_texts_total",
			Help: "Texts to be turned into vectors, by where the vector came from.",
		}, []string{"result"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headrace_embedder_calls_total",
			Help: "Calls to the upstream, by how they ended.",
		}, []string{"result"}),
	}
	if len(c.Chain) == 0 {
		e.chain = ask.Provider(c.Provider.Get())
	}
	for _, m := range []prometheus.Collector{e.texts, e.calls} {
		if err := env.Metrics.Register(m); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// key identifies a text as it is sent. The model and everything else that makes
// a difference is the embedder's own.
type key [sha256.Size]byte

type embedder struct {
	Config
	chain   pipeline.Chain
	vectors *vectors
	sides   [2]side // by pipeline.Purpose
	fleet
	flights map[key]place // guarded by fleet.mu
	portion ask.Portion
	plain   atomic.Bool // the upstream has refused to pack vectors, and then made some

	texts, calls *prometheus.CounterVec
}

// A side is what differs between questions and what is stored.
type side struct {
	prefix string
	fields []byte        // members at the end of a request, each with a comma in front
	turns  chan struct{} // one for each call that runs
}

func newSide(prefix string, fields map[string]string, parallel int) side {
	s := side{prefix: prefix, turns: make(chan struct{}, parallel)}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		s.fields = append(chat.AppendString(append(s.fields, ','), name), ':')
		s.fields = chat.AppendString(s.fields, fields[name])
	}
	return s
}

// Model implements pipeline.Embedder.
func (e *embedder) Model() string {
	if e.Space != "" {
		return e.Space
	}
	return e.Config.Model
}

// Close waits for the calls that nobody waits for any more.
func (e *embedder) Close() error {
	e.running.Wait()
	return nil
}

// Embed implements pipeline.Embedder.
func (e *embedder) Embed(ctx context.Context, texts []string, purpose pipeline.Purpose) ([][]float32, error) {
	if ctx.Err() != nil {
		return nil, pipeline.Cause(ctx)
	}
	side := &e.sides[purpose]
	out := make([][]float32, len(texts))
	var missing []wanted
	for i, t := range texts {
		k, sent := side.keyed(t)
		if out[i] = e.vectors.get(k); out[i] == nil {
			missing = append(missing, wanted{k, sent, i})
		}
	}
	e.texts.WithLabelValues("cached").Add(float64(len(texts) - len(missing)))
	if len(missing) == 0 {
		return out, nil
	}
	return out, e.fetch(ctx, missing, side, out)
}

// Forget implements pipeline.Forgetter.
func (e *embedder) Forget(texts []string, purpose pipeline.Purpose) {
	for _, t := range texts {
		k, _ := e.sides[purpose].keyed(t)
		e.vectors.drop(k)
	}
}

// keyed returns the text as it is sent, and its key.
func (s *side) keyed(text string) (key, string) {
	if s.prefix != "" {
		text = s.prefix + text
	}
	var room [512]byte
	b := append(binary.AppendUvarint(room[:0], uint64(len(text))), text...)
	return sha256.Sum256(append(b, s.fields...)), text
}
