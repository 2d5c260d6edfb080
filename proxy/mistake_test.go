package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// answered sets the head of an answer of the given length.
func answered(ex *pipeline.Exchange, length int, f *feed) error {
	ex.Response.Header.SetStatusCode(200)
	ex.Response.Header.SetContentType("application/json")
	ex.Response.Header.SetContentLength(length)
	ex.Response.Body = f
	return nil
}

// TestMistakesOfComponents needs what a component must not do to cost the request that it
// does it to, with a word in the log, and no other.
func TestMistakesOfComponents(t *testing.T) {
	var act script
	r := start(t, "", func(ctx context.Context, ex *pipeline.Exchange) error { return act(ctx, ex) })
	said := 0
	// well checks that the gateway goes on, and what it has logged since.
	well := func(logged string) {
		t.Helper()
		act = func(_ context.Context, ex *pipeline.Exchange) error { return answer(ex, "{}") }
		if resp, body, err := r.raw(post(plainBody)); err != nil || resp.StatusCode != 200 || body != "{}" {
			t.Errorf("the next request: %v %q %v", resp, body, err)
		}
		eventually(t, logged, func() bool { return strings.Contains(r.log.String()[said:], logged) })
		said = len(r.log.String())
		eventually(t, "all given back", func() bool { return r.running.Load() == 0 && pipeline.Live() == 0 })
	}
	// refused needs an error in place of an answer.
	refused := func(status int, code, logged string, f script) {
		t.Helper()
		act = f
		r.wantError(post(plainBody), status, code)
		well(logged)
	}
	// broken needs a stream that has begun to end with an error, and to look cut.
	broken := func(logged string, next func() ([]byte, error)) {
		t.Helper()
		act = func(_ context.Context, ex *pipeline.Exchange) error { return events(ex, &feed{next: next}) }
		_, body, err := r.raw(post(streamBody))
		if err == nil || !strings.Contains(body, `"code":"internal_error"`) {
			t.Errorf("looks whole: %q, %v", body, err)
		}
		well(logged)
	}
	const event = "data: {}\n\n"
	closes := func() { panic("canary-close") }

	refused(500, "internal_error", "a nil *pipeline.Error", func(context.Context, *pipeline.Exchange) error {
		var e *pipeline.Error
		return e
	})
	refused(500, "internal_error", "a nil *pipeline.Error", func(context.Context, *pipeline.Exchange) error {
		return fmt.Errorf("wrapped: %w", (*pipeline.Error)(nil))
	})
	refused(500, "no_answer", `"error":"no_answer"`, func(context.Context, *pipeline.Exchange) error { return nil })
	for _, status := range []int{-1, 100, 199, 600, 1000} {
		refused(500, "internal_error", fmt.Sprint("200 to 599: ", status), func(_ context.Context, ex *pipeline.Exchange) error {
			ex.Response.SetBody([]byte("{}"))
			ex.Response.Header.SetStatusCode(status)
			return nil
		})
	}
	refused(502, "upstream_error", `"error":"the reason"`, func(context.Context, *pipeline.Exchange) error { return errors.New("the reason") })
	refused(502, "null", `"status":502`, func(context.Context, *pipeline.Exchange) error { return &pipeline.Error{Fault: 200} })
	refused(502, "null", `"status":502`, func(context.Context, *pipeline.Exchange) error { return &pipeline.Error{Status: 200} })
	refused(500, "internal_error", "empty frames", func(_ context.Context, ex *pipeline.Exchange) error {
		return events(ex, &feed{next: func() ([]byte, error) { return nil, nil }})
	})
	refused(500, "internal_error", "together with io.EOF", func(_ context.Context, ex *pipeline.Exchange) error {
		return answered(ex, -1, &feed{next: func() ([]byte, error) { return []byte("{}"), io.EOF }})
	})
	refused(502, "upstream_cut", `"error":"upstream_cut"`, func(_ context.Context, ex *pipeline.Exchange) error {
		return answered(ex, 2, &feed{next: list(io.EOF, "{}", "{}")})
	})

	then := func(frame []byte, err error) func() ([]byte, error) {
		n := 0
		return func() ([]byte, error) {
			if n++; n == 1 {
				return []byte(event), nil
			}
			return frame, err
		}
	}
	broken("empty frames", then(nil, nil))
	broken("together with io.EOF", then([]byte("data: [DONE]\n\n"), io.EOF))
	// One blank line more than there need be, as some upstreams send, is no such mistake.
	act = func(_ context.Context, ex *pipeline.Exchange) error {
		return events(ex, &feed{next: list(io.EOF, event, "\n", "\r\n")})
	}
	if _, body, err := r.raw(post(streamBody)); err != nil || body != event+"\n\r\n" {
		t.Errorf("blank lines at the end: %q, %v", body, err)
	}
	broken("within an event", list(io.EOF, event, "data: {"))
	broken("within an event", list(io.EOF, event, "data: {}\n"))

	// What is shorter or longer than it said must not look whole either.
	f := func(length int, frames ...string) {
		t.Helper()
		act = func(_ context.Context, ex *pipeline.Exchange) error {
			return answered(ex, length, &feed{next: list(io.EOF, frames...)})
		}
		if resp, body, err := r.raw(post(plainBody)); err == nil && resp.StatusCode == 200 {
			t.Errorf("%d of %q looks whole: %q", length, frames, body)
		}
		well(`"error":"upstream_cut"`)
	}
	f(100, "{}")
	f(100, "{}", "{}")
	f(3, "{}", "{}")
	f(3, "{}{}")

	// Whatever closing does, the answer is out and all is given back.
	for _, kind := range []func(ex *pipeline.Exchange) error{
		func(ex *pipeline.Exchange) error {
			return answered(ex, 2, &feed{next: list(io.EOF, "{}"), closed: closes})
		},
		func(ex *pipeline.Exchange) error {
			return answered(ex, -1, &feed{next: list(io.EOF, "{}"), closed: closes})
		},
		func(ex *pipeline.Exchange) error {
			b := ex.Fork(ex.Context())
			defer ex.Adopt(b)
			return answered(b, 2, &feed{next: list(io.EOF, "{}"), closed: closes})
		},
	} {
		act = func(_ context.Context, ex *pipeline.Exchange) error { return kind(ex) }
		if resp, body, err := r.raw(post(plainBody)); err != nil || resp.StatusCode != 200 || body != "{}" {
			t.Errorf("%v %q %v", resp, body, err)
		}
		well("canary-close")
	}
	refused(502, "upstream_error", "canary-close", func(_ context.Context, ex *pipeline.Exchange) error {
		_ = answered(ex, 2, &feed{next: list(io.EOF, "{}"), closed: closes})
		return errors.New("not sent")
	})
}

