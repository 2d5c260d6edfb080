package stores

import (
	"bufio"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	client "github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/storetest"
	"github.com/headrace/headrace/providers/qdrant"
	"github.com/headrace/headrace/tests/harness"
	"github.com/headrace/headrace/tests/stores/qdrantserver"
)

// An engine is Qdrant's own, in a process of Python's, as the backend of the
// test server: what it finds and how it scores is what the real server does.
type engine struct {
	mu  sync.Mutex
	in  io.WriteCloser
	out *bufio.Reader
}

func startEngine(t *testing.T) *engine {
	t.Helper()
	harness.Suite(t)
	cmd := exec.Command(harness.Tool(t, "qdrant/bin/python"), "engine/engine.py", t.TempDir())
	log := &harness.Log{}
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // it ends with its input
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log)
		}
	})
	e := &engine{in: in, out: bufio.NewReaderSize(out, 1<<20)}
	if line, err := e.out.ReadString('\n'); err != nil {
		t.Fatalf("the engine says %q: %v\n%s", line, err, log)
	}
	return e
}

// call asks the engine; out may be nil.
func (e *engine) call(call, name string, body proto.Message, out any) error {
	raw, err := protojson.Marshal(body)
	if err != nil {
		return err
	}
	line, err := json.Marshal(map[string]any{"call": call, "name": name, "body": json.RawMessage(raw)})
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.in.Write(append(line, '\n')); err != nil {
		return err
	}
	answer, err := e.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	got := struct {
		Result any
		Error  string
	}{Result: out}
	if err := json.Unmarshal(answer, &got); err != nil {
		return err
	}
	if got.Error != "" {
		return status.Error(codes.InvalidArgument, got.Error)
	}
	return nil
}

type found struct {
	ID      string
	Score   float32
	Payload map[string]any
}

func (f found) fields() map[string]*client.Value { return client.NewValueMap(f.Payload) }

func (e *engine) Create(name string, c *client.CreateCollection) error {
	return e.call("create", name, c, nil)
}

func (e *engine) Upsert(name string, points []*client.PointStruct) error {
	return e.call("upsert", name, &client.UpsertPoints{Points: points}, nil)
}

func (e *engine) Delete(name string, of *client.PointsSelector) error {
	return e.call("delete", name, &client.DeletePoints{Points: of}, nil)
}

func (e *engine) Get(name string, ids []*client.PointId) ([]*client.RetrievedPoint, error) {
	var list []found
	err := e.call("get", name, &client.GetPoints{Ids: ids}, &list)
	var out []*client.RetrievedPoint
	for _, f := range list {
		out = append(out, &client.RetrievedPoint{Id: client.NewIDUUID(f.ID), Payload: integers(f)})
	}
	return out, err
}

func (e *engine) Query(name string, q *client.QueryPoints) ([]*client.ScoredPoint, error) {
	var list []found
	err := e.call("query", name, q, &list)
	var out []*client.ScoredPoint
	for _, f := range list {
		out = append(out, &client.ScoredPoint{Id: client.NewIDUUID(f.ID), Score: f.Score, Payload: integers(f)})
	}
	return out, err
}

func (e *engine) Count(name string, f *client.Filter) (n uint64, err error) {
	return n, e.call("count", name, &client.CountPoints{Filter: f}, &n)
}

func (e *engine) Scroll(name string, r *client.ScrollPoints) ([]*client.RetrievedPoint, *client.PointId, error) {
	var page struct {
		Points []found
		Next   string
	}
	err := e.call("scroll", name, r, &page)
	var out []*client.RetrievedPoint
	for _, f := range page.Points {
		out = append(out, &client.RetrievedPoint{Id: client.NewIDUUID(f.ID), Payload: integers(f)})
	}
	if page.Next == "" {
		return out, nil, err
	}
	return out, client.NewIDUUID(page.Next), err
}

// integers is a payload whose index is a whole number again, which JSON does
// not tell from others.
func integers(f found) map[string]*client.Value {
	fields := f.fields()
	if n, ok := f.Payload["index"].(float64); ok {
		fields["index"] = client.NewValueInt(int64(n))
	}
	return fields
}

func openQdrant(t *testing.T, url, key string) *qdrant.Store {
	t.Helper()
	c := qdrant.Config{URL: url, Key: config.Secret(key), Timeout: 10 * time.Second, WriteTimeout: time.Minute, Connections: 3, MaxCalls: 64, MaxReply: 64 << 20}
	s, err := c.Build(t.Context(), config.Env{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	store := s.(*qdrant.Store)
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// The suite of all vector stores on Qdrant's engine; on a real server too where
// HEADRACE_TEST_QDRANT names one, with its key in HEADRACE_TEST_QDRANT_KEY.
func TestQdrant(t *testing.T) {
	t.Run("engine", func(t *testing.T) {
		server := &qdrantserver.Server{Backend: startEngine(t)}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Stop)
		s := openQdrant(t, server.URL(), "")
		storetest.Vectors(t, func(*testing.T) pipeline.VectorStore { return s })
	})
	t.Run("server", func(t *testing.T) {
		url := os.Getenv("HEADRACE_TEST_QDRANT")
		if url == "" {
			t.Skip("HEADRACE_TEST_QDRANT names no server")
		}
		s := openQdrant(t, url, os.Getenv("HEADRACE_TEST_QDRANT_KEY"))
		storetest.Vectors(t, func(*testing.T) pipeline.VectorStore { return s })
	})
}
