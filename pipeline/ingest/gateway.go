package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/detail"
	"github.com/headrace/headrace/pipeline/graphjson"
)

// A Gateway writes through a running gateway, which knows what has changed.
type Gateway struct {
	URL        string // of the gateway, as http://localhost:8080
	Key        string // empty: none is sent
	Collection string
	Again      bool // write what has not changed, too
	Client     *http.Client

	reached atomic.Bool // it has answered before
}

// maxChunks and maxDocument are how many chunks of one document one request may have, and
// bytes of them. A document with more is sent in parts; what it has no more goes with the
// last one, and only from passages: relations that it does not name any more stay.
const (
	maxChunks   = 1000
	maxDocument = 4 << 20
)

// maxBytes is how many bytes of text and metadata the chunks of several documents may
// have in one request, of which a gateway takes 8 MiB: each may take six in JSON.
const maxBytes = 1 << 20

// maxSent is how many entities a chunk may name to a gateway; the rest of them
// is left out.
const maxSent = 64

// sent is the body of a request.
type sent struct {
	Collection string      `json:"collection"`
	Mode       string      `json:"mode"`
	Chunks     []sentChunk `json:"chunks"`
}

type sentChunk struct {
	DocID    string          `json:"doc_id"`
	Index    int             `json:"index,omitempty"` // 0: the next one of the document
	Text     string          `json:"text"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
	Entities []sentEntity    `json:"entities,omitempty"`
}

type sentEntity struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	Name string `json:"name"`
}

// Write implements Sink.
func (g *Gateway) Write(ctx context.Context, docs []*Prepared, tell func(Written)) (Written, error) {
	var w Written
	if tell == nil {
		tell = func(Written) {}
	}
	body := sent{Collection: g.Collection, Mode: "replace"}
	size, mentions := 0, 0
	flush := func() error {
		if len(body.Chunks) == 0 {
			return nil
		}
		err := g.post(ctx, body, &w)
		if err == nil {
			w.Mentions += mentions
		}
		body.Chunks, size, mentions = nil, 0, 0
		return err
	}
	for _, d := range docs {
		more := sizeOf(d.Chunks...)
		switch n := len(d.Chunks); {
		case n == 0:
			if err := g.empty(ctx, d.ID); err != nil {
				return w, err
			}
			continue
		case n > maxChunks || more > maxDocument:
			if err := g.parts(ctx, d, &w, tell); err != nil {
				return w, err
			}
			continue
		}
		if len(body.Chunks)+len(d.Chunks) > maxChunks || size+more > maxBytes {
			if err := flush(); err != nil {
				return w, err
			}
		}
		size += more
		chunks, named := chunksOf(d)
		mentions += named
		body.Chunks = append(body.Chunks, chunks...)
	}
	if err := flush(); err != nil {
		return w, err
	}
	for _, d := range docs {
		if err := g.relate(ctx, d); err != nil {
			return w, err
		}
	}
	return w, nil
}

func sizeOf(chunks ...Chunk) int {
	size := 0
	for i := range chunks {
		size += len(chunks[i].Text) + len(chunks[i].Metadata)
	}
	return size
}

// chunksOf are the chunks of a document as they are sent, and how many entities they name.
func chunksOf(d *Prepared) (chunks []sentChunk, mentions int) {
	byID := make(map[string]sentEntity, len(d.Entities))
	for _, e := range d.Entities {
		byID[e.ID] = sentEntity{e.ID, e.Type, e.Name}
	}
	for _, c := range d.Chunks {
		s := sentChunk{DocID: d.ID, Text: c.Text, Metadata: c.Metadata}
		for _, id := range c.Mentions[:min(len(c.Mentions), maxSent)] {
			s.Entities = append(s.Entities, byID[id])
		}
		mentions += len(s.Entities)
		chunks = append(chunks, s)
	}
	return chunks, mentions
}

// parts sends a document that is too much for one request.
func (g *Gateway) parts(ctx context.Context, d *Prepared, w *Written, tell func(Written)) error {
	chunks, mentions := chunksOf(d)
	for from, to := 0, 0; from < len(chunks); from = to {
		for size := 0; to < len(chunks) && to-from < maxChunks; to++ {
			if size += sizeOf(d.Chunks[to]); size > maxDocument && to > from {
				break
			}
		}
		body := sent{Collection: g.Collection, Mode: "skip_unchanged", Chunks: chunks[from:to]}
		if to == len(chunks) {
			body.Mode = "replace"
		}
		body.Chunks[0].Index = from
		if err := g.post(ctx, body, w); err != nil {
			return err
		}
		tell(*w)
	}
	w.Mentions += mentions
	return nil
}

// empty removes a document that has no chunks any more.
func (g *Gateway) empty(ctx context.Context, doc string) error {
	body := struct {
		Collection string `json:"collection,omitempty"`
		DocID      string `json:"doc_id"`
	}{g.Collection, doc}
	var done struct{ Deleted int }
	if err := g.send(ctx, "/delete/vector", "the end of a document", body, &done); err != nil || done.Deleted == 0 {
		return err
	}
	body.Collection = ""
	err := g.send(ctx, "/delete/graph", "the end of a document", body, nil)
	if e, ok := errors.AsType[*refusal](err); ok && (e.status == 404 || e.status == 405 || e.status == 503 && strings.Contains(e.answer, detail.NoStore)) {
		return nil // a gateway without a graph
	}
	return err
}

// maxRelations is how many relations one request may have; each names two entities at
// most, of which a gateway takes 5,000.
const maxRelations = 2000

// relate sends the relations of a document.
func (g *Gateway) relate(ctx context.Context, d *Prepared) error {
	entities := make(map[string]*pipeline.Entity, len(d.Entities))
	for i := range d.Entities {
		entities[d.Entities[i].ID] = &d.Entities[i]
	}
	for rest := d.Relations; len(rest) > 0; {
		some := rest[:min(len(rest), maxRelations)]
		rest = rest[len(some):]
		graph := graphjson.Of(entities, some)
		body := struct {
			Data  *graphjson.Graph `json:"data"`
			DocID string           `json:"doc_id"`
		}{graph, d.ID}
		if err := g.send(ctx, "/graph/upsert", fmt.Sprintf("%d relations", len(some)), body, nil); err != nil {
			return err
		}
	}
	return nil
}

// post sends chunks and counts them.
func (g *Gateway) post(ctx context.Context, body sent, w *Written) error {
	if !g.Again {
		return g.write(ctx, body, w)
	}
	mode := body.Mode
	body.Mode = "upsert"
	if err := g.write(ctx, body, w); err != nil || mode == "skip_unchanged" {
		return err
	}
	body.Mode = mode
	return g.write(ctx, body, &Written{}) // nothing of it has changed since
}

func (g *Gateway) write(ctx context.Context, body sent, w *Written) error {
	var done struct {
		Upserted int
		Skipped  int
		Errors   []json.RawMessage
	}
	what := fmt.Sprintf("%d chunks", len(body.Chunks))
	if err := g.send(ctx, "/index/chunks", what, body, &done); err != nil {
		return err
	}
	if len(done.Errors) > 0 {
		return fmt.Errorf("send %s: %d are refused; the first: %.300s", what, len(done.Errors), done.Errors[0])
	}
	w.New += done.Upserted
	w.Unchanged += done.Skipped
	return nil
}

// A refusal is an answer that is none, or that there was no answer.
type refusal struct {
	status  int // 0: no answer
	said    string
	answer  string
	passing bool          // it may be another time
	wait    time.Duration // until then, if that was said
}

func (r *refusal) Error() string {
	if r.answer == "" {
		return r.said
	}
	return fmt.Sprintf("%s: %.300s", r.said, r.answer)
}

// refused is what the gateway's answer comes to.
func refused(resp *http.Response, answer []byte) *refusal {
	r := &refusal{status: resp.StatusCode, said: resp.Status, answer: string(answer)}
	switch r.status {
	case 429, 502, 504:
		r.passing = true
	case 503: // what the file does not set up will not be there later either
		r.passing = !bytes.Contains(answer, []byte(detail.NoStore))
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		r.wait = time.Duration(min(s, int(longest/time.Second))) * time.Second
	}
	return r
}

// send puts body to a path of the gateway, and reads its answer into one, which may be
// nil.
func (g *Gateway) send(ctx context.Context, path, what string, body, into any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("put %s into JSON: %w", what, err)
	}
	url := strings.TrimSuffix(strings.TrimRight(g.URL, "/"), "/v1") + path
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if g.Key != "" {
		req.Header.Set("Authorization", "Bearer "+g.Key)
	}
	resp, err := g.Client.Do(req)
	if err != nil {
		// A gateway that was there is started again; an address that is wrong stays so.
		return fmt.Errorf("send %s: %w", what, &refusal{said: err.Error(), passing: g.reached.Load()})
	}
	defer func() { _ = resp.Body.Close() }() // read by then
	g.reached.Store(true)
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return fmt.Errorf("send %s to %s: %w", what, url, &refusal{said: err.Error(), passing: true})
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("send %s to %s: %w", what, url, refused(resp, answer))
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("send %s to %s: the answer is not what a gateway says: %w", what, url, err)
	}
	return nil
}
