package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

func (w web) link(t *testing.T, text string, limit int) []string {
	t.Helper()
	seeds := must[[]pipeline.Seed](t)(w.store.Link(within(t), pipeline.LinkQuery{Tenant: w.tenant, Text: text, Limit: limit}))
	out := []string{}
	for i, s := range seeds {
		if !(s.Weight > 0) || i > 0 && seeds[i-1].Weight < s.Weight {
			t.Errorf("%q: weights are %+v; want them above zero, the heaviest first", text, seeds)
		}
		out = append(out, s.ID)
	}
	if len(out) > limit {
		t.Errorf("%q: %d seeds; the limit is %d", text, len(out), limit)
	}
	return out
}

// linked checks that a text names an entity; none if want is empty.
func (w web) linked(t *testing.T, text, want string) {
	t.Helper()
	got := w.link(t, text, 10)
	if want == "" && len(got) != 0 || want != "" && !slices.Contains(got, want) {
		t.Errorf("%q names %v; want %q", text, got, want)
	}
}

func link(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	g := pipeline.GraphWrite{}
	for _, e := range []string{"q1=Marie Curie", "q2=Paris", "q3=Müller & Söhne GmbH", "q4=The University of Paris", "q5=Ｔｏｋｙｏ", "q6=C++", "plain_id=", "q7=It", "q8=أَحْمَد", "q9=The Who"} {
		id, name, _ := strings.Cut(e, "=")
		g.Entities = append(g.Entities, pipeline.Entity{ID: id, Type: "T", Name: name})
	}
	w.write(t, g)
	w.linked(t, "Marie Curie", "q1")
	w.linked(t, "When was MARIE   curie born?", "q1")
	w.linked(t, "Did Marie Curie live in Paris?", "q1")
	w.linked(t, "Did Marie Curie live in Paris?", "q2")
	w.linked(t, "muller & sohne gmbh", "q3") // accents do not matter
	w.linked(t, "Who leads MÜLLER & SÖHNE GMBH today?", "q3")
	w.linked(t, "Where is tokyo", "q5") // nor does the width of letters
	w.linked(t, "what is known of plain_id", "plain_id")
	w.linked(t, "professor Curie", "q1") // by a part of the name, if there is nothing better
	w.linked(t, "من هو احمد", "q8")      // points and hamzas do not matter
	w.linked(t, "Berlin", "")
	w.linked(t, "Where is it?", "") // a name that every question has in it
	if got := w.link(t, "Is it in Paris?", 10); len(got) != 1 || got[0] != "q2" {
		t.Errorf("a word that says nothing is taken for a name: %v", got)
	}
	w.linked(t, "Is it by The Who?", "q9")
	w.linked(t, "Who was it?", "")
	if got := w.link(t, "Who was professor Curie?", 10); len(got) != 1 || got[0] != "q1" {
		t.Errorf("a word that says nothing is taken for part of a name: %v", got)
	}
	w.linked(t, "", "")
	w.linked(t, "the of and", "")
	if got := w.link(t, "Marie Curie in Paris", 1); len(got) != 1 || got[0] != "q1" {
		t.Errorf("with limit 1: %v; the longer name counts more", got)
	}
}

func linkChinese(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	w.build(t, "d", []string{"張忠謀", "台積電", "新竹科學園區", "東京タワー"}, nil)
	w.linked(t, "張忠謀是誰", "張忠謀")
	w.linked(t, "請問台積電的創辦人張忠謀是哪裡人？", "張忠謀")
	w.linked(t, "請問台積電的創辦人張忠謀是哪裡人？", "台積電")
	w.linked(t, "新竹科學園區在哪", "新竹科學園區")
	w.linked(t, "東京タワーの高さは", "東京タワー")
	w.linked(t, "科學園區有哪些公司", "新竹科學園區") // by a part of the name
	w.linked(t, "量子力學", "")
	w.build(t, "e", []string{"バス", "대한민국", "กิน"}, nil)
	w.linked(t, "バスはどこ", "バス")
	w.linked(t, "ﾊﾞｽはどこ", "バス")
	w.linked(t, "ハスはどこ", "") // lotuses are no buses
	w.linked(t, "대한민국의 수도는", "대한민국")
	w.linked(t, "อยากกินอะไร", "กิน")
	w.linked(t, "กน", "")
}

func hostileNames(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	w.build(t, "d", []string{"zeppelin"}, nil, "keep zeppelin")
	for i, text := range hostile {
		w.link(t, text, 5)
		w.linked(t, "zeppelin "+clipped(text), "zeppelin")
		if len(text) > 1000 || strings.TrimSpace(text) == "" || strings.ContainsAny(text, "\x00") {
			continue // no ids
		}
		id, chunk := "id "+text, fmt.Sprintf("chunk %d", i)
		w.write(t, pipeline.GraphWrite{
			DocID:     "doc " + text,
			Entities:  []pipeline.Entity{{ID: id, Type: "Thing", Name: text, Props: pairs("note", fmt.Sprintf("%q", "x"+strings.ReplaceAll(text, `"`, "'")))}},
			Relations: []pipeline.Relation{{Src: id, Dst: "zeppelin", Type: "NEAR"}},
			Mentions:  []pipeline.Mention{{PointID: w.chunk(chunk), DocID: "doc " + text, Entity: id}},
		})
		equal(t, text, edges(w.expand(t, w.wide(1, id))), []string{id + " NEAR zeppelin"})
		if n := must[int](t)(store.DeleteDocument(within(t), w.tenant, "doc "+text)); n != 3 {
			t.Errorf("delete document of %q: %d; want an entity, a relation and a chunk", text, n)
		}
	}
	w.linked(t, "zeppelin", "zeppelin")
}
