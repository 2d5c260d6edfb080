package prompt_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/pipeline/rag"
	"github.com/headrace/headrace/plugins/prompt"
)

func with(rag string) string { return strings.Replace(question, "{", `{"rag":`+rag+`,`, 1) }

func completion(message string) string {
	return `{"id":"1","choices":[{"index":0,"message":` + message + `,"finish_reason":"stop"}],"usage":{"total_tokens":1}}`
}

func citation(from, to, url, title string) string {
	return `{"type":"url_citation","url_citation":{"start_index":` + from + `,"end_index":` + to + `,"url":"` + url + `","title":"` + title + `"}}`
}

func TestAnnotations(t *testing.T) {
	p := found("a", "b", "c")
	p[1].Metadata = []byte(`{"url":"https://example.org/b","title":"B"}`)
	p[2].Metadata = []byte(`{"url":"javascript:alert(1)"}`)
	f := func(message, annotations string) {
		t.Helper()
		o := bench{passages: p, answer: pipetest.Says(completion(message))}.run(t)
		want := completion(message)
		if annotations != "" {
			want = completion(strings.TrimSuffix(message, "}") + `,"annotations":[` + annotations + `]}`)
		}
		if o.body != want {
			t.Errorf("got  %s\nwant %s", o.body, want)
		}
	}
	f(`{"role":"assistant","content":"nothing to cite"}`, "")
	f(`{"role":"assistant","content":null}`, "")
	f(`{"role":"assistant","content":"水 [1], 火 [2] and \n[3]."}`, citation("2", "5", "urn:rag:doc0#0", "Title 0")+","+
		citation("9", "12", "https://example.org/b", "B")+","+citation("18", "21", "urn:rag:doc2#2", "doc2"))
	f(`{"role":"assistant","content":"[0] [4] [999] [1a] [] [ 1 ] [99999] ["}`, "")
	f(`{"role":"assistant","content":"[[1]]"}`, citation("1", "4", "urn:rag:doc0#0", "Title 0"))

	// What there is stays.
	o := bench{passages: p, answer: pipetest.Says(completion(`{"annotations":[{"type":"x"}],"content":"[2]"}`))}.run(t)
	if want := completion(`{"annotations":[{"type":"x"},` + citation("0", "3", "https://example.org/b", "B") + `],"content":"[2]"}`); o.body != want {
		t.Errorf("got  %s\nwant %s", o.body, want)
	}
	// Neither are answers that are none, nor those nobody asked to be annotated.
	for _, b := range []bench{
		{passages: p, answer: pipetest.Answer{Status: 400, Body: completion(`{"content":"[1]"}`)}},
		{passages: p, answer: pipetest.Answer{Body: `[1] {"content":"[1]"}`}},
		{passages: p, answer: pipetest.Answer{Body: completion(`{"content":"[1]"}`), Type: "text/plain"}},
		{passages: p, settings: "citations: false", answer: pipetest.Says(completion(`{"content":"[1]"}`))},
	} {
		if o := b.run(t); o.body != b.answer.Body {
			t.Errorf("got %s", o.body)
		}
	}
}

// TestAnnotationsAreBounded needs an answer that is nothing but markers to stay in bounds,
// and a stream that does not end to be forgotten as it passes.
func TestAnnotationsAreBounded(t *testing.T) {
	const kind = `"type":"url_citation",`
	many := strings.Repeat("[1]", 5000)
	o := bench{passages: found("a"), answer: pipetest.Says(completion(`{"content":"` + many + `"}`))}.run(t)
	if n := strings.Count(o.body, kind); n != 1000 {
		t.Errorf("%d annotations", n)
	}
	piece := func(text, reason string) string {
		return `{"choices":[{"index":0,"delta":{"content":"` + text + `"},"finish_reason":` + reason + `}]}`
	}
	pieces := []string{piece("[1]", "null")}
	for range 40 {
		pieces = append(pieces, piece(strings.Repeat("x", 64<<10), "null"))
	}
	pieces = append(pieces, piece("[1]", "null"), piece("", `"stop"`), "[DONE]")
	o = bench{
		passages: found("a"), body: with(`{"include":["annotations"]}`), answer: pipetest.Streams(pieces...),
	}.run(t)
	if n := strings.Count(o.body, kind); n != 1 || !strings.Contains(o.body, `"start_index":0,"end_index":3`) {
		t.Errorf("%d annotations in a long stream", n)
	}
}

