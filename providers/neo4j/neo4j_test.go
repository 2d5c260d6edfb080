package neo4j

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
)

func TestConform(t *testing.T) {
	pipetest.Conform(t, Component, "uri: bolt://127.0.0.1:1")
}

func TestFiles(t *testing.T) {
	pipetest.Problems(t, config.Registry{Component}, "testdata")
}

func open(t *testing.T, uri string) *Store {
	t.Helper()
	c := Config{URI: uri, Database: "neo4j", Timeout: 2 * time.Second, WriteTimeout: 2 * time.Second, Connections: 4}
	s, err := c.Build(t.Context(), config.Env{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.(*Store).Close(); err != nil {
			t.Error(err)
		}
	})
	return s.(*Store)
}

// calls are all calls of the port.
func calls(s *Store) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"link": func(ctx context.Context) error {
			_, err := s.Link(ctx, pipeline.LinkQuery{Tenant: "a", Text: "New York", Limit: 3})
			return err
		},
		"related": func(ctx context.Context) error {
			_, err := s.Related(ctx, pipeline.RelatedQuery{Tenant: "a", Chunks: []string{"1"}, Limit: 3, MaxSeeds: 3, HubCap: 3})
			return err
		},
		"expand": func(ctx context.Context) error {
			_, err := s.Expand(ctx, pipeline.ExpandQuery{Tenant: "a", Seeds: []pipeline.Seed{{ID: "a", Weight: 1}}, Hops: 1, MaxNodes: 5, MaxEdges: 5})
			return err
		},
		"write": func(ctx context.Context) error {
			_, err := s.Write(ctx, pipeline.GraphWrite{Tenant: "a", Entities: []pipeline.Entity{{ID: "a"}}})
			return err
		},
		"delete": func(ctx context.Context) error {
			_, err := s.DeleteDocument(ctx, "a", "d")
			return err
		},
		"query": func(ctx context.Context) error {
			_, _, err := s.QueryGraph(ctx, pipeline.GraphQuery{Text: "RETURN 1"})
			return err
		},
	}
}

// A server that takes connections and says nothing costs the time that a call
// has, and no more.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s := open(t, "bolt://"+l.Addr().String())
	for name, call := range calls(s) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		began := time.Now()
		err := call(ctx)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > time.Second {
			t.Errorf("%s: %v after %v", name, err, took)
		}
		cancel()
		ctx, stop := context.WithCancelCause(t.Context())
		time.AfterFunc(20*time.Millisecond, func() { stop(pipeline.ErrClientGone) })
		if err := call(ctx); !errors.Is(err, pipeline.ErrClientGone) {
			t.Errorf("%s: %v after the client has left", name, err)
		}
	}
}

