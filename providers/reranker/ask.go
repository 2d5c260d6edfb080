package reranker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/rag"
)

// maxAnswer bounds what an upstream may answer.
const maxAnswer = 16 << 20

// Rerank implements pipeline.Reranker.
func (r *reranker) Rerank(ctx context.Context, query string, texts []string) ([]float32, error) {
	if ctx.Err() != nil {
		return nil, pipeline.Cause(ctx)
	}
	scores := make([]float32, len(texts))
	// Some upstreams drop blank documents, which shifts the index of all that
	// follow: they are never sent.
	var places []int
	for i, t := range texts {
		if strings.TrimSpace(t) != "" {
			places = append(places, i)
		}
	}
	ctx, stop := context.WithTimeout(ctx, r.Timeout)
	defer stop()
	if err := r.all(ctx, query, texts, places, scores); err != nil {
		return nil, fmt.Errorf("rerank %d texts with %q: %w", len(texts), r.Model, err)
	}
	blank(scores, places)
	return scores, nil
}

// all scores the texts at places, so many in one call as the upstream takes.
func (r *reranker) all(ctx context.Context, query string, texts []string, places []int, scores []float32) error {
	most := r.portion.Of(r.MaxDocuments)
	if len(places) <= most {
		if len(places) == 0 {
			return nil
		}
		return r.ask(ctx, query, texts, places, scores)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	var failed error // guarded by mu; the first
	var calls sync.WaitGroup
	for len(places) > 0 {
		some := places[:min(most, len(places))]
		places = places[len(some):]
		calls.Go(func() {
			if err := r.ask(ctx, query, texts, some, scores); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if failed == nil {
					failed = err
				}
				stop()
			}
		})
	}
	calls.Wait()
	return failed
}

// ask scores the texts at places, in as many calls as the upstream needs.
func (r *reranker) ask(ctx context.Context, query string, texts []string, places []int, scores []float32) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return r.portion.Each(len(places), r.MaxDocuments, func(from, to int) error {
		return r.once(ctx, query, texts, places[from:to], scores)
	})
}

// once asks in one call. An upstream that refuses the format it is asked in is asked in
// the other, and from then on so.
func (r *reranker) once(ctx context.Context, query string, texts []string, places []int, scores []float32) error {
	auto := r.Format == "auto"
	tei := r.Format == "tei" || auto && r.tei.Load()
	err := r.askIn(ctx, tei, query, texts, places, scores)
	if refused, ok := errors.AsType[*ask.Refused](err); ok && auto && refused.OfRequest() {
		again := r.askIn(ctx, !tei, query, texts, places, scores)
		if refused, ok = errors.AsType[*ask.Refused](again); again == nil || ok && refused.Status == 413 {
			r.tei.Store(!tei)
			return again
		}
	}
	return err
}

func (r *reranker) askIn(ctx context.Context, tei bool, query string, texts []string, places []int, scores []float32) error {
	ex := pipeline.Acquire(ctx)
	defer ex.Release()
	if r.model != nil {
		ex.Model, ex.Targets = r.model, r.model.Targets
	}
	return ask.Upstream(ex, r.chain, pipeline.OpRerank, "reranker", r.body(tei, query, texts, places), maxAnswer, func(answer []byte) error {
		found, err := ask.Scores(answer, len(places), len(places))
		for n, score := range found {
			scores[places[n]] = score
		}
		return err
	})
}

func (r *reranker) body(tei bool, query string, texts []string, places []int) []byte {
	b := chat.AppendString([]byte(`{"model":`), r.Model)
	b = appendText(append(b, `,"query":`...), query)
	if tei {
		b = append(b, `,"texts":[`...)
	} else {
		b = append(b, `,"documents":[`...)
	}
	for n, i := range places {
		if n > 0 {
			b = append(b, ',')
		}
		b = appendText(b, rag.Cut(texts[i], r.MaxChars))
	}
	if tei {
		return append(b, `],"truncate":true}`...)
	}
	b = strconv.AppendInt(append(b, `],"top_n":`...), int64(len(places)), 10)
	return append(b, `,"return_documents":false}`...)
}

func appendText(b []byte, s string) []byte {
	return chat.AppendString(b, bytes.ToValidUTF8([]byte(s), []byte("\uFFFD")))
}

// blank gives texts that were not scored, for there is nothing in them, a score
// below all others.
func blank(scores []float32, places []int) {
	if len(places) == len(scores) {
		return
	}
	var least float32
	for n, i := range places {
		if n == 0 || scores[i] < least {
			least = scores[i]
		}
	}
	at := 0
	for i := range scores {
		if at < len(places) && places[at] == i {
			at++
			continue
		}
		scores[i] = least - 1
	}
}
