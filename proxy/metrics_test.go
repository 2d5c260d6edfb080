package proxy

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
)

// Every answer is counted once, under its route and the class of its status; those of a
// target also by whose fault they are.
func TestRequestsAreCounted(t *testing.T) {
	r := start(t, "open: true", func(_ context.Context, ex *pipeline.Exchange) error {
		switch do := string(ex.Request.Header.Peek("X-Do")); do {
		case "refuse":
			return &pipeline.Error{Status: 400, Code: "no_such_thing", Err: io.EOF}
		case "fail":
			return &pipeline.Error{Status: 502, Code: "upstream_cut", Err: io.EOF}
		case "panic":
			panic("as told")
		case "break":
			return events(ex, &feed{next: list(&pipeline.Error{Status: 504, Code: "upstream_timeout", Err: io.EOF}, "data: {}\n\n")})
		case "stream":
			return events(ex, &feed{next: list(io.EOF, "data: {}\n\n")})
		case "faulty":
			ex.Response.Fault = pipeline.OverloadFault
			err := answer(ex, `{"error":{}}`)
			ex.Response.Header.SetStatusCode(429)
			return err
		}
		return answer(ex, `{"n":1}`)
	})
	was := map[string]float64{}
	f := func(request string, want map[string]float64) {
		t.Helper()
		_, _, _ = r.raw(request)
		count := func() (got map[string]float64, flying float64) {
			got = map[string]float64{}
			families, err := r.metrics.registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, family := range families {
				for _, m := range family.Metric {
					name, own := strings.CutPrefix(family.GetName(), "headrace_")
					words := []string{name}
					for _, l := range m.Label {
						words = append(words, l.GetValue())
					}
					switch {
					case name == "requests_in_flight":
						flying = m.GetGauge().GetValue()
					case own:
						got[strings.Join(words, " ")] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
					}
				}
			}
			return got, flying
		}
		var got map[string]float64
		eventually(t, "the end of what is in flight", func() (done bool) {
			all, flying := count()
			got = map[string]float64{}
			for name, n := range all {
				if n != was[name] {
					got[name] = n - was[name]
				}
			}
			if done = flying == 0 && len(got) > 0; done {
				was = all
			}
			return done
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", request, diff)
		}
	}
	do := func(what string) string {
		return fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Do: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", what, len(streamBody), streamBody)
	}
	f(do(""), map[string]float64{"requests_total chat 2xx": 1, "answers_total none p": 1, "request_duration_seconds chat": 1})
	f(do("refuse"), map[string]float64{"requests_total chat 4xx": 1, "answers_total caller p": 1, "request_duration_seconds chat": 1})
	f(do("fail"), map[string]float64{"requests_total chat 5xx": 1, "answers_total upstream p": 1, "request_duration_seconds chat": 1})
	f(do("faulty"), map[string]float64{"requests_total chat 4xx": 1, "answers_total overload p": 1, "request_duration_seconds chat": 1})
	f(do("stream"), map[string]float64{"requests_total chat 2xx": 1, "answers_total none p": 1, "request_duration_seconds chat": 1, "time_to_first_chunk_seconds chat": 1})
	f(do("break"), map[string]float64{"requests_total chat 2xx": 1, "answers_total timeout p": 1, "request_duration_seconds chat": 1, "time_to_first_chunk_seconds chat": 1})
	f(do("panic"), map[string]float64{"requests_total chat 5xx": 1, "answers_total gateway p": 1, "request_duration_seconds chat": 1, "panics_total": 1})
	f("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", map[string]float64{"requests_total none 4xx": 1, "request_duration_seconds none": 1})
	f("GET /v1/%zz HTTP/1.1\r\nHost: a\r\n\r\n", map[string]float64{"requests_total none 4xx": 1, "request_duration_seconds none": 1})
	f("GET / HTTP/1.1\r\n\r\n", map[string]float64{"requests_total none 4xx": 1})
	f("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n", map[string]float64{"requests_total none 4xx": 1})
	f("OPTIONS /v1/models HTTP/1.1\r\nHost: a\r\nOrigin: http://127.0.0.1:1\r\nAccess-Control-Request-Method: GET\r\n\r\n", map[string]float64{"requests_total none 2xx": 1})
}
