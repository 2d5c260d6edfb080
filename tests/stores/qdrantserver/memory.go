package qdrantserver

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/qdrant/go-client/qdrant"
)

// Memory is a backend that compares everything with everything. Equal scores
// come in any order, as the real server's do.
type Memory struct {
	mu     sync.Mutex
	points map[string]map[string]*qdrant.PointStruct // by collection and id
}

// Create implements Backend.
func (m *Memory) Create(name string, _ *qdrant.CreateCollection) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.points == nil {
		m.points = map[string]map[string]*qdrant.PointStruct{}
	}
	m.points[name] = map[string]*qdrant.PointStruct{}
	return nil
}

// Upsert implements Backend.
func (m *Memory) Upsert(name string, points []*qdrant.PointStruct) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range points {
		m.points[name][p.GetId().GetUuid()] = p
	}
	return nil
}

// Delete implements Backend.
func (m *Memory) Delete(name string, of *qdrant.PointsSelector) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range of.GetPoints().GetIds() {
		delete(m.points[name], id.GetUuid())
	}
	if of.GetFilter() != nil {
		for id, p := range m.points[name] {
			if meets(of.GetFilter(), p) {
				delete(m.points[name], id)
			}
		}
	}
	return nil
}

// Get implements Backend.
func (m *Memory) Get(name string, ids []*qdrant.PointId) ([]*qdrant.RetrievedPoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*qdrant.RetrievedPoint
	seen := map[string]bool{}
	for _, id := range ids {
		if p, ok := m.points[name][id.GetUuid()]; ok && !seen[id.GetUuid()] {
			seen[id.GetUuid()] = true
			out = append(out, &qdrant.RetrievedPoint{Id: p.GetId(), Payload: p.GetPayload()})
		}
	}
	// The real server answers in an order of its own.
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, nil
}

// Count implements Backend.
func (m *Memory) Count(name string, f *qdrant.Filter) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(len(m.admitted(name, f))), nil
}

// Scroll implements Backend.
func (m *Memory) Scroll(name string, r *qdrant.ScrollPoints) (page []*qdrant.RetrievedPoint, next *qdrant.PointId, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.admitted(name, r.GetFilter())
	slices.SortFunc(all, func(a, b *qdrant.PointStruct) int { return strings.Compare(a.GetId().GetUuid(), b.GetId().GetUuid()) })
	for _, p := range all {
		switch {
		case p.GetId().GetUuid() < r.GetOffset().GetUuid():
		case len(page) == int(r.GetLimit()):
			return page, p.GetId(), nil
		default:
			page = append(page, &qdrant.RetrievedPoint{Id: p.GetId(), Payload: p.GetPayload()})
		}
	}
	return page, nil, nil
}

func (m *Memory) admitted(name string, f *qdrant.Filter) []*qdrant.PointStruct {
	var out []*qdrant.PointStruct
	for _, p := range m.points[name] {
		if f == nil || meets(f, p) {
			out = append(out, p)
		}
	}
	return out
}

// Query implements Backend.
func (m *Memory) Query(name string, q *qdrant.QueryPoints) ([]*qdrant.ScoredPoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var hits []*qdrant.ScoredPoint
	add := func(p *qdrant.PointStruct, score float64) {
		hits = append(hits, &qdrant.ScoredPoint{Id: p.GetId(), Payload: p.GetPayload(), Score: float32(score)})
	}
	vector := func(p *qdrant.PointStruct) *qdrant.Vector {
		return p.GetVectors().GetVectors().GetVectors()[q.GetUsing()]
	}
	nearest := q.GetQuery().GetNearest()
	for _, p := range m.admitted(name, q.GetFilter()) {
		if v := vector(p); v == nil {
			continue
		} else if sparse := nearest.GetSparse(); sparse == nil {
			add(p, cosine(nearest.GetDense().GetData(), v.GetDense().GetData()))
		}
	}
	if sparse := nearest.GetSparse(); sparse != nil {
		idf := m.idf(name, q, sparse.GetIndices())
		for _, p := range m.admitted(name, q.GetFilter()) {
			score, hit := 0.0, false
			theirs := vector(p).GetSparse()
			for i, index := range sparse.GetIndices() {
				if j := slices.Index(theirs.GetIndices(), index); j >= 0 {
					score, hit = score+float64(sparse.GetValues()[i]*theirs.GetValues()[j])*idf[index], true
				}
			}
			if hit {
				add(p, score)
			}
		}
	}
	sort.Slice(hits, func(i, j int) bool { return hits[i].GetScore() > hits[j].GetScore() })
	return hits[:min(len(hits), int(q.GetLimit()))], nil
}

