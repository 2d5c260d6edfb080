package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/graphjson"
)

// A Gateway writes through a running gateway. It cannot tell that a document has
// become shorter, so that the rest of it stays, and so do relations that it does not
// name any more.
type Gateway struct {
	URL        string // of the gateway, as http://localhost:8080
	Key        string // empty: none is sent
	Collection string
	Client     *http.Client
}

// maxChunks is how many chunks one request may have.
const maxChunks = 1000

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
	Text     string          `json:"text"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
	Entities []sentEntity    `json:"entities,omitempty"`
}

type sentEntity struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	Name string `json:"name"`
}

// Write implements Sink. The chunks of one document are sent in one request,
// which numbers them.
func (g *Gateway) Write(ctx context.Context, docs []*Prepared) (Written, error) {
	var w Written
	body := sent{Collection: g.Collection, Mode: "skip_unchanged"}
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
		if len(d.Chunks) > maxChunks {
			return w, fmt.Errorf("%q has %d chunks; through a gateway a document may have %d", d.ID, len(d.Chunks), maxChunks)
		}
		more := 0
		for _, c := range d.Chunks {
			more += len(c.Text) + len(c.Metadata)
		}
		if len(body.Chunks)+len(d.Chunks) > maxChunks || size+more > maxBytes {
			if err := flush(); err != nil {
				return w, err
			}
		}
		size += more
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
			body.Chunks = append(body.Chunks, s)
		}
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

func (g *Gateway) post(ctx context.Context, body sent, w *Written) error {
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
		return fmt.Errorf("send %s: %w", what, err)
	}
	defer func() { _ = resp.Body.Close() }() // read by then
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return fmt.Errorf("send %s to %s: %w", what, url, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("send %s to %s: %s: %.300s", what, url, resp.Status, answer)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("send %s to %s: the answer is not what a gateway says: %w", what, url, err)
	}
	return nil
}
