// Package eval measures how well a chain of retrieval finds what answers a
// question: a set of questions, each with the documents that answer it, is asked
// of the chain, and the ranking that comes back is scored.
//
// The scores do not depend on time or chance; what a stage takes does.
package eval

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// A Question is asked, and Gold are the documents that answer it together.
type Question struct {
	Text string
	Gold []string
}

// Scores are means over questions, as shares of 1.
type Scores struct {
	Recall2  float64 `json:"recall_2"` // share of the gold documents among the first 2
	Recall5  float64 `json:"recall_5"`
	Recall10 float64 `json:"recall_10"`
	All10    float64 `json:"all_10"`  // share of questions with all of theirs among the first 10
	NDCG10   float64 `json:"ndcg_10"` // normalised discounted cumulative gain of the first 10
}

// Score scores one ranking of documents, the best first, none twice.
func Score(ranking, gold []string) Scores {
	s := Scores{Recall2: recall(ranking, gold, 2), Recall5: recall(ranking, gold, 5), Recall10: recall(ranking, gold, 10)}
	if s.Recall10 == 1 {
		s.All10 = 1
	}
	gain, best := 0.0, 0.0
	for i := range 10 {
		discount := 1 / math.Log2(float64(i+2))
		if i < len(gold) {
			best += discount
		}
		if i < len(ranking) && slices.Contains(gold, ranking[i]) {
			gain += discount
		}
	}
	if best > 0 {
		s.NDCG10 = gain / best
	}
	return s
}

func recall(ranking, gold []string, k int) float64 {
	if len(gold) == 0 {
		return 0
	}
	found := 0
	for _, id := range ranking[:min(k, len(ranking))] {
		if slices.Contains(gold, id) {
			found++
		}
	}
	return float64(found) / float64(len(gold))
}

// Ranking is the documents of passages, each where its first passage stands.
func Ranking(passages []pipeline.Passage) []string {
	var out []string
	for i := range passages {
		if id := passages[i].DocID; !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// A Tally collects the scores of one chain.
type Tally struct {
	sum      Scores
	n        int
	degraded int
	stages   []string // in the order first seen
	times    map[string][]time.Duration
}

// Add adds the answer to one question: what was found, how long the stages took,
// and whether a part was missing.
func (t *Tally) Add(s Scores, stages []pipeline.StageTime, degraded bool) {
	t.n++
	t.sum.Recall2 += s.Recall2
	t.sum.Recall5 += s.Recall5
	t.sum.Recall10 += s.Recall10
	t.sum.All10 += s.All10
	t.sum.NDCG10 += s.NDCG10
	if degraded {
		t.degraded++
	}
	if t.times == nil {
		t.times = map[string][]time.Duration{}
	}
	for _, st := range stages {
		if t.times[st.Stage] == nil {
			t.stages = append(t.stages, st.Stage)
		}
		t.times[st.Stage] = append(t.times[st.Stage], st.Took)
	}
}

// A Result is what one chain scored.
type Result struct {
	Chain     string  `json:"chain"`
	Questions int     `json:"questions"`
	Degraded  int     `json:"degraded"` // questions that a part of the chain failed for
	Scores    Scores  `json:"scores"`
	Stages    []Stage `json:"stages"`
}

// A Stage is how long one stage took, in milliseconds.
type Stage struct {
	Name string  `json:"stage"`
	P50  float64 `json:"p50_ms"`
	P95  float64 `json:"p95_ms"`
}

// Result sums up.
func (t *Tally) Result(chain string) Result {
	r := Result{Chain: chain, Questions: t.n, Degraded: t.degraded}
	if t.n > 0 {
		n := float64(t.n)
		r.Scores = Scores{t.sum.Recall2 / n, t.sum.Recall5 / n, t.sum.Recall10 / n, t.sum.All10 / n, t.sum.NDCG10 / n}
	}
	for _, name := range t.stages {
		r.Stages = append(r.Stages, Stage{name, quantile(t.times[name], 0.5), quantile(t.times[name], 0.95)})
	}
	return r
}

// quantile is the smallest of times that a share q of them does not exceed, in
// milliseconds.
func quantile(times []time.Duration, q float64) float64 {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(times), cmp.Compare[time.Duration])
	at := int(math.Ceil(q*float64(len(sorted)))) - 1
	return float64(sorted[max(at, 0)]) / float64(time.Millisecond)
}
