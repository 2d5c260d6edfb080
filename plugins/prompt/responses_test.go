package prompt_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/pipetest"
)

func flat(from, to, url, title string) string {
	return `{"type":"url_citation","start_index":` + from + `,"end_index":` + to + `,"url":"` + url + `","title":"` + title + `"}`
}

func message(annotations, text string) string {
	return `{"type":"message","content":[{"type":"output_text","annotations":[` + annotations + `],"text":"` + text + `"}]}`
}

const reasons = `{"type":"reasoning","content":[{"type":"reasoning_text","text":"[1]"}]}`

func TestResponse(t *testing.T) {
	f := func(rag string, b bench, want string) {
		t.Helper()
		b.op, b.body, b.passages = pipeline.OpResponses, `{"input":"Who?"`+rag+`}`, found("a", "b")
		o := b.run(t)
		if i := strings.Index(o.body, `"rag":{`); i >= 0 {
			o.body = o.body[:i] + `"rag":R}`
		}
		if d := cmp.Diff(want, o.body); d != "" {
			t.Errorf("%s: the answer differs (-want +got):\n%s", rag, d)
		}
	}
	response := func(items ...string) string {
		return `{"object":"response","output":[` + strings.Join(items, ",") + `],"text":{"format":{"type":"text"}}}`
	}
	const text = "水 [2], [1]."
	cites := flat("2", "5", "urn:rag:doc1#1", "Title 1") + "," + flat("7", "10", "urn:rag:doc0#0", "Title 0")
	f("", bench{answer: pipetest.Says(response(reasons, message("", text)))}, response(reasons, message(cites, text)))
	f("", bench{answer: pipetest.Says(response(message(`{"type":"file_citation"}`, text)))}, response(message(`{"type":"file_citation"},`+cites, text)))
	f("", bench{answer: pipetest.Says(response(`{"type":"function_call","arguments":"[1]"}`))}, response(`{"type":"function_call","arguments":"[1]"}`))
	f("", bench{settings: "citations: false", answer: pipetest.Says(response(message("", text)))}, response(message("", text)))
	f(`,"rag":{"include":["citations"]}`, bench{answer: pipetest.Says(response(message("", "x")))}, strings.TrimSuffix(response(message("", "x")), "}")+`,"rag":R}`)
}

func TestResponseStream(t *testing.T) {
	named := func(kinds ...string) (stream []string) {
		for _, data := range kinds {
			kind, _, _ := strings.Cut(strings.TrimPrefix(data, `{"type":"`), `"`)
			stream = append(stream, "event: "+kind+"\ndata: "+data+"\n\n")
		}
		return stream
	}
	const (
		created = `{"type":"response.created","sequence_number":0,"response":{"output":[]}}`
		delta   = `{"type":"response.output_text.delta","sequence_number":1,"delta":"[1]"}`
		at      = `,"item_id":"m","output_index":1,"content_index":0`
	)
	text := func(n string) string {
		return `{"type":"response.output_text.done","sequence_number":` + n + at + `,"text":"[1]"}`
	}
	ends := func(first, second, third, annotations, rag string) []string {
		return []string{
			`{"type":"response.content_part.done","sequence_number":` + first + at + `,"part":{"type":"output_text","text":"[1]","annotations":[` + annotations + `]}}`,
			`{"type":"response.output_item.done","sequence_number":` + second + `,"item":` + message(annotations, "[1]") + `}`,
			`{"type":"response.completed","sequence_number":` + third + `,"response":{"output":[` + reasons + `,` + message(annotations, "[1]") + `]` + rag + `}}`,
		}
	}
	plain := append([]string{created, delta, text("2")}, ends("3", "4", "5", "", "")...)
	f := func(include string, sent, want []string) {
		t.Helper()
		o := bench{
			op: pipeline.OpResponses, body: `{"input":"Who?","rag":{"include":[` + include + `]}}`, passages: found("a"),
			answer: pipetest.Answer{Frames: named(sent...), Type: "text/event-stream"},
		}.run(t)
		if o.err != nil {
			t.Fatal(o.err)
		}
		if i := strings.Index(o.body, `"rag":{`); i >= 0 {
			o.body = o.body[:i] + `"rag":R}}` + "\n\n"
		}
		if d := cmp.Diff(strings.Join(named(want...), ""), o.body); d != "" {
			t.Errorf("%s: the stream differs (-want +got):\n%s", include, d)
		}
	}
	cite := flat("0", "3", "urn:rag:doc0#0", "Title 0")
	added := func(index, n string) string {
		return `{"type":"response.output_text.annotation.added"` + at + `,"annotation_index":` + index + `,"annotation":` + cite + `,"sequence_number":` + n + `}`
	}
	f(``, plain, plain)
	f(`"citations"`, plain, append(plain[:3:3], ends("3", "4", "5", "", `,"rag":R`)...))
	f(`"annotations"`, plain, append([]string{created, delta, added("0", "2"), text("3")}, ends("4", "5", "6", cite, "")...))
	f(`"annotations","citations"`, plain, append([]string{created, delta, added("0", "2"), text("3")}, ends("4", "5", "6", cite, `,"rag":R`)...))
	// Behind an annotation of the upstream's own, and where nothing is numbered.
	own := `{"type":"response.output_text.annotation.added","sequence_number":2,"annotation_index":0}`
	f(`"annotations"`, []string{own, text("3")}, []string{own, added("1", "3"), text("4")})
	f(`"annotations"`, []string{`{"type":"response.output_text.done","text":"[1]"}`},
		[]string{`{"type":"response.output_text.annotation.added","annotation_index":0,"annotation":` + cite + `}`, `{"type":"response.output_text.done","text":"[1]"}`})
	// Nothing is added to a failure.
	failed := `{"type":"response.failed","response":{"output":[],"error":{"message":"x"}}}`
	f(`"citations"`, []string{created, failed}, []string{created, failed})
}
