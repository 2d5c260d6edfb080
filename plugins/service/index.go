package service

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/detail"
	"github.com/headrace/headrace/pipeline/quiet"
	"github.com/headrace/headrace/pipeline/rag"
)

//go:embed index.go
var indexSource string

// Index describes serve_index to a registry.
var Index = config.Define[pipeline.Handler]("serve_index", IndexConfig{
	Collection: "chunks", MaxChunks: 1000, MaxText: 32 << 10, MaxEntities: 64,
}, indexSource)

// IndexConfig answers POST /index/chunks: it writes chunks of documents into a
// collection. The same chunk written again replaces itself. It stands alone in
// its route.
type IndexConfig struct {
	// Store takes the chunks. Without it every request is refused with 503.
	Store config.Ref[pipeline.VectorStore] `yaml:"store"`
	// Embedder turns the texts into vectors. Without it the collection can be
	// searched by words only.
	Embedder config.Ref[pipeline.Embedder] `yaml:"embedder"`
	// Graph takes the entities that chunks name.
	Graph config.Ref[pipeline.GraphStore] `yaml:"graph"`
	// Collection is written to where the request names none.
	Collection string `yaml:"collection" check:"min=1,max=200"`
	// MaxChunks bounds how many chunks one request may hold.
	MaxChunks int `yaml:"max_chunks" check:"min=1,max=100000"`
	// MaxText bounds the text of a chunk.
	MaxText config.Size `yaml:"max_text" check:"min=1KiB,max=1MiB"`
	// MaxEntities bounds how many entities one chunk may name.
	MaxEntities int `yaml:"max_entities" check:"min=0,max=1000"`
}

// Build implements config.Builder.
func (c IndexConfig) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	return &indexEndpoint{IndexConfig: c, store: get(c.Store), embedder: get(c.Embedder), graph: get(c.Graph), log: quiet.New(env.Log)}, nil
}

type indexEndpoint struct {
	endpoint
	IndexConfig
	store    pipeline.VectorStore
	embedder pipeline.Embedder
	graph    pipeline.GraphStore
	log      *quiet.Log
}

// job is what one request wants written.
type job struct {
	pipeline.Upsert
	texts    []string
	write    pipeline.GraphWrite
	entities bool
	replace  bool // what the documents have besides goes
}

func (h *indexEndpoint) parse(ex *pipeline.Exchange) (*job, error) {
	r, err := detail.Read(ex)
	if err != nil {
		return nil, err
	}
	j := &job{Upsert: pipeline.Upsert{Tenant: rag.Tenant(ex)}}
	// The ids of points need its name, but what is wrong with it comes behind the chunks.
	var ok bool
	if j.Collection, ok = chat.Text(r.Raw("collection")); !ok {
		j.Collection = h.Collection
	}
	counts := map[string]int{} // chunks of each document so far
	for c := range r.NeedObjects("chunks", h.MaxChunks) {
		h.chunk(j, c, counts)
	}
	r.String("collection", "")
	switch m := r.OptString("mode"); {
	case m == nil, *m == "upsert":
	case *m == "skip_unchanged", *m == "replace":
		j.SkipUnchanged, j.replace = true, *m == "replace"
	default:
		const want = "'upsert', 'skip_unchanged' or 'replace'"
		r.Refuse("mode", "enum", "Input should be "+want, map[string]string{"expected": want})
	}
	r.OptBool("wait", true)
	if err := r.Err(); err != nil {
		return nil, err
	}
	if len(j.Points) == 0 {
		return nil, detail.FailField("chunks", "missing_field", "chunks must be non-empty")
	}
	return j, allowed(ex, j.Collection)
}

// chunk reads one chunk.
func (h *indexEndpoint) chunk(j *job, c *detail.Reader, counts map[string]int) {
	p := pipeline.Passage{DocID: c.NeedString("doc_id"), Text: c.NeedString("text")}
	if id := c.OptString("chunk_id"); id != nil {
		p.ChunkID = *id
	}
	p.Metadata = c.Dict("metadata")
	if len(p.Text) > int(h.MaxText) {
		c.Refuse("text", "string_too_long", fmt.Sprintf("String should have at most %d bytes", h.MaxText), map[string]int64{"max_length": int64(h.MaxText)})
	}
	p.Index = c.Within("index", c.OptInt("index", counts[p.DocID]), 0, maxIndex)
	counts[p.DocID] = p.Index + 1
	p.ID = pipeline.PointID(j.Tenant, j.Collection, p.DocID, p.ChunkID, p.Index)
	j.Points = append(j.Points, pipeline.Point{Passage: p})
	j.texts = append(j.texts, p.Text)
	h.mentions(j, c, &p)
}

