package neo4j

import (
	"cmp"
	"context"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/rag"
)

const linkByName = `
MATCH (e:Entity) WHERE e.tenant = $p.tenant AND e.norm IN $p.norms
WITH e LIMIT $p.k
RETURN collect([e.id, e.name, COUNT { (e)--() } - COUNT { (e)<-[:NAMES]-() }]) AS rows`

// A score of zero is that of the tenant's own word alone.
const linkByText = `
CALL db.index.fulltext.queryNodes('` + textIndex + `', $p.q, {limit: $p.k}) YIELD node, score
WHERE score > 0 AND node.tenant = $p.tenant RETURN collect([node.id, score]) AS rows`

// Link implements pipeline.GraphStore: by whole names, or where the text holds
// none, by their words.
func (s *Store) Link(ctx context.Context, q pipeline.LinkQuery) ([]pipeline.Seed, error) {
	w := wordingOf(q.Text)
	if q.Limit <= 0 || len(w.words) == 0 {
		return nil, ended(ctx)
	}
	seeds, err := s.linkByName(ctx, q, &w)
	if err != nil || len(seeds) > 0 {
		return seeds, err
	}
	query := terms(q.Tenant, q.Text)
	select {
	case <-s.schema:
	default:
		return nil, nil // the index is not there yet
	}
	if query == "" {
		return nil, nil
	}
	err = s.read(ctx, "link", linkByText, row{"q": query, "tenant": q.Tenant, "k": q.Limit}, func(c cells) {
		seeds = append(seeds, pipeline.Seed{ID: c.text(0), Weight: c.number(1)})
	})
	return ordered(seeds, q.Limit), partly(ctx, len(seeds) > 0, err)
}

func (s *Store) linkByName(ctx context.Context, q pipeline.LinkQuery, w *wording) ([]pipeline.Seed, error) {
	type entity struct {
		id     string
		degree float64
	}
	norms := w.candidates()
	if former := cut(formerNormal(rag.Cut(q.Text, maxRunes))); former.text != w.text {
		norms = append(norms, former.candidates()...)
	}
	named := map[string][]entity{}
	err := s.read(ctx, "link", linkByName, row{"tenant": q.Tenant, "norms": norms, "k": 1000}, func(c cells) {
		n := normal(c.text(1))
		named[n] = append(named[n], entity{c.text(0), c.number(2)})
	})
	var seeds []pipeline.Seed
	for _, name := range w.longest(func(name string) bool { return len(named[name]) > 0 }) {
		for _, e := range named[name] {
			// Long and rare names tell most; those that several share, less.
			weight := math.Sqrt(float64(utf8.RuneCountInString(name))) / (1 + math.Log1p(e.degree)) / float64(len(named[name]))
			seeds = append(seeds, pipeline.Seed{ID: e.id, Weight: weight})
		}
	}
	return ordered(seeds, q.Limit), partly(ctx, len(seeds) > 0, err)
}

func ordered(seeds []pipeline.Seed, limit int) []pipeline.Seed {
	slices.SortFunc(seeds, func(a, b pipeline.Seed) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.ID, b.ID))
	})
	return seeds[:min(len(seeds), limit)]
}

// partly drops the error of a call whose time is up where there is something to
// return in its place. Any other failure is one.
func partly(ctx context.Context, some bool, err error) error {
	if some && ctx.Err() != nil {
		return nil
	}
	return err
}

func ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return pipeline.Cause(ctx)
	}
	return nil
}

const related = `
UNWIND $p.chunks AS s MATCH (c:Chunk {key: s.key})-[:MENTIONS]->(e:Entity)
WITH e, sum(1.0 / s.rank) AS w
WITH e, w, COUNT { (e)<-[:MENTIONS]-() } AS df
WHERE df > 1 AND df <= $p.hub_cap
WITH e, w / df AS s ORDER BY s DESC, e.key LIMIT $p.max_seeds
MATCH (e)<-[:MENTIONS]-(d:Chunk) WHERE d.tenant = $p.tenant AND NOT d.key IN $p.anchors
WITH d, e, s ORDER BY s DESC, e.key
WITH d, sum(s) AS score, collect(e.id)[..5] AS via ORDER BY score DESC, d.key LIMIT $p.k
RETURN collect([d.id, d.doc_id, score, via]) AS rows`

// Related implements pipeline.GraphStore.
func (s *Store) Related(ctx context.Context, q pipeline.RelatedQuery) ([]pipeline.Related, error) {
	if q.Limit <= 0 || q.MaxSeeds <= 0 || len(q.Chunks) == 0 {
		return nil, ended(ctx)
	}
	var chunks []any
	var anchors []any
	seen := map[string]bool{}
	for i, id := range q.Chunks {
		if key := keyOf(q.Tenant, id); !seen[key] {
			seen[key] = true
			chunks = append(chunks, row{"key": key, "rank": i + 1})
			anchors = append(anchors, key)
		}
	}
	var out []pipeline.Related
	err := s.read(ctx, "related", related, row{
		"chunks": chunks, "anchors": anchors, "tenant": q.Tenant,
		"hub_cap": q.HubCap, "max_seeds": q.MaxSeeds, "k": q.Limit,
	}, func(c cells) {
		found := pipeline.Related{ID: c.text(0), DocID: c.text(1), Score: c.number(2)}
		via, _ := c.at(3).([]any)
		for _, v := range via {
			id, _ := v.(string)
			found.Via = append(found.Via, id)
		}
		out = append(out, found)
	})
	return out, partly(ctx, len(out) > 0, err)
}

// rehearse runs each reading statement once. It ends with the first that fails.
func (s *Store) rehearse(ctx context.Context) {
	w := wording{text: "a", words: [][2]int{{0, 1}}}
	if _, err := s.linkByName(ctx, pipeline.LinkQuery{Limit: 1}, &w); err != nil {
		return
	}
	if _, err := s.Related(ctx, pipeline.RelatedQuery{Chunks: []string{"a"}, Limit: 1, MaxSeeds: 1}); err != nil {
		return
	}
	x := expand(pipeline.ExpandQuery{MaxSeeds: 1, Fanout: 1, MaxNodes: 1, MaxEdges: 1})
	if err := s.hop(ctx, &x, map[string]float64{"a": 1}); err != nil {
		return
	}
	_ = s.read(ctx, "link", linkByText, row{"q": terms("", "x"), "tenant": "", "k": 1}, func(cells) {})
}