// An answer in several pieces is read whole, and must be whole.
func TestPieces(t *testing.T) {
	whole := completion(`{"content":"[1]"}`)
	o := bench{passages: found("a"), answer: pipetest.Answer{Frames: []string{whole[:20], whole[20:]}, Type: "application/json"}}.run(t)
	if !strings.Contains(o.body, `"annotations":[`) {
		t.Errorf("got %s", o.body)
	}
	cut := errors.New("cut")
	o = bench{passages: found("a"), answer: pipetest.Answer{Frames: []string{whole[:20]}, Break: cut, Type: "application/json"}}.run(t)
	if !errors.Is(o.err, cut) {
		t.Errorf("got %v, %s", o.err, o.body)
	}
}

type account struct {
	Status    string
	Citations []struct {
		N      int
		DocID  string `json:"doc_id"`
		Text   string
		Scores map[string]float64
	}
	Subgraph  *struct{ Nodes, Edges []any }
	Timings   map[string]float64
	Query     string
	ContextID string `json:"context_id"`
}

func accountOf(t *testing.T, body string) *account {
	t.Helper()
	var a struct {
		Choices []any
		RAG     *account
	}
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return a.RAG
}

func TestAccount(t *testing.T) {
	answer := pipetest.Says(completion(`{"content":"x"}`))
	p := found("a", "b")
	p[0].Scores.Dense = pipeline.Score{Value: 0.5, Set: true}
	p[0].Scores.Rerank = pipeline.Score{Value: 2, Set: true}
	f := func(body, header string, check func(a *account) bool) {
		t.Helper()
		passages := p
		if header == "none" {
			header, passages = "", nil
		}
		o := bench{settings: "contexts: kept", passages: passages, graph: facts, body: body, header: header, answer: answer}.run(t)
		if a := accountOf(t, o.body); !check(a) {
			t.Errorf("got %+v in %s", a, o.body)
		}
	}
	f(question, "", func(a *account) bool { return a == nil })
	f(with(`{"include":["annotations"]}`), "", func(a *account) bool { return a == nil })
	f(with(`{"include":["citations"]}`), "", func(a *account) bool {
		return a != nil && a.Status == "hit" && len(a.Citations) == 2 && a.Citations[1].DocID == "doc1" && a.Citations[1].N == 2 &&
			a.Citations[0].Text == "" && a.Subgraph == nil && a.Timings["retrieve"] == 1.5 && a.ContextID != ""
	})
	f(with(`{"include":["context"]}`), "", func(a *account) bool {
		return a.Citations[0].Text == "a" && len(a.Subgraph.Edges) == 1 && a.Citations[0].Scores == nil
	})
	f(with(`{"include":["debug"]}`), "", func(a *account) bool {
		return a.Query != "" && cmp.Equal(a.Citations[0].Scores, map[string]float64{"vector": 0.5, "rerank": 2})
	})
	f(with(`{"include":["citations"]}`), "none", func(a *account) bool { return a != nil && a.Citations != nil && len(a.Citations) == 0 })
	f(with(`{"include":["citations"]}`), "off", func(a *account) bool { return a != nil && a.Status == "off" && a.Citations != nil })
}

