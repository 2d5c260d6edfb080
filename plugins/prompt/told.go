package prompt

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// maxSources bounds the header that lists the sources, in bytes.
const maxSources = 2 << 10

// told is what a client can be told of how its answer was made.
type told struct {
	r       *pipeline.Retrieval
	status  string
	sources []cited
	facts   pipeline.Subgraph
}

// cited is a passage as answers name it: by its number in the prompt, from 1.
type cited struct {
	*pipeline.Passage
	url, title string
}

func sources(used []pipeline.Passage) []cited {
	out := make([]cited, len(used))
	for i := range used {
		p := &used[i]
		out[i] = cited{p, address(p), title(p)}
		if out[i].title == "" {
			out[i].title = p.DocID
		}
	}
	return out
}

// address is where a passage can be read: metadata.url if that is a web address,
// for clients make links of it, else its name.
func address(p *pipeline.Passage) string {
	if u, ok := chat.Text(chat.Get(p.Metadata, "url")); ok {
		if parsed, err := url.Parse(u); err == nil && parsed.Host != "" && (parsed.Scheme == "https" || parsed.Scheme == "http") {
			return u
		}
	}
	return "urn:rag:" + url.PathEscape(p.DocID) + "#" + url.PathEscape(chunk(p))
}

// chunk is the name of a passage within its document.
func chunk(p *pipeline.Passage) string {
	if p.ChunkID != "" {
		return p.ChunkID
	}
	return strconv.Itoa(p.Index)
}

// headers tells in the header of the answer.
func (t *told) headers(h *fasthttp.ResponseHeader) {
	h.Set("X-RAG-Status", t.status)
	if t.r.ContextID != "" {
		h.Set("X-RAG-Context-Id", t.r.ContextID)
	}
	if len(t.sources) > 0 {
		h.Set("X-RAG-Sources", list(t.sources))
	}
	if stages := stages(t.r.Degraded); stages != "" {
		h.Set("X-Gateway-Degraded", stages)
	}
}

// list writes the sources for a header.
func list(sources []cited) string {
	const more = "%E2%80%A6" // an ellipsis
	var b []byte
	for i, s := range sources {
		item := strconv.Itoa(i+1) + "=" + escape(s.DocID) + "#" + escape(chunk(s.Passage))
		if i > 0 {
			item = ";" + item
		}
		if len(b)+len(item)+1+len(more) > maxSources {
			if i > 0 {
				b = append(b, ';')
			}
			return string(append(b, more...))
		}
		b = append(b, item...)
	}
	return string(b)
}

// escape leaves nothing in s that has a meaning in the header.
func escape(s string) string { return strings.ReplaceAll(url.PathEscape(s), "=", "%3D") }

