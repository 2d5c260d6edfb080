package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
)

// Each line tells who asked for what, who answered and how it went. Of the path it has
// what is no secret, and of a name what can stand in JSON.
func TestAccessLog(t *testing.T) {
	scripts.Store(t.Name(), script(func(_ context.Context, ex *pipeline.Exchange) error {
		switch string(ex.Request.Header.Peek("X-Do")) {
		case "refuse":
			return &pipeline.Error{Status: 400, Code: "no_such_thing", Err: io.EOF}
		case "fail":
			return &pipeline.Error{Status: 502, Code: "upstream_cut", Err: io.EOF}
		case "break":
			return events(ex, &feed{next: list(&pipeline.Error{Status: 502, Code: "upstream_cut", Err: io.EOF}, "data: {}\n\n")})
		}
		ex.Tenant = `ac"me`
		ex.Response.Header.Set("X-Headrace-Cache", "miss")
		return answer(ex, `{"n":1}`)
	}))
	f := func(mode string, want ...string) {
		t.Helper()
		r := startFile(t, func() string { return strings.Replace(file(t.Name(), ""), "access_log: all", "access_log: "+mode, 1) })
		send := func(path, id, do string) {
			c := r.dial()
			defer c.Close()
			_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: a\r\nX-Request-Id: %s\r\nX-Do: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, id, do, len(streamBody), streamBody)
			_, _, _ = readAnswer(bufio.NewReader(c)) // that which breaks does so here
		}
		send("/v1/chat/completions?key=secret", "whole", "")
		send("/v1/chat/completions", "refused", "refuse")
		send("/v1/chat/completions", "failed", "fail")
		send("/v1/chat/completions", "broken", "break")
		send("/nothing?key=secret", "unknown", "")
		send(`/x"y`, "lost", "")
		_, _, _ = r.raw("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Request-Id: large\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := r.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		var got []string
		for line := range strings.Lines(r.log.String()) {
			var l map[string]any
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if l["msg"] != "request" {
				continue
			}
			at, err := time.Parse(time.RFC3339Nano, l["time"].(string))
			took, ok := l["duration_ms"].(float64)
			first, begun := l["first_byte_ms"].(float64)
			if err != nil || time.Since(at).Abs() > time.Minute || !ok || took < 0 || took == 0 && l["route"] != nil || took > 10_000 || first > took || begun != (l["request_id"] == "broken") {
				t.Errorf("the times of %q", line)
			}
			if sent := l["bytes"]; sent != 7.0 && l["request_id"] == "whole" || sent == 0.0 {
				t.Errorf("the bytes of %q", line)
			}
			if id, _ := l["request_id"].(string); l["path"] == nil && strings.HasPrefix(id, "req_") {
				l["request_id"] = "ours"
			}
			delete(l, "bytes")
			delete(l, "msg")
			delete(l, "time")
			delete(l, "duration_ms")
			delete(l, "first_byte_ms")
			b, _ := json.Marshal(l)
			got = append(got, string(b))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", mode, diff)
		}
	}
	whole := `{"attempts":1,"cache":"miss","level":"INFO","method":"POST","model":"plain","path":"/v1/chat/completions","request_id":"whole","route":"chat","status":200,"target":"p","tenant":"ac\"me"}`
	refused := `{"attempts":1,"error":"no_such_thing","level":"INFO","method":"POST","model":"plain","path":"/v1/chat/completions","request_id":"refused","route":"chat","status":400,"target":"p"}`
	failed := `{"attempts":1,"error":"upstream_cut","level":"WARN","method":"POST","model":"plain","path":"/v1/chat/completions","request_id":"failed","route":"chat","status":502,"target":"p"}`
	broken := `{"attempts":1,"error":"upstream_cut","level":"WARN","method":"POST","model":"plain","path":"/v1/chat/completions","request_id":"broken","route":"chat","status":200,"target":"p"}`
	unknown := `{"error":"unknown_path","level":"INFO","method":"POST","path":"/nothing","request_id":"unknown","route":"none","status":404}`
	lost := `{"error":"malformed_request","level":"INFO","request_id":"ours","status":400}`
	large := `{"error":"request_too_large","level":"INFO","method":"POST","path":"/v1/chat/completions","request_id":"large","status":413}`
	f("all", whole, refused, failed, broken, unknown, lost, large)
	f("errors", refused, failed, broken, unknown, lost, large)
	f("\"off\"")
}