// idf is how rare each word is among the points of the corpus.
func (m *Memory) idf(name string, q *qdrant.QueryPoints, of []uint32) map[uint32]float64 {
	corpus := m.admitted(name, q.GetParams().GetIdf().GetCorpus())
	out := map[uint32]float64{}
	for _, index := range of {
		df := 0.0
		for _, p := range corpus {
			if slices.Contains(p.GetVectors().GetVectors().GetVectors()[q.GetUsing()].GetSparse().GetIndices(), index) {
				df++
			}
		}
		out[index] = math.Log((float64(len(corpus))-df+0.5)/(df+0.5) + 1)
	}
	return out
}

func cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab, aa, bb = ab+float64(a[i]*b[i]), aa+float64(a[i]*a[i]), bb+float64(b[i]*b[i])
	}
	return ab / math.Sqrt(aa*bb)
}

func meets(f *qdrant.Filter, p *qdrant.PointStruct) bool {
	holds := func(c *qdrant.Condition) bool { return holds(c, p) }
	if slices.ContainsFunc(f.GetMustNot(), holds) {
		return false
	}
	if slices.ContainsFunc(f.GetMust(), func(c *qdrant.Condition) bool { return !holds(c) }) {
		return false
	}
	return len(f.GetShould()) == 0 || slices.ContainsFunc(f.GetShould(), holds)
}

func holds(c *qdrant.Condition, p *qdrant.PointStruct) bool {
	switch {
	case c.GetFilter() != nil:
		return meets(c.GetFilter(), p)
	case c.GetHasId() != nil:
		return slices.ContainsFunc(c.GetHasId().GetHasId(), func(id *qdrant.PointId) bool { return id.GetUuid() == p.GetId().GetUuid() })
	}
	v, ok := lookup(p.GetPayload(), c.GetField().GetKey())
	if !ok {
		return false
	}
	if list := v.GetListValue(); list != nil {
		return slices.ContainsFunc(list.GetValues(), func(v *qdrant.Value) bool { return fits(c.GetField(), v) })
	}
	return fits(c.GetField(), v)
}

// lookup follows a path such as metadata.a."b c".
func lookup(fields map[string]*qdrant.Value, path string) (v *qdrant.Value, ok bool) {
	for path != "" {
		var part string
		if rest, quoted := strings.CutPrefix(path, `"`); quoted {
			part, path, _ = strings.Cut(rest, `"`)
			path = strings.TrimPrefix(path, ".")
		} else {
			part, path, _ = strings.Cut(path, ".")
		}
		if v, ok = fields[part]; !ok {
			return nil, false
		}
		fields = v.GetStructValue().GetFields()
	}
	return v, ok
}

func fits(c *qdrant.FieldCondition, v *qdrant.Value) bool {
	if r := c.GetRange(); r != nil {
		n, number := v.GetDoubleValue(), false
		switch k := v.GetKind().(type) {
		case *qdrant.Value_DoubleValue:
			number = true
		case *qdrant.Value_IntegerValue:
			n, number = float64(k.IntegerValue), true
		}
		return number && (r.Gt == nil || n > *r.Gt) && (r.Gte == nil || n >= *r.Gte) &&
			(r.Lt == nil || n < *r.Lt) && (r.Lte == nil || n <= *r.Lte)
	}
	s, isText := v.GetKind().(*qdrant.Value_StringValue)
	b, isBool := v.GetKind().(*qdrant.Value_BoolValue)
	switch m := c.GetMatch().GetMatchValue().(type) {
	case *qdrant.Match_Keyword:
		return isText && s.StringValue == m.Keyword
	case *qdrant.Match_Keywords:
		return isText && slices.Contains(m.Keywords.GetStrings(), s.StringValue)
	case *qdrant.Match_Boolean:
		return isBool && b.BoolValue == m.Boolean
	}
	return false
}
