package mock

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/benchmarks/payload"
	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/providers/neo4j"
	"github.com/headrace/headrace/providers/qdrant"
)

// start returns the address of an upstream that runs until the test is over.
func start(t *testing.T) Client {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = New(Defaults).Serve(l) }()
	t.Cleanup(func() { _ = l.Close() })
	return Client{l.Addr().String()}
}

func post(t *testing.T, c Client, path string, body []byte) *http.Response {
	t.Helper()
	resp, err := http.Post("http://"+c.Addr+path, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func set(t *testing.T, c Client, s Settings) {
	t.Helper()
	if err := c.Set(s); err != nil {
		t.Fatal(err)
	}
}

func TestAnswers(t *testing.T) {
	c := start(t)
	f := func(path string, body []byte, status int, size int) {
		t.Helper()
		resp := post(t, c, path, body)
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status || !json.Valid(b) || len(b) < size {
			t.Errorf("%s: status %d, %v: %.200s", path, resp.StatusCode, err, b)
		}
	}
	f("/v1/chat/completions", payload.Chat(1<<10, false), 200, 1000)
	f("/chat/completions", payload.Chat(20<<10, false), 200, 1000)
	f("/v1/embeddings", payload.Embeddings(), 200, 256*9)
	f("/v1/models", nil, 200, 100)
	f("/v1/unknown", nil, 404, 10)
	f("/_mock/set?latency=soon", nil, 400, 10)
	f("/_mock/set?nonsense=1", nil, 400, 10)
	stats, err := c.Stats()
	if diff := cmp.Diff(Stats{Calls: 3, Departed: map[uint64]int64{}, Served: map[uint64]bool{}}, stats); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// Endpoints beside those of OpenAI that the replaced service had upstream.
func TestShapes(t *testing.T) {
	c := start(t)
	f := func(path, body string, into any) {
		t.Helper()
		if err := json.NewDecoder(post(t, c, path, []byte(body)).Body).Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	var vectors struct {
		Data []struct{ Embedding []float64 }
	}
	f("/v1/embeddings", `{"input":["a","b","a"]}`, &vectors)
	if d := vectors.Data; len(d) != 3 || len(d[2].Embedding) != 256 || !cmp.Equal(d[0], d[2]) || cmp.Equal(d[0], d[1]) {
		t.Errorf("%d vectors, or not the same for the same text only", len(d))
	}
	var ranked struct {
		Results []struct {
			Index int
			Score float64 `json:"relevance_score"`
		}
	}
	f("/v1/rerank", `{"query":"q","documents":["a","b"]}`, &ranked)
	if r := ranked.Results; len(r) != 2 || r[1].Index != 1 || r[0].Score <= r[1].Score {
		t.Errorf("ranked %+v", r)
	}
	var said struct {
		Choices []struct{ Message struct{ Content string } }
	}
	began := time.Now()
	f("/v1/chat/completions", `{"messages":[],"model":"graph-30ms"}`, &said)
	var graph struct{ Nodes, Edges []any }
	if err := json.Unmarshal([]byte(said.Choices[0].Message.Content), &graph); err != nil || len(graph.Nodes) != 2 || len(graph.Edges) != 1 {
		t.Errorf("%+v, %v", said, err)
	}
	if took := time.Since(began); took < 30*time.Millisecond {
		t.Errorf("the graph came after %v", took)
	}
}

func TestErrorsAndTail(t *testing.T) {
	c := start(t)
	s := Defaults
	s.Errors, s.Latency, s.Tail, s.TailFactor = 1, 10*time.Millisecond, 1, 5
	set(t, c, s)
	begun := time.Now()
	if resp := post(t, c, "/v1/chat/completions", payload.Chat(1<<10, false)); resp.StatusCode != 500 {
		t.Errorf("status %d, want 500", resp.StatusCode)
	}
	if d := time.Since(begun); d < 50*time.Millisecond {
		t.Errorf("a slow answer took %v, want 50ms or more", d)
	}
}

func TestStream(t *testing.T) {
	c := start(t)
	s := Defaults
	s.Chunks, s.Pace = 5, 20*time.Millisecond
	set(t, c, s)
	begun := time.Now()
	resp := post(t, c, "/v1/chat/completions", payload.Chat(1<<10, true))
	var events []string
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		events = append(events, data)
		if len(events) > s.Chunks {
			continue
		}
		if !json.Valid([]byte(data)) {
			t.Fatalf("event %q", data)
		}
		sent, err := strconv.ParseInt(strings.Split(data, "@")[1], 10, 64)
		if age := time.Now().UnixNano() - sent; err != nil || age < 0 || age > int64(10*time.Second) {
			t.Errorf("event sent %d ns ago, %v", age, err)
		}
	}
	if len(events) != s.Chunks+2 || events[s.Chunks+1] != "[DONE]" {
		t.Errorf("events %q", events)
	}
	if d := time.Since(begun); d < 80*time.Millisecond {
		t.Errorf("five events 20ms apart took %v", d)
	}
}

// A caller who hangs up is noted at that moment, by the reference in its
// request; one who waits is not.
func TestDepartures(t *testing.T) {
	c := start(t)
	s := Defaults
	s.Latency, s.Watch = 300*time.Millisecond, true
	set(t, c, s)

	body := payload.Chat(1<<10, false)
	payload.PutReference(body[payload.Reference(body):], 42)
	conn, err := net.Dial("tcp4", c.Addr)
	if err != nil {
		t.Fatal(err)
	}
	head := "POST /v1/chat/completions HTTP/1.1\r\nHost: mock\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	if _, err := conn.Write(append([]byte(head), body...)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	left := time.Now().UnixNano()
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if resp := post(t, c, "/v1/chat/completions", payload.Chat(1<<10, false)); resp.StatusCode != 200 {
		t.Errorf("status %d for the one who waits", resp.StatusCode)
	}
	stats, err := c.Stats()
	if err != nil {
		t.Fatal(err)
	}
	at, ok := stats.Departed[42]
	if !stats.Served[0] || len(stats.Served) != 1 {
		t.Errorf("served %v, want the one who waited", stats.Served)
	}
	if len(stats.Departed) != 1 || !ok || at < left || at > left+int64(200*time.Millisecond) {
		t.Errorf("departures %v, left at %d", stats.Departed, left)
	}
}

// The gateway's own clients take the two for a vector store and a graph.
func TestStores(t *testing.T) {
	m := New(with(func(s *Settings) { s.Numbers, s.Search, s.Cypher = 8, 20*time.Millisecond, 30*time.Millisecond }))
	serve := func(f func(net.Listener) error) string {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = f(l) }()
		t.Cleanup(func() { _ = l.Close() })
		return l.Addr().String()
	}
	points := open[pipeline.VectorStore](t, qdrant.Config{
		URL: "http://" + serve(m.ServeQdrant), Timeout: time.Second, Connections: 1, MaxCalls: 4, MaxReply: 1 << 20,
	})
	began := time.Now()
	legs, err := points.Search(t.Context(), pipeline.SearchQuery{
		Tenant: Tenant, Collection: "chunks", Vector: []float32{1, 0, 0, 0, 0, 0, 0, 0}, Text: "export job", Limit: 10,
	})
	if err != nil || len(legs.Dense) != 10 || len(legs.Sparse) != 10 || legs.Dense[1].Text != payload.Passage(1) || time.Since(began) < 20*time.Millisecond {
		t.Errorf("got %d and %d passages after %v, %v", len(legs.Dense), len(legs.Sparse), time.Since(began), err)
	}
	found, err := points.Fetch(t.Context(), Tenant, "chunks", []string{legs.Sparse[3].ID, "00000000-0000-5000-8000-ffffffffffff"})
	if err != nil || len(found) != 1 || found[0].Text != legs.Sparse[3].Text {
		t.Errorf("fetched %+v, %v", found, err)
	}

	facts := open[neo4j.Graph](t, neo4j.Config{URI: "bolt://" + serve(m.ServeBolt), Database: "neo4j", Timeout: time.Second, WriteTimeout: time.Second, Connections: 2})
	seeds, err := facts.Link(t.Context(), pipeline.LinkQuery{Tenant: Tenant, Text: "Why does the export job stop?", Limit: 5})
	if err != nil || len(seeds) != 1 {
		t.Fatalf("got seeds %v, %v", seeds, err)
	}
	sub, err := facts.Expand(t.Context(), pipeline.ExpandQuery{Tenant: Tenant, Seeds: seeds, Hops: 1, Fanout: 20, HubCap: 100, MaxSeeds: 5, MaxNodes: 100, MaxEdges: 100})
	if err != nil || len(sub.Entities) != 21 || len(sub.Relations) != 20 {
		t.Errorf("got %d entities and %d relations, %v", len(sub.Entities), len(sub.Relations), err)
	}
	near, err := facts.Related(t.Context(), pipeline.RelatedQuery{Tenant: Tenant, Chunks: []string{"a"}, Limit: 10, HubCap: 100, MaxSeeds: 5})
	if err != nil || len(near) != 10 {
		t.Errorf("got %d chunks, %v", len(near), err)
	}
	records, _, err := facts.QueryGraph(t.Context(), pipeline.GraphQuery{Text: "MATCH (e:Entity) RETURN e.name AS name LIMIT 1"})
	if err != nil || len(records) != 1 {
		t.Errorf("got %s, %v", records, err)
	}
}

func with(change func(*Settings)) Settings {
	s := Defaults
	change(&s)
	return s
}

// open builds a store and closes it when the test is over.
func open[T any](t *testing.T, settings config.Builder[T]) T {
	t.Helper()
	s, err := settings.Build(t.Context(), config.Env{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = any(s).(io.Closer).Close() })
	return s
}