const (
	role   = `{"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`
	first  = `{"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"see ["},"finish_reason":null}]}`
	second = `{"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"1]"},"finish_reason":null}]}`
	finish = `{"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
	usage  = `{"id":"1","object":"chat.completion.chunk","choices":[],"usage":{"total_tokens":1}}`
)

func events(data ...string) string { return "data: " + strings.Join(data, "\n\ndata: ") + "\n\n" }

func TestStream(t *testing.T) {
	f := func(rag string, answer pipetest.Answer, want string) {
		t.Helper()
		o := bench{passages: found("a"), body: with(rag), answer: answer}.run(t)
		if o.err != nil {
			t.Fatal(o.err)
		}
		if i := strings.Index(o.body, `"rag":{`); i >= 0 {
			end := strings.Index(o.body[i:], `"timings":{"retrieve":1.5}}`) + len(`"timings":{"retrieve":1.5}}`)
			o.body = o.body[:i] + `"rag":R` + o.body[i+end:]
		}
		if d := cmp.Diff(want, o.body); d != "" {
			t.Errorf("%s: the stream differs (-want +got):\n%s", rag, d)
		}
	}
	cited := strings.Replace(finish, `"delta":{}`, `"delta":{"annotations":[`+citation("4", "7", "urn:rag:doc0#0", "Title 0")+`]}`, 1)
	told := func(chunk string) string { return strings.TrimSuffix(chunk, "}") + `,"rag":R}` }
	stream := pipetest.Streams(role, first, second, finish, usage, "[DONE]")
	f(`null`, stream, events(role, first, second, finish, usage, "[DONE]"))
	f(`{"include":["annotations"]}`, stream, events(role, first, second, cited, usage, "[DONE]"))
	f(`{"include":["citations"]}`, stream, events(role, first, second, finish, told(usage), "[DONE]"))
	f(`{"include":["citations","annotations"]}`, pipetest.Streams(first, second, finish, "[DONE]"), events(first, second, told(cited), "[DONE]"))
	// Several events in one frame, a comment, an end without [DONE], and one without a chunk.
	f(`{"include":["citations"]}`, pipetest.Answer{Frames: []string{": hi\n\n" + events(first, finish), events(usage)}}, ": hi\n\n"+events(first, finish, told(usage)))
	f(`{"include":["citations"]}`, pipetest.Streams(first, "[DONE]"), events(first, `{"id":"1","object":"chat.completion.chunk","choices":[],"rag":R}`, "[DONE]"))
	f(`{"include":["citations"]}`, pipetest.Streams("[DONE]"), events(`{"object":"chat.completion.chunk","choices":[],"rag":R}`, "[DONE]"))
	f(`{"include":["citations"]}`, pipetest.Streams(first, `{"error":{"message":"x"}}`), events(first, `{"error":{"message":"x"}}`))
	f(`{"include":["citations"]}`, pipetest.Streams("no json", first, "[DONE]"), events("no json", first, `{"id":"1","object":"chat.completion.chunk","choices":[],"rag":R}`, "[DONE]"))
}

// A stream that breaks breaks for the client too, after all that came.
func TestStreamBreaks(t *testing.T) {
	broken := errors.New("broken")
	ex := pipetest.Exchange(t, with(`{"include":["citations","annotations"]}`), pipetest.NewProvider(pipetest.Answer{Frames: []string{events(first), events(finish)}, Break: broken}))
	defer ex.Release()
	ex.Passages = append(ex.Passages, found("a")...)
	s := pipetest.Load(t, registry(pipeline.HandlerFunc(nil)), `
routes: [ { name: chat, match: { path: /v1/chat/completions }, chain: [ prompt: {} ] } ]
`)
	ex.Target = ex.Targets[0]
	if err := s.Routes[0].Chain[0].Handle(ex.Context(), ex, pipeline.Chain{pipeline.CallTarget}); err != nil {
		t.Fatal(err)
	}
	var got string
	for {
		frame, err := ex.Response.Body.Next()
		if err != nil {
			if err != broken {
				t.Errorf("ended with %v", err)
			}
			break
		}
		got += string(frame)
	}
	if want := events(first, finish); got != want {
		t.Errorf("got %s", got)
	}
}

func TestConform(t *testing.T) {
	pipetest.Conform(t, prompt.Plugin, "contexts: kept", pipetest.Fixed[*rag.Contexts]("kept", kept))
}

func TestFiles(t *testing.T) { pipetest.Problems(t, registry(pipeline.CallTarget), "testdata") }
