package race

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/pipeline/sse"
	"github.com/headrace/headrace/providers/upstream"
)

// wire is a bare provider over a real connection.
type wire struct{ client *upstream.Client }

func (w wire) Call(ctx context.Context, ex *pipeline.Exchange) error {
	var req pipeline.Request
	req.Header.SetMethod("POST")
	req.Header.SetRequestURI("/v1/chat/completions")
	req.Header.SetHost("upstream.test")
	req.Header.SetContentType("application/json")
	req.Body = ex.Request.Body
	if err := w.client.RoundTrip(ctx, &req, &ex.Response); err != nil {
		return err
	}
	ex.Response.Body = newEvents(ex.Response.Body)
	return nil
}

type events struct {
	pipeline.Stream
	split sse.Splitter
}

func newEvents(body pipeline.Stream) *events {
	e := &events{Stream: body}
	e.split.Reset(body, 1<<20)
	return e
}

func (e *events) Next() ([]byte, error) { return e.split.Next() }

// A server that loses says when it found its connection closed.
func TestLosersConnectionIsClosed(t *testing.T) {
	f := func(secure, begun, hedge bool, races int) {
		t.Helper()
		pipetest.NoLeaks(t)
		asked, closed := make(chan struct{}, races), make(chan time.Time, races)
		slow := serve(t, secure, func(w http.ResponseWriter, r *http.Request) {
			if begun {
				io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n")
				w.(http.Flusher).Flush()
			}
			asked <- struct{}{}
			<-r.Context().Done()
			closed <- time.Now()
		})
		fast := serve(t, secure, func(w http.ResponseWriter, r *http.Request) {
			select { // nobody has lost who was not asked
			case <-asked:
			case <-r.Context().Done():
			}
			io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}]}\n\ndata: [DONE]\n\n")
		})
		targets := []*pipeline.Target{
			{Index: 0, Name: "slow", Provider: slow},
			{Index: 1, Name: "fast", Provider: fast},
		}
		if hedge { // is the loser
			targets[0].Provider, targets[0].Name = fast, "fast"
			targets[1].Provider, targets[1].Name = slow, "slow"
		}
		c := Config{After: Fixed(2 * time.Millisecond), Budget: 1, Attempts: 2}
		h, err := c.Build(t.Context(), config.Env{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Targets: targets})
		if err != nil {
			t.Fatal(err)
		}
		var took []time.Duration
		for range races {
			ex := pipetest.Exchange(t, `{"model":"m","stream":true}`)
			ex.Targets = targets
			if err := h.Handle(ex.Context(), ex, nil); err != nil {
				t.Fatal(err)
			}
			won := time.Now()
			h.(*handler).hedges.ended(true) // lest it stop: these hedges never win
			if body := pipetest.ReadAll(t, ex); ex.Target.Name != "fast" || !strings.Contains(body, "hello") {
				t.Fatalf("%s answered %q", ex.Target.Name, body)
			}
			ex.Release()
			select {
			case at := <-closed:
				took = append(took, at.Sub(won))
			case <-time.After(10 * time.Second):
				t.Fatal("the loser's connection is still open after 10s")
			}
		}
		slices.Sort(took)
		p99 := took[len(took)*99/100]
		t.Logf("TLS %v, stream begun %v, hedge lost %v: the loser's connection closed p50 %v, p99 %v, worst %v after the win",
			secure, begun, hedge, took[len(took)/2], p99, took[len(took)-1])
		if p99 > 50*time.Millisecond {
			t.Errorf("the loser's connection was closed %v after the win (p99), want 50ms", p99)
		}
		if err := h.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
	}
	races := 200
	if pipetest.Race {
		races = 20 // the race detector makes TLS handshakes slow
	}
	f(false, false, false, races)
	f(true, true, false, races)
	f(false, false, true, races)
	f(true, true, true, races)
}

// serve starts an upstream and returns the provider that asks it.
func serve(t *testing.T, secure bool, handle http.HandlerFunc) wire {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // only then does the server watch the connection
		w.Header().Set("Content-Type", "text/event-stream")
		handle(w, r)
	}))
	o := upstream.Options{}
	if secure {
		s.StartTLS()
		pool := x509.NewCertPool()
		pool.AddCert(s.Certificate())
		o.TLS = &tls.Config{RootCAs: pool, ServerName: "example.com"}
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	o.Address = s.Listener.Addr().String()
	client, err := upstream.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return wire{client}
}
