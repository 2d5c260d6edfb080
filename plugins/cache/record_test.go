package cache

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

func TestStreams(t *testing.T) {
	f := func(kept bool, end error, events ...string) {
		t.Helper()
		g := newGateway(t, "{}")
		g.answer = streams(sseType, end, events...)
		stream := body(`{"model":"m","stream":true}`)
		miss := g.ask(t, stream)
		if end == io.EOF {
			end = nil
		}
		if want := strings.Join(events, ""); miss.body != want || miss.err != end || miss.cache != "miss" {
			t.Errorf("%q passed through as %+v", events, miss)
		}
		again := g.ask(t, stream)
		if (again.cache == "hit") != kept || again.body != miss.body || again.kind != sseType {
			t.Errorf("%q then %v: came again as %+v", events, end, again)
		}
	}
	f(true, io.EOF, first, second, last)
	f(true, io.EOF, first+second, last)
	f(true, io.EOF, first+second+last)
	f(true, io.EOF, last)
	f(true, io.EOF, first, last, ": bye\n\n")
	f(true, io.EOF, "data: {\"error\":null}\n\n", last)
	f(true, io.EOF, "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"error\\\"\"}}]}\n\n", last)
	// What did not end as it should is never taken for an answer.
	f(false, io.ErrUnexpectedEOF, first, second, last)
	f(false, errors.New("reset"), first)
	f(false, pipeline.ErrClientGone, first, second)
	f(false, io.EOF, first, second)
	f(false, io.EOF)
	f(false, io.EOF, ": ping\n\n")
	f(false, io.EOF, first, last, second)
	f(false, io.EOF, first, "data: {\"error\":{\"message\":\"overloaded\"}}\n\n", last)
	f(false, io.EOF, "event: error\ndata: {\"message\":\"overloaded\"}\n\n", last)
	f(false, io.EOF, "data: {\"choices\":\n\n", last)
	f(false, io.EOF, "data: hello\n\n", last)
}

// A client that leaves has seen no whole answer, so there is none to keep.
func TestAbandonedStream(t *testing.T) {
	g := newGateway(t, "{}")
	g.answer = streams(sseType, io.EOF, first, last)
	for read := range 3 {
		ex := newRequest()
		if err := g.chain.Handle(ex.Context(), ex); err != nil {
			t.Fatal(err)
		}
		for range read {
			if _, err := ex.Response.Body.Next(); err != nil {
				t.Fatal(err)
			}
		}
		ex.Release()
	}
	if got := g.ask(t); got.cache != "miss" || g.calls != 4 {
		t.Errorf("got %+v after %d calls", got, g.calls)
	}
	if n := pipeline.Live(); n != 0 {
		t.Errorf("%d exchanges are still in use", n)
	}
}

// Answers that must be fetched anew each time.
func TestUnfitAnswers(t *testing.T) {
	f := func(name string, fit bool, answer func(*pipeline.Exchange) error) {
		t.Helper()
		g := newGateway(t, "{ max_entry: 100B }")
		g.answer = answer
		g.ask(t)
		if got := g.ask(t); (got.cache == "hit") != fit || (got.cache == "miss") == fit {
			t.Errorf("%s: %+v the second time", name, got)
		}
	}
	set := func(name, value string, next func(*pipeline.Exchange) error) func(*pipeline.Exchange) error {
		return func(ex *pipeline.Exchange) error {
			err := next(ex)
			ex.Response.Header.Set(name, value)
			return err
		}
	}
	good := whole(200, `{"choices":[]}`)
	f("good", true, good)
	f("read in pieces", true, streams("application/json; charset=utf-8", io.EOF, `{"choi`, `ces":[]}`))
	f("error: null", true, whole(200, `{"choices":[],"error":null}`))
	f("error in a text", true, whole(200, `{"choices":["\"error\": {}"]}`))
	f("500", false, whole(500, `{"choices":[]}`))
	f("201", false, whole(201, `{"choices":[]}`))
	f("fault", false, func(ex *pipeline.Exchange) error { ex.Response.Fault = pipeline.UpstreamFault; return good(ex) })
	f("error object", false, whole(200, `{"error":{"message":"x"}}`))
	f("no JSON", false, whole(200, `{"choices":[]`))
	f("no object", false, whole(200, `[]`))
	f("empty", false, whole(200, ``))
	f("cut", false, streams("application/json", io.ErrUnexpectedEOF, `{"choices":[]}`))
	f("web page", false, set("Content-Type", "text/html", good))
	f("no type", false, streams("", io.EOF, `{"choices":[]}`))
	f("gzip", false, set("Content-Encoding", "gzip", good))
	f("identity", true, set("Content-Encoding", "identity", good))
	f("degraded", false, set("X-RAG-Status", "degraded", good))
	f("complete", true, set("X-RAG-Status", "hit", good))
	f("made from less than it should", false, func(ex *pipeline.Exchange) error {
		ex.Retrieval = &pipeline.Retrieval{Degraded: []string{"graph:timeout"}}
		return good(ex)
	})
	large := `{"x":"` + strings.Repeat("x", 92) + `"}`
	f("as large as may be", true, whole(200, large))
	f("too large", false, whole(200, large+" "))
	length := func(n int, next func(*pipeline.Exchange) error) func(*pipeline.Exchange) error {
		return func(ex *pipeline.Exchange) error {
			err := next(ex)
			ex.Response.Header.SetContentLength(n)
			return err
		}
	}
	f("in one piece", true, length(14, streams("application/json", io.EOF, `{"choices":[]}`)))
	f("in two pieces", true, length(14, streams("application/json", io.EOF, `{"choi`, `ces":[]}`)))
	f("longer than announced", false, length(14, streams("application/json", io.EOF, `{"choices":[]}`, `{"choices":[]}`)))
	f("cut after one piece", false, length(14, streams("application/json", io.ErrUnexpectedEOF, `{"choices":[]}`)))
	f("too large in pieces", false, streams("application/json", io.EOF, large, " "))
	f("too large a stream", false, streams(sseType, io.EOF, first, second, last))
	f("no body", false, func(ex *pipeline.Exchange) error {
		_ = good(ex)
		ex.Response.Body = &frames{end: io.EOF}
		return nil
	})
}

