package ask

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// Scores takes the scores of n documents out of an answer to a reranking. Results may
// come in any order, under the name results or data, or as a bare list; the score is
// called relevance_score or score. An answer that has fewer than want of them, or two for one document, is an
// error.
func Scores(answer []byte, n, want int) ([]float32, error) {
	unusable := func(why string) error {
		return &pipeline.Error{
			Status: 502, Code: "upstream_protocol", Fault: pipeline.UpstreamFault,
			Err: errors.New("the upstream's scores cannot be used: " + why),
		}
	}
	if chat.Valid(answer) != nil {
		return nil, unusable("they are no JSON")
	}
	results := answer // as Text Embeddings Inference has it
	if answer = bytes.TrimSpace(answer); len(answer) > 0 && answer[0] == '{' {
		if results = chat.Get(answer, "results"); results == nil {
			results = chat.Get(answer, "data") // as some call it
		}
	}
	scores, seen, count := make([]float32, n), make([]bool, n), 0
	for item := range chat.Array(results) {
		at, ok := chat.Int(chat.Get(item, "index"))
		if !ok || at < 0 || at >= int64(n) || seen[at] {
			return nil, unusable("an index is missing, is used twice, or is none of a document's")
		}
		raw := chat.Get(item, "relevance_score")
		if raw == nil {
			raw = chat.Get(item, "score")
		}
		score, err := strconv.ParseFloat(string(raw), 32)
		if err != nil {
			return nil, unusable(fmt.Sprintf("document %d has no score", at))
		}
		scores[at], seen[at] = float32(score), true
		count++
	}
	if count < want {
		return nil, unusable(fmt.Sprintf("%d of %d documents have a score", count, want))
	}
	return scores, nil
}
