package rag_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/rag"
)

// A filter is judged by what it lets through.
func TestFilter(t *testing.T) {
	p := &pipeline.Passage{
		DocID: "d1", ChunkID: "c1",
		Metadata: []byte(`{"lang":"en","year":2024,"draft":false,"tags":["a","b"],"author":{"name":"Ann"},"none":"","zero":0,"nothing":null}`),
	}
	f := func(filter string, want bool) {
		t.Helper()
		parsed, err := rag.ParseFilter([]byte(filter), "filters")
		if err != nil {
			t.Fatalf("%s: %v", filter, err)
		}
		if got := rag.Matches(parsed, p); got != want {
			t.Errorf("%s: got %v", filter, got)
		}
	}
	f(`null`, true)
	f(`{}`, true)
	f(`{"must":[]}`, true)
	f(`{"lang":"en"}`, true)
	f(`{"lang":"EN"}`, false)
	f(`{"lang":["de","en"]}`, true)
	f(`{"lang":["de","fr"]}`, false)
	f(`{"lang":"en","year":2023}`, false)
	f(`{"year":2024.0}`, true)
	f(`{"year":"2024"}`, false)
	f(`{"draft":false}`, true)
	f(`{"draft":true}`, false)
	f(`{"tags":"b"}`, true)
	f(`{"tags":"c"}`, false)
	f(`{"author.name":"Ann"}`, true)
	f(`{"missing":"x"}`, false)
	f(`{"doc_id":"d1","chunk_id":["c0","c1"]}`, true)
	f(`{"doc_id":"d2"}`, false)
	f(`{"year":{"gte":2024,"lt":2025}}`, true)
	f(`{"year":{"gt":2024}}`, false)
	f(`{"year":{"gt":2023}}`, true)
	f(`{"year":{"gte":2025}}`, false)
	f(`{"year":{"lt":2024}}`, false)
	f(`{"year":{"lt":2025}}`, true)
	f(`{"year":{"lte":2023}}`, false)
	f(`{"year":{"lte":2024,"gt":null}}`, true)
	f(`{"year":{"gt":2020,"lte":2023}}`, false)
	f(`{"author":{"gt":-1}}`, false)
	// A value meets none of another kind.
	f(`{"none":0}`, false)
	f(`{"none":false}`, false)
	f(`{"draft":""}`, false)
	f(`{"draft":0}`, false)
	f(`{"zero":""}`, false)
	f(`{"zero":false}`, false)
	f(`{"author":0}`, false)
	f(`{"author":""}`, false)
	f(`{"nothing":0}`, false)
	f(`{"chunk_id":"c2"}`, false)
	f(`{"chunk_id":0}`, false)
	f(`{"lang":{"gt":1}}`, false)
	f(`{"must":[{"key":"lang","match":{"value":"en"}}]}`, true)
	f(`{"must":{"key":"lang","match":{"value":"en"}}}`, true)
	f(`{"must":[{"key":"lang","match":{"any":["de","en"]}}]}`, true)
	f(`{"must":[{"key":"lang","match":{"except":["de","en"]}}]}`, false)
	f(`{"must":[{"key":"lang","match":{"except":["de"]}}]}`, true)
	f(`{"must_not":[{"key":"lang","match":{"value":"en"}}]}`, false)
	f(`{"must_not":[{"key":"missing","match":{"value":"en"}}]}`, true)
	f(`{"must_not":[{"must":[]}]}`, false) // a group of nothing admits everything
	f(`{"should":[{"must":[]}]}`, true)
	f(`{"should":[{"key":"lang","match":{"value":"de"}},{"key":"year","range":{"lte":2024}}]}`, true)
	f(`{"should":[{"key":"lang","match":{"value":"de"}}],"must":null}`, false)
	f(`{"must":[{"should":[{"key":"lang","match":{"value":"de"}},{"key":"lang","match":{"value":"en"}}]}]}`, true)
	// As much as there may be.
	f(`{"year":[`+strings.Repeat("1,", 255)+`2024]}`, true)
	f(`{"must":[`+strings.Repeat(`{"key":"lang","match":{"value":"en"}},`, 63)+`{"key":"year","match":{"value":1}}]}`, false)
	f(strings.Repeat(`{"must":`, 5)+`{"key":"lang","match":{"value":"de"}}`+strings.Repeat("}", 5), false)
	f(`{"`+strings.Repeat("x", 256)+`":1}`, false)
}

func TestBadFilter(t *testing.T) {
	f := func(filter string) {
		t.Helper()
		_, err := rag.ParseFilter([]byte(filter), "filters")
		if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.Status != 400 || e.Code != "bad_filter" || e.Param != "filters" {
			t.Errorf("%.80s: got %v; want bad_filter", filter, err)
		}
	}
	f(`[]`)
	f(`"lang"`)
	f(`{"lang":null}`)
	f(`{"lang":[]}`)
	f(`{"lang":[[1]]}`)
	f(`{"lang":{"like":"e%"}}`)
	f(`{"lang":{}}`)
	f(`{"":"x"}`)
	f(`{"` + strings.Repeat("x", 257) + `":1}`)
	f(`{"a\u0000":1}`)
	f(`{"lang":{"except":["e"]}}`)
	f(`{"must":[{"key":"a","match":{"except":[]}}]}`)
	f(`{"must":[{"key":"a","match":{"except":[null]}}]}`)
	f(`{"year":{"gt":1e999}}`)
	f(strings.Repeat(`{"must":`, 6) + `{"key":"lang","match":{"value":"de"}}` + strings.Repeat("}", 6))
	f(`{"a\ud800":"x"}`) // stores take no half of a character
	f(`{"a":"\udc00\ud800"}`)
	f(`{"year":{"gt":"5"}}`)
	f(`{"year":1e999}`)
	f(`{"must":[],"lang":"en"}`)
	f(`{"must":[1]}`)
	f(`{"must":[{"key":"a"}]}`)
	f(`{"must":[{"match":{"value":1}}]}`)
	f(`{"must":[{"key":"a","match":{"value":1},"range":{"gt":1}}]}`)
	f(`{"must":[{"key":"a","match":{"text":"x"}}]}`)
	f(`{"must":[{"key":"a","match":{"value":[1]}}]}`)
	f(`{"must":[{"key":"a","match":{"any":1}}]}`)
	f(`{"must":[{"key":"a","match":{}}]}`)
	f(`{"must":[{"has_id":[1]}]}`)
	f(`{"min_should":1,"must":[]}`)
	f(`{"a":[` + strings.Repeat("1,", 256) + `1]}`)
	f(`{"must":[` + strings.Repeat(`{"key":"a","match":{"value":1}},`, 64) + `{"key":"a","match":{"value":1}}]}`)
}

func FuzzFilter(f *testing.F) {
	f.Add([]byte(`{"a":[1,"x",true]}`))
	f.Add([]byte(`{"must":[{"key":"a","match":{"any":[1]}},{"should":[{"key":"b","range":{"gt":1}}]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if chat.Valid(raw) != nil || len(raw) == 0 {
			return
		}
		raw = []byte(strings.TrimSpace(string(raw)))
		parsed, err := rag.ParseFilter(raw, "filters")
		if e, ok := errors.AsType[*pipeline.Error](err); err != nil && (!ok || e.Code != "bad_filter") {
			t.Fatalf("%s: %v", raw, err)
		}
		if err != nil && parsed != nil {
			t.Fatal("both a filter and an error")
		}
		rag.Matches(parsed, &pipeline.Passage{Metadata: []byte(`{"a":1}`)})
	})
}