// stages names the stages that are missing or lack a part, each once.
func stages(degraded []string) string {
	var names []string
	for _, d := range degraded {
		name, _, _ := strings.Cut(d, ":")
		if name == "dense" || name == "sparse" {
			name = "retrieve"
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// rag is the member "rag" of an answer: as much as the request asks for.
func (t *told) rag() []byte {
	include := t.r.Options.Include
	full := include&pipeline.IncludeContext != 0
	debug := include&pipeline.IncludeDebug != 0
	b := append([]byte(nil), `{"status":"`+t.status+`","citations":[`...)
	for i := range t.sources {
		if i > 0 {
			b = append(b, ',')
		}
		b = t.sources[i].append(b, i+1, full, debug)
	}
	b = append(b, ']')
	if full {
		b = appendGraph(append(b, `,"subgraph":`...), &t.facts)
	}
	if debug {
		b = chat.AppendString(append(b, `,"query":`...), t.r.Query)
		b = chat.AppendString(append(b, `,"collection":`...), t.r.Collection)
		b = appendStrings(append(b, `,"degraded":`...), t.r.Degraded)
	}
	if t.r.ContextID != "" {
		b = chat.AppendString(append(b, `,"context_id":`...), t.r.ContextID)
	}
	return append(t.timings(append(b, `,"timings":`...)), '}')
}

// context is all of it, as it can be fetched later.
func (t *told) context(id string, now time.Time) []byte {
	b := chat.AppendString([]byte(`{"object":"rag.context","id":`), id)
	b = strconv.AppendInt(append(b, `,"created":`...), now.Unix(), 10)
	b = chat.AppendString(append(b, `,"status":`...), t.status)
	b = chat.AppendString(append(b, `,"query":`...), t.r.Query)
	b = chat.AppendString(append(b, `,"collection":`...), t.r.Collection)
	b = append(b, `,"passages":[`...)
	for i := range t.sources {
		if i > 0 {
			b = append(b, ',')
		}
		b = t.sources[i].append(b, i+1, true, true)
	}
	b = appendGraph(append(b, `],"subgraph":`...), &t.facts)
	b = appendStrings(append(b, `,"degraded":`...), t.r.Degraded)
	return append(t.timings(append(b, `,"timings":`...)), '}')
}

// timings are milliseconds by stage; of a stage that ran twice, the sum.
func (t *told) timings(b []byte) []byte {
	sums := map[string]float64{}
	for _, s := range t.r.Stages {
		sums[s.Stage] += float64(s.Took.Microseconds()) / 1000
	}
	out, err := json.Marshal(sums) // sorts the keys
	if err != nil {
		return append(b, "{}"...)
	}
	return append(b, out...)
}

// append appends a source as a JSON object.
func (c *cited) append(b []byte, n int, text, scores bool) []byte {
	b = strconv.AppendInt(append(b, `{"n":`...), int64(n), 10)
	for _, f := range [...]struct{ key, value string }{
		{"id", c.ID}, {"doc_id", c.DocID}, {"chunk_id", chunk(c.Passage)}, {"title", c.title}, {"url", c.url},
	} {
		b = append(append(append(b, `,"`...), f.key...), `":`...)
		b = chat.AppendString(b, f.value)
	}
	if text {
		b = chat.AppendString(append(b, `,"text":`...), c.Text)
		if len(c.Metadata) > 0 {
			b = append(append(b, `,"metadata":`...), c.Metadata...)
		}
	}
	if scores {
		b = appendScores(append(b, `,"scores":`...), &c.Scores)
		b = appendStrings(append(b, `,"via":`...), c.Via)
	}
	return append(b, '}')
}

func appendScores(b []byte, s *pipeline.Scores) []byte {
	b = append(b, '{')
	first := true
	for _, f := range [...]struct {
		key   string
		score pipeline.Score
	}{{"vector", s.Dense}, {"sparse", s.Sparse}, {"fused", s.Fused}, {"graph", s.Graph}, {"rerank", s.Rerank}} {
		if !f.score.Set {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(append(append(b, '"'), f.key...), `":`...)
		b = strconv.AppendFloat(b, float64(f.score.Value), 'g', -1, 32)
	}
	return append(b, '}')
}

func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = chat.AppendString(b, s)
	}
	return append(b, ']')
}

// appendGraph appends nodes and edges in the format of the graph endpoints.
func appendGraph(b []byte, g *pipeline.Subgraph) []byte {
	b = append(b, `{"nodes":[`...)
	for i := range g.Entities {
		e := &g.Entities[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = chat.AppendString(append(b, `{"id":`...), e.ID)
		b = chat.AppendString(append(b, `,"type":`...), e.Type)
		b = chat.AppendString(append(b, `,"name":`...), e.Name)
		b = append(appendProps(append(b, `,"props":`...), e.Props), '}')
	}
	b = append(b, `],"edges":[`...)
	for i := range g.Relations {
		r := &g.Relations[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = chat.AppendString(append(b, `{"src":`...), r.Src)
		b = chat.AppendString(append(b, `,"dst":`...), r.Dst)
		b = chat.AppendString(append(b, `,"type":`...), r.Type)
		b = append(appendProps(append(b, `,"props":`...), r.Props), '}')
	}
	return append(b, "]}"...)
}

func appendProps(b []byte, list []pipeline.Prop) []byte {
	b = append(b, '{')
	for i, p := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(chat.AppendString(b, p.Key), ':')
		if len(p.Value) == 0 {
			b = append(b, "null"...)
		}
		b = append(b, p.Value...)
	}
	return append(b, '}')
}