// clashConfig is a stage that has a metric of the gateway's own.
type clashConfig struct{}

func (clashConfig) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	env.Metrics.MustRegister(
		prometheus.NewGauge(prometheus.GaugeOpts{Name: "headrace_requests_total", Help: "Another."}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "clash_panics", Help: "h"}, func() float64 { panic("canary-gauge") }),
		prometheus.NewGauge(prometheus.GaugeOpts{Name: "clash_well", Help: "h"}),
	)
	return pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		return next.Handle(ctx, ex)
	}), nil
}

// TestMetricsThatCannotBeHad needs them to hide no others.
func TestMetricsThatCannotBeHad(t *testing.T) {
	scripts.Store(t.Name(), script(func(_ context.Context, ex *pipeline.Exchange) error { return answer(ex, "{}") }))
	old := registry
	registry = registry.With(config.Define[pipeline.Handler]("clash", clashConfig{}, ""))
	t.Cleanup(func() { registry = old })
	r := startFile(t, func() string {
		return strings.Replace(file(t.Name(), ""), "chain: [ ask: {} ]", "chain: [ clash: {}, ask: {} ]", 1)
	})
	resp, err := http.Get("http://" + r.AdminAddr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s: %q, %v", resp.Status, body, err)
	}
	for _, want := range []string{"headrace_requests_in_flight ", "clash_well{"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	for _, want := range []string{"headrace_requests_total", "canary-gauge"} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("no %s in %s", want, r.log)
		}
	}
}
