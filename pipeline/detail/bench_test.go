package detail_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/detail"
)

// One question, and a batch to be indexed.
func BenchmarkRead(b *testing.B) {
	chunk := fmt.Sprintf(`{"doc_id":"doc-7","chunk_id":"3","text":%q,"metadata":{"lang":"en","page":3}}`, strings.Repeat("The mill stands by the river. ", 25))
	b.Run("question", func(b *testing.B) {
		read(b, `{"query":"who owns the mill","top_k":5,"collection":"chunks","mode":"hybrid","filters":{"lang":"en"}}`, func(r *detail.Reader) {
			r.NeedString("query")
			r.Int("top_k", 5)
			r.String("collection", "")
			r.String("mode", "")
			r.Dict("filters")
			r.OptFloat("min_score")
		})
	})
	b.Run("100 chunks", func(b *testing.B) {
		read(b, `{"collection":"chunks","chunks":[`+strings.Repeat(chunk+",", 99)+chunk+`]}`, func(r *detail.Reader) {
			for c := range r.NeedObjects("chunks", 1000) {
				c.NeedString("doc_id")
				c.OptString("chunk_id")
				c.NeedString("text")
				c.Dict("metadata")
			}
		})
	})
}

func read(b *testing.B, body string, use func(*detail.Reader)) {
	ex := pipeline.Acquire(b.Context())
	defer ex.Release()
	ex.Request.Header.SetContentType("application/json")
	ex.Request.Body = []byte(body)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := detail.Read(ex)
		if err != nil {
			b.Fatal(err)
		}
		if use(r); r.Err() != nil {
			b.Fatal(r.Err())
		}
	}
}