// maxIndex is the last place that a chunk can have in its document.
const maxIndex = 1<<31 - 2

// mentions reads the entities that a chunk names: names, or objects with id.
func (h *indexEndpoint) mentions(j *job, c *detail.Reader, p *pipeline.Passage) {
	all := c.OptList("entities", h.MaxEntities)
	if c.Raw("entities") != nil {
		j.write.Anew = append(j.write.Anew, p.ID)
	}
	for _, raw := range all {
		e := pipeline.Entity{Type: pipeline.GenericType}
		if name, ok := chat.Text(raw); ok {
			e.ID, e.Name = name, name
		} else {
			e.ID, _ = chat.Text(chat.Get(raw, "id"))
			if t, ok := chat.Text(chat.Get(raw, "type")); ok && t != "" {
				e.Type = t
			}
			e.Name, _ = chat.Text(chat.Get(raw, "name"))
		}
		if e.ID == "" {
			c.Refuse("entities", "string_type", "Input should be names, or objects with an id", nil)
			return
		}
		j.entities = true
		j.write.Entities = append(j.write.Entities, e)
		j.write.Mentions = append(j.write.Mentions, pipeline.Mention{PointID: p.ID, DocID: p.DocID, Index: p.Index, Entity: e.ID})
	}
}

// Handle implements pipeline.Handler.
func (h *indexEndpoint) Handle(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	j, err := h.parse(ex)
	if err != nil {
		return err
	}
	if h.store == nil {
		return detail.Unavailable("qdrant")
	}
	if j.entities && h.graph == nil {
		return detail.Unavailable("neo4j")
	}
	out := indexReply{OK: true, Collection: j.Collection + "_" + j.Tenant, IDs: []string{}, Errors: []string{}}
	h.digests(j)
	for i := range j.Points {
		out.IDs = append(out.IDs, j.Points[i].ID)
	}
	if err := h.ahead(ctx, j); err != nil {
		return gone(ex, "index_error", err)
	}
	unlock, err := lock(ctx, h.store, j.Tenant, j.documents()...)
	if err != nil {
		return err
	}
	defer unlock()
	var p *pruning
	if j.replace {
		if p, err = h.pruning(ctx, j); err == nil {
			j.Remove = p.ids
		}
	}
	if err == nil {
		out.Skipped, err = h.skip(ctx, j)
	}
	if err == nil {
		out.Dim, err = h.vectors(ctx, j)
	}
	if err == nil && p != nil {
		err = h.clear(ctx, j, p)
	}
	if err != nil {
		return gone(ex, "index_error", err)
	}
	done, err := h.store.Upsert(ctx, j.Upsert)
	if err != nil {
		h.log.Warn("chunks could not be written", "error", err)
		rag.Refused(err, h.embedder, j.texts, pipeline.ForStoring)
		return gone(ex, "index_error", err)
	}
	out.Upserted, out.Skipped = done.Written, out.Skipped+done.Skipped
	if p != nil {
		out.Deleted = &done.Removed
	} else if err := h.link(ctx, j); err != nil {
		out.Errors = append(out.Errors, "entities: "+sentence(failed("neo4j_error", err)))
	}
	return reply(ex, out)
}

// documents are those that a job has chunks of.
func (j *job) documents() []string {
	docs := make([]string, len(j.Points))
	for i := range j.Points {
		docs[i] = j.Points[i].DocID
	}
	return docs
}

// lock keeps others from changing the same documents until they are unlocked, or any of
// the tenant's if it is told of none. A document is written in several steps, and each
// of them relies on what the first has found.
func lock(ctx context.Context, store pipeline.VectorStore, tenant string, docs ...string) (unlock func(), err error) {
	if l, ok := store.(pipeline.DocumentLocker); ok {
		return l.LockDocuments(ctx, tenant, docs)
	}
	return func() {}, nil
}

// link writes to the graph which entities the chunks name.
func (h *indexEndpoint) link(ctx context.Context, j *job) error {
	if h.graph == nil || !j.entities && len(j.write.Anew) == 0 {
		return nil
	}
	j.write.Tenant = j.Tenant
	_, err := h.graph.Write(ctx, j.write)
	if err != nil {
		h.log.Warn("the entities of chunks could not be written", "error", err)
	}
	return err
}

