package faults

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// What an upstream of a retrieval does, and what comes of it for a search by meaning alone.
var sick = map[string]map[string]string{ // by upstream, by fault: why it is left out; empty: it is not
	"E": {
		"500": "error", "429": "error", "hang": "timeout", "trickle": "timeout", "reset": "error", "cut": "error", "html": "error", "gzip": "error", "empty": "error", "error200": "error",
		"dimension": "error", "nan": "error", "nan-packed": "error", "null": "error", "zero": "error", "order": "", "index-beyond": "error", "fewer": "error", "more": "error", "nothing": "error",
	},
	"R": {
		"500": "error", "429": "error", "hang": "timeout", "trickle": "timeout", "reset": "error", "cut": "error", "html": "error", "gzip": "error", "empty": "error", "error200": "error",
		"rubbish": "error", "beyond": "error", "negative": "error", "twice": "error", "null": "error", "nan": "error", "none": "error", "fewer": "error", "missing": "error", "tei": "",
	},
}

// TestDocumentsFaults: an upstream of a retrieval that breaks costs its part of an answer, which says
// so, and no more.
func TestDocumentsFaults(t *testing.T) {
	r := newRoom(t, "", "kb", "kb")
	r.fill(t, "acme")
	for part, faults := range sick {
		for fault, why := range faults {
			t.Run(part+":"+fault, func(t *testing.T) {
				t.Parallel()
				for i, shape := range []string{"chat", "responses", "completions"} {
					r.sick(t, part, fault, why, shape, i > 0, i == 0)
				}
			})
		}
	}
}

func (r *room) sick(t *testing.T, part, fault, why, shape string, stream, more bool) {
	stage := map[string]string{"E": "retrieve", "R": "rerank"}[part]
	leg := map[string]string{"E": "dense", "R": "rerank"}[part]
	status := "degraded"
	if why == "" {
		status = "hit"
	}
	check := func(what string, a result, name, degraded string, documents bool) {
		t.Helper()
		what = fmt.Sprintf("%s, %s, stream %t", what, shape, stream)
		if a.refused != nil || a.err != nil || a.status != 200 || a.header.Get("X-RAG-Status") != status {
			t.Errorf("%s: %v", what, a)
			return
		}
		want := ""
		if why != "" {
			want = stage
		}
		if got := a.header.Get("X-Gateway-Degraded"); got != want {
			t.Errorf("%s: degraded %q, want %q", what, got, want)
		}
		c, _ := r.context(t, a.header.Get("X-RAG-Context-Id"), "sk-acme")
		if why != "" && !slices.Equal(c.Degraded, []string{degraded + ":" + why}) {
			t.Errorf("%s: context says %v, want %s:%s", what, c.Degraded, degraded, why)
		}
		if documents != (len(c.Passages) > 0) {
			t.Errorf("%s: %d passages", what, len(c.Passages))
		}
		r.faithful(t, a, name)
		if limit := limitRetrieve + limitRerank + time.Second; a.took > limit {
			t.Errorf("%s took %v", what, a.took)
		}
		for _, bad := range []string{canaryBytes, r.l.addr} {
			if strings.Contains(a.body, bad) {
				t.Errorf("%s: %s in %v", what, bad, a)
			}
		}
	}
	fault = part + ":" + fault
	name := r.name("skip")
	check("hybrid", r.ask(shape, "kb-answer", fault, name, stream), name, leg, true)
	again := r.ask(shape, "kb-answer", fault, name, stream)
	if kept := again.header.Get("X-Headrace-Cache"); kept == "hit" && why != "" {
		t.Errorf("a degraded answer was kept: %v", again)
	}
	name = r.name("required")
	check("hybrid, required", r.ask(shape, "kb-answer", fault, name, stream, "X-RAG", "required"), name, leg, true)
	name = r.name("dense")
	check("dense", r.ask(shape, "kb-dense", fault, name, stream), name, map[string]string{"E": "retrieve", "R": "rerank"}[part], part != "E" || why == "")
	for _, model := range []string{"kb-dense", "kb-fail"} {
		name = r.name("req")
		fields := []string{"X-RAG", "required"}
		if model == "kb-fail" {
			fields = nil
		} else if part == "R" {
			continue
		}
		a := r.ask(shape, model, fault, name, stream, fields...)
		if why == "" {
			continue
		}
		if a.status != 503 || !strings.Contains(a.body, `"code":"retrieval_unavailable"`) || a.header.Get("Retry-After") == "" || len(r.l.requests("C", name)) > 0 {
			t.Errorf("%s: %v", model, a)
		}
		if fault[2:] == "429" && a.header.Get("Retry-After") != "17" {
			t.Errorf("%s: Retry-After %q, the upstream said 17", model, a.header.Get("Retry-After"))
		}
	}
	if !more {
		return
	}
	r.sickEndpoints(t, part, fault, why)
}

// sickEndpoints asks the endpoints that show what was found themselves.
func (r *room) sickEndpoints(t *testing.T, part, fault, why string) {
	f := func(path, body string, statuses ...int) result {
		t.Helper()
		a := r.post(path, body)
		if !slices.Contains(statuses, a.status) || a.took > 2*time.Second || strings.Contains(a.body, canaryBytes) || strings.Contains(a.body, r.l.addr) {
			t.Errorf("%s: want %v, got %v", path, statuses, a)
		}
		if a.status == 429 && a.header.Get("Retry-After") != "17" {
			t.Errorf("%s: Retry-After %q", path, a.header.Get("Retry-After"))
		}
		return a
	}
	failed := []int{502, 504, 429, 409}
	ask := func(mode string) string {
		return fmt.Sprintf(`{"query":"spillway gate of the dam %s N:%s","collection":"kb","mode":%q}`, fault, r.name("s"), mode)
	}
	missing := func(a result, want string) {
		t.Helper()
		if strings.Contains(a.body, want) != (why != "") || strings.Contains(a.body, `"hits":[]`) {
			t.Errorf("want %s: %v", want, a)
		}
	}
	if part == "R" {
		missing(f("/v1/retrieve", ask("dense"), 200), `"degraded":["rerank:`+why+`"]`)
		if why == "" {
			failed = []int{200}
		}
		f("/rerank", fmt.Sprintf(`{"query":"spillway gate %s","documents":["a","bc"," ","d"]}`, fault), failed...)
		return
	}
	missing(f("/v1/retrieve", ask("hybrid"), 200), `"degraded":["dense:`+why+`"]`)
	missing(f("/search", ask("hybrid"), 200), `"degraded":["dense:`+why+`"]`)
	index := fmt.Sprintf(`{"collection":"%s","chunks":[{"doc_id":"x","text":"about a text %s"},{"doc_id":"y","text":"another %s"}]}`, r.name("other"), fault, fault)
	switch fault[2:] {
	case "order":
		f("/index/chunks", index, 200)
		f("/search", ask("dense"), 200)
		return
	case "dimension":
		f("/index/chunks", index, 200) // nothing says how long they ought to be
		f("/index/chunks", strings.Replace(index, "other", "kb\",\"_\":\"", 1), 409)
	default:
		f("/index/chunks", index, failed...)
	}
	f("/search", ask("dense"), failed...)
	if a := f("/v1/retrieve", ask("dense"), 503); !strings.Contains(a.body, `"code":"retrieval_unavailable"`) || a.header.Get("Retry-After") == "" {
		t.Errorf("/v1/retrieve: %v", a)
	}
}