func TestNoServer(t *testing.T) {
	s := open(t, "bolt://127.0.0.1:1")
	for name, call := range calls(s) {
		err := call(t.Context())
		e, ok := errors.AsType[*pipeline.Error](err)
		if !ok || e.Status != 503 || e.Code != "store_unavailable" || strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNormal(t *testing.T) {
	f := func(name, want string) {
		t.Helper()
		if got := normal(name); got != want {
			t.Errorf("%q: %q; want %q", name, got, want)
		}
	}
	f("New  York!", "new york")
	f("Jürgen MÜLLER", "jurgen muller")
	f("張忠謀", "張忠謀")
	f("ＡＢＣ１", "abc1")
	f("O'Neil-Smith", "o neil smith")
	f("+++", "+++")
	f("バス", "バス")
	f("ﾊﾞｽ", "バス")
	f("กิน", "กิน")
	f("हिन्दी भाषा", "हिन्दी भाषा")
	f("대한민국", "대한민국")
	f("أَحْمَد", "احمد")
	f("Ἀθῆναι", "αθηναι")
	f("", "")
}

func TestLongest(t *testing.T) {
	known := map[string]bool{"new york": true, "new york university": true, "york": true, "張忠謀": true, "張": true, "z": true, "it": true, "what it is": true}
	f := func(question string, want ...string) {
		t.Helper()
		w := wordingOf(question)
		if diff := cmp.Diff(want, w.longest(func(s string) bool { return known[s] })); diff != "" {
			t.Errorf("%q: %s", question, diff)
		}
		for _, c := range w.candidates() {
			if !strings.Contains(w.text, c) {
				t.Errorf("%q: candidate %q", question, c)
			}
		}
	}
	f("is New York University in New York or York", "new york university", "new york", "york")
	f("張忠謀是誰", "張忠謀")
	f("z", "z")
	f("z b")
	f("it")
	f("is it known what it is", "what it is")
	f("")
}

func TestTerms(t *testing.T) {
	f := func(question, want string) {
		t.Helper()
		got := terms("t", question)
		if _, got, _ = strings.Cut(got, "^0 "); got != want {
			t.Errorf("%q: %s; want %s", question, got, want)
		}
	}
	f("Foo/bar AND (OR \" to: NEAR~", "+(foo bar near)")
	f("Who was it?", "")
	f("+-&|!(){}[]^\"~*?:\\/", "")
	f("", "")
	if n := len(strings.Fields(terms("t", strings.Repeat("ab ", 1000)))); n > maxTerms+1 {
		t.Errorf("%d terms", n)
	}
}

func FuzzNames(f *testing.F) {
	f.Add("Who is 張忠謀 of New York? \xff")
	f.Fuzz(func(t *testing.T, s string) {
		w := wordingOf(s)
		for _, c := range w.candidates() {
			if c == "" || !strings.Contains(w.text, c) {
				t.Errorf("candidate %q of %q", c, s)
			}
		}
		if len(normal(s)) > maxName {
			t.Errorf("%d bytes of a name", len(normal(s)))
		}
		if q := terms("t", s); utf8.ValidString(s) && strings.ContainsAny(strings.TrimPrefix(q, "+scope:"+scopeOf("t")+"^0 +("), "+-&|!{}[]^\"~*?:\\/(") {
			t.Errorf("query %q", q)
		}
	})
}

func TestJudge(t *testing.T) {
	f := func(name, details string, fine bool) {
		t.Helper()
		p := step{operator: "ProduceResults@neo4j", from: []step{{operator: name + "@neo4j", details: details}, {operator: "Argument@neo4j"}}}
		if err := judge(p, 0); (err == nil) != fine {
			t.Errorf("%s %s: %v", name, details, err)
		}
	}
	f("NodeIndexSeek", "", true)
	f("Expand(All)", "(a)-[r]->(b)", true)
	f("VarLengthExpand(All)", "(a)-[r*1..3]->(b)", true)
	f("VarLengthExpand(All)", "(a)-[r:X*..3]->(b)", true)
	f("VarLengthExpand(All)", "(a)-[r*]->(b)", false)
	f("VarLengthExpand(All)", "(a)-[r*2..]->(b)", false)
	f("VarLengthExpand(All)", "(`{1, 3}`)-[`*1..3]`*]->(b)", false)
	f("VarLengthExpand(All)", "p = (a)-[r*]->(b) WHERE all(x IN nodes(p) WHERE x.a = '*1..3]')", false)
	f("VarLengthExpand(Pruning,BFS,All)", "(a)-[*..2147483647]->(b) ", false)
	f("Repeat(Trail)", "(a) (...){1, 3} (b)", true)
	f("Repeat(Trail)", "(a) (...){1, } (b)", false)
	f("ShortestPath", "p = (a)-[anon_0*..5]-(b)", true)
	f("ShortestPath", "p = (a)-[anon_0:R*]-(b)", false)
	f("Projection", "shortestPath((a)-[:R*..5]->(b)) AS p, `shortestPath(`", true)
	f("Projection", "shortestPath((a)-[*..5]-(b)) AS p, shortestPath((a)-[*]-(b)) AS q", false)
	for _, name := range []string{"AllNodesScan", "LoadCSV", "ShowTransactions", "TerminateTransactions", "TransactionForeach", "TransactionApply", "Create", "Merge", "SetProperty", "Anything"} {
		f(name, "", false)
	}
}

func TestParams(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		params, err := paramsOf([]byte(in))
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprintf("%#v", params["a"])
		}
		if got != want {
			t.Errorf("%s: %s; want %s", in, got, want)
		}
	}
	f(`{"a": 1}`, "1")
	f(`{"a": 9223372036854775807}`, "9223372036854775807")
	f(`{"a": 9223372036854775808}`, "params.a: the number 9223372036854775808 is too large")
	f(`{"a": 1.5}`, "1.5")
	f(`{"a": [1, "x"]}`, `[]interface {}{1, "x"}`)
	f(`{"a": {"b": [2]}}`, `map[string]interface {}{"b":[]interface {}{2}}`)
	f(`[]`, "params: an object is expected")
	f(``, "<nil>")
}

func TestProps(t *testing.T) {
	old := []pipeline.Prop{{Key: "a", Value: []byte("1")}, {Key: `q"`, Value: []byte(`"x"`)}}
	got := merged(propsOf(jsonOf(old)), []pipeline.Prop{{Key: "b", Value: []byte("null")}, {Key: "a", Value: []byte("2")}})
	want := []pipeline.Prop{{Key: "a", Value: []byte("2")}, {Key: `q"`, Value: []byte(`"x"`)}, {Key: "b", Value: []byte("null")}}
	if diff := cmp.Diff(want, got); diff != "" || !json.Valid([]byte(jsonOf(got))) {
		t.Error(diff)
	}
}