func sentence(err error) string {
	if e, ok := errors.AsType[*pipeline.Error](err); ok {
		return detail.Sentence(e)
	}
	return err.Error()
}

// digests completes the points with digests, and names the model of their vectors.
func (h *indexEndpoint) digests(j *job) {
	if h.embedder != nil {
		j.Model = h.embedder.Model()
	}
	for i := range j.Points {
		j.Points[i].Digest = digest(&j.Points[i].Passage, j.Model)
	}
}

// skip takes out of a job what is to be left alone, of which no vectors are made then.
// Of points with one id the last is the one that counts.
func (h *indexEndpoint) skip(ctx context.Context, j *job) (skipped int, err error) {
	store, ok := h.store.(pipeline.Recaller)
	if !ok || !j.SkipUnchanged {
		return 0, nil
	}
	same, err := store.Unchanged(ctx, j.Tenant, j.Collection, j.Points)
	if err != nil {
		return 0, err
	}
	unchanged := map[string]bool{}
	for i := range j.Points {
		unchanged[j.Points[i].ID] = same[i]
	}
	points, texts := j.Points[:0], j.texts[:0]
	for i, p := range j.Points {
		if !unchanged[p.ID] {
			points, texts = append(points, p), append(texts, j.texts[i])
		}
	}
	j.Points, j.texts = points, texts
	for _, is := range unchanged {
		if is {
			skipped++
		}
	}
	return skipped, nil
}

// ahead makes the vectors of what is to be written as things are, before others have to
// wait for the documents: a model takes longer than all else.
func (h *indexEndpoint) ahead(ctx context.Context, j *job) error {
	if h.embedder == nil {
		return nil
	}
	now := &job{Upsert: j.Upsert, texts: slices.Clone(j.texts)}
	now.Points = slices.Clone(j.Points)
	if _, err := h.skip(ctx, now); err != nil || len(now.Points) == 0 {
		return err
	}
	if _, err := h.vectors(ctx, now); err != nil {
		return err
	}
	made := make(map[[32]byte][]float32, len(now.Points))
	for i := range now.Points {
		made[now.Points[i].Digest] = now.Points[i].Vector
	}
	for i := range j.Points {
		j.Points[i].Vector = made[j.Points[i].Digest]
	}
	return nil
}

// vectors completes the points with vectors where they have none, and returns their
// length, or that of what is stored where there are no points any more.
func (h *indexEndpoint) vectors(ctx context.Context, j *job) (dim int, err error) {
	if h.embedder == nil {
		return 0, nil
	}
	if len(j.Points) == 0 {
		info, err := h.store.Collection(ctx, j.Tenant, j.Collection)
		return info.Dimensions, err
	}
	var texts []string
	var places []int
	for i := range j.Points {
		if j.Points[i].Vector == nil {
			texts, places = append(texts, j.texts[i]), append(places, i)
		}
	}
	if len(texts) > 0 {
		vectors, err := h.embedder.Embed(ctx, texts, pipeline.ForStoring)
		if err != nil {
			return 0, err
		}
		if len(vectors) != len(texts) {
			return 0, fmt.Errorf("embed %d texts: %d vectors", len(texts), len(vectors))
		}
		for n, i := range places {
			j.Points[i].Vector = vectors[n]
		}
	}
	return len(j.Points[0].Vector), nil
}

// digest is that of everything indexed. Lengths go before the parts: no two
// different chunks share one.
func digest(p *pipeline.Passage, model string) [32]byte {
	sum := sha256.New()
	for _, part := range [...]string{p.DocID, p.ChunkID, p.Text, string(p.Metadata), model} {
		sum.Write(binary.AppendUvarint(nil, uint64(len(part))))
		sum.Write([]byte(part))
	}
	return [32]byte(sum.Sum(nil))
}

type indexReply struct {
	OK         bool     `json:"ok"`
	Upserted   int      `json:"upserted"`
	Dim        int      `json:"dim"`
	Collection string   `json:"collection"`
	Skipped    int      `json:"skipped"`
	Deleted    *int     `json:"deleted,omitempty"` // where the mode is replace
	IDs        []string `json:"ids"`
	Errors     []string `json:"errors"`
}
