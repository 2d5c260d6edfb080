package storetest

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

// relatedIDs returns the chunks of an answer by their short names, which it
// finds by trying them.
func relatedIDs(w web, list []pipeline.Related) []string {
	byID := map[string]string{}
	for n := range strings.FieldsSeq(chunkNames) {
		byID[w.chunk(n)] = n
	}
	out := []string{}
	for _, r := range list {
		out = append(out, byID[r.ID])
	}
	return out
}

const chunkNames = "c1 c2 c3 c4 c5 c6 c7 c8 c9"

func (w web) related(t *testing.T, q pipeline.RelatedQuery, chunks string) []pipeline.Related {
	t.Helper()
	q.Tenant = w.tenant
	for c := range strings.FieldsSeq(chunks) {
		q.Chunks = append(q.Chunks, w.chunk(c))
	}
	return must[[]pipeline.Related](t)(w.store.Related(within(t), q))
}

func related(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	w.build(t, "doc a", []string{"rare", "common", "only", "second"}, nil, "c1 rare common only", "c2 rare", "c6 second")
	w.build(t, "doc b", nil, nil, "c3 common", "c4 common", "c5 common rare", "c7 second")
	wide := pipeline.RelatedQuery{Limit: 100, HubCap: 100, MaxSeeds: 100}
	f := func(chunks string, want ...string) []pipeline.Related {
		t.Helper()
		got := w.related(t, wide, chunks)
		equal(t, "related to "+chunks, relatedIDs(w, got), append([]string{}, want...))
		return got
	}
	// rare is in three chunks, common in four: c5 has both, c2 the rarer.
	tied := []string{"c3", "c4"}
	slices.SortFunc(tied, func(a, b string) int { return cmp.Compare(w.chunk(a), w.chunk(b)) })
	got := f("c1", "c5", "c2", tied[0], tied[1])
	if got[0].DocID != "doc b" || got[1].DocID != "doc a" {
		t.Errorf("documents are %q and %q", got[0].DocID, got[1].DocID)
	}
	equal(t, "via", got[0].Via, []string{"rare", "common"}) // what counts most first
	equal(t, "via", got[1].Via, []string{"rare"})
	const e = 1e-9
	for i, want := range []float64{1./3 + 1./4, 1. / 3, 1. / 4, 1. / 4} {
		if d := got[i].Score - want; d > e || d < -e {
			t.Errorf("score of %d is %v; want %v", i, got[i].Score, want)
		}
	}
	// Anchors are no part of the answer, and count by their rank.
	f("c1 c2 c5", tied[0], tied[1])
	got = f("c6 c3", append([]string{"c7"}, byScore(w, map[string]float64{"c1": 1. / 8, "c4": 1. / 8, "c5": 1. / 8})...)...)
	if d := got[0].Score - 1./2; d > e || d < -e {
		t.Errorf("score of the first rank is %v", got[0].Score)
	}
	f("c9")
	f("")
	f("c6", "c7")
	// With a new text a chunk names what it names now, and nothing else.
	w.write(t, pipeline.GraphWrite{
		Anew:     []string{w.chunk("c7"), w.chunk("c2"), w.chunk("c9")},
		Mentions: []pipeline.Mention{{PointID: w.chunk("c7"), DocID: "doc b", Entity: "only"}, {PointID: w.chunk("c8"), DocID: "doc b", Entity: "second"}},
	})
	f("c6", "c8")
	f("c7", "c1")
	f("c2")
}

// byScore orders chunk names as an answer does.
func byScore(w web, scores map[string]float64) []string {
	return slices.SortedFunc(maps.Keys(scores), func(a, b string) int {
		return cmp.Or(cmp.Compare(scores[b], scores[a]), cmp.Compare(w.chunk(a), w.chunk(b)))
	})
}

func relatedCaps(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	w.build(t, "d", []string{"e1", "e2", "e3", "e4", "e5", "e6", "e7"}, nil,
		"c1 e1 e2 e3 e4 e5 e6 e7", "c2 e1 e2 e3 e4 e5 e6 e7", "c3 e1", "c4 e1", "c5 e2")
	if got := w.related(t, pipeline.RelatedQuery{Limit: 1, HubCap: 100, MaxSeeds: 100}, "c1"); len(got) != 1 || got[0].ID != w.chunk("c2") || len(got[0].Via) != 5 {
		t.Errorf("limit 1: %+v; want c2 by five of its entities", got)
	}
	// e1 is in four chunks: not at all above the cap.
	got := w.related(t, pipeline.RelatedQuery{Limit: 100, HubCap: 3, MaxSeeds: 100}, "c1")
	equal(t, "hub cap 3", relatedIDs(w, got), []string{"c2", "c5"})
	got = w.related(t, pipeline.RelatedQuery{Limit: 100, HubCap: 4, MaxSeeds: 100}, "c1")
	if len(got) != 4 {
		t.Errorf("hub cap 4: %d chunks; want all 4", len(got))
	}
	got = w.related(t, pipeline.RelatedQuery{Limit: 100, HubCap: 100, MaxSeeds: 5}, "c1")
	equal(t, "the five rarest entities", relatedIDs(w, got), []string{"c2"})
}