// Embeddings are kept if there is a vector for each text.
func TestUnfitEmbeddings(t *testing.T) {
	f := func(fit bool, request, answer string) {
		t.Helper()
		g := newGateway(t, "{}")
		g.answer = whole(200, answer)
		ask := func() reply {
			return g.ask(t, func(ex *pipeline.Exchange) {
				ex.Op = pipeline.OpEmbeddings
				ex.Request.Body = []byte(request)
			})
		}
		ask()
		if got := ask(); (got.cache == "hit") != fit {
			t.Errorf("%s, %s: %+v the second time", request, answer, got)
		}
	}
	const two = `{"model":"m","input":["a","b"]}`
	f(true, two, `{"data":[{"index":1,"embedding":[1,2]},{"index":0,"embedding":[3,4]}]}`)
	f(true, two, `{"data":[{"embedding":[1,2]},{"embedding":[3,4]}]}`)
	f(true, `{"model":"m","input":"a"}`, `{"data":[{"index":0,"embedding":[1]}]}`)
	f(true, `{"model":"m","input":[1,2,3]}`, `{"data":[{"index":0,"embedding":[1]}]}`)
	f(true, `{"model":"m","input":[[1,2],[3]]}`, `{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[2]}]}`)
	f(true, `{"model":"m","input":"a","encoding_format":"base64"}`, `{"data":[{"index":0,"embedding":"AACAPw=="}]}`)
	f(false, `{"model":"m","input":"a"}`, `{"data":[{"index":0,"embedding":"AACAPw=="}]}`)
	f(false, two, `{"data":[{"index":0,"embedding":[1,2]}]}`)
	f(false, two, `{"data":[{"index":0,"embedding":[1,2]},{"index":0,"embedding":[3,4]}]}`)
	f(false, two, `{"data":[{"index":0,"embedding":[1,2]},{"index":2,"embedding":[3,4]}]}`)
	f(false, two, `{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[3,null]}]}`)
	f(false, two, `{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[]}]}`)
	f(false, two, `{"data":[{"index":0,"embedding":[1,2]},{"index":1}]}`)
	f(false, two, `{"data":[]}`)
	f(false, two, `{}`)
}

// Rankings are kept if there is a score for each document that is asked for.
func TestUnfitRankings(t *testing.T) {
	f := func(fit bool, request, answer string) {
		t.Helper()
		g := newGateway(t, "{}")
		g.answer = whole(200, answer)
		ask := func() reply {
			return g.ask(t, func(ex *pipeline.Exchange) {
				ex.Op = pipeline.OpRerank
				ex.Request.Body = []byte(request)
			})
		}
		ask()
		if got := ask(); (got.cache == "hit") != fit {
			t.Errorf("%s, %s: %+v the second time", request, answer, got)
		}
	}
	const two = `{"model":"m","query":"q","documents":["a",{"text":"b"}]}`
	f(true, two, `{"results":[{"index":1,"relevance_score":0.5},{"index":0,"relevance_score":-1}]}`)
	f(true, `{"model":"m","query":"q","documents":["a","b"],"top_n":1}`, `{"results":[{"index":1,"score":0.5}]}`)
	f(true, `{"model":"m","query":"q","documents":["a","b"],"top_n":1}`, `{"results":[{"index":1,"score":0.5},{"index":0,"score":0}]}`)
	f(true, `{"model":"m","query":"q","documents":["a","b"],"top_n":9}`, `{"data":[{"index":1,"score":0.5},{"index":0,"score":0}]}`)
	f(false, two, `{"results":[{"index":1,"relevance_score":0.5}]}`)
	f(false, two, `{"results":[]}`)
	f(false, two, `{"results":[{"index":1,"relevance_score":0.5},{"index":1,"relevance_score":0.4}]}`)
	f(false, two, `{"results":[{"index":1,"relevance_score":null},{"index":0,"relevance_score":0.4}]}`)
	f(false, two, `{"results":[{"index":2,"relevance_score":0.5},{"index":0,"relevance_score":0.4}]}`)
}
