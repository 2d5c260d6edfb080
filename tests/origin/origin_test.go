// Package origin replays what was recorded of the replaced service: the same
// requests must get the same status, and answers with the same fields of the
// same types. Where the gateway differs on purpose, docs/replaced-service.md
// says so, and this test holds it to what it says there.
package origin

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/plugins/standard"
	"github.com/headrace/headrace/proxy"
	"github.com/headrace/headrace/tests/harness"
)

// A recorded is one request and its answer.
type recorded struct {
	Name     string            `json:"name"`
	Method   string            `json:"method"`
	Path     string            `json:"path"`
	Headers  map[string]string `json:"headers"`
	Request  json.RawMessage   `json:"request"`
	Raw      *string           `json:"request_raw"`
	Pad      *pad              `json:"request_pad"`
	Config   string            `json:"config"`
	Status   int               `json:"status"`
	Response json.RawMessage   `json:"response"`
	Defect   *json.RawMessage  `json:"defect"`
	Variable []string          `json:"variable"`
}

type pad struct {
	At    []any  `json:"at"`
	With  string `json:"with"`
	Bytes int    `json:"bytes"`
}

// load reads recorded cases, or skips the test where there are none.
func load(t *testing.T, name string) (all []recorded) {
	t.Helper()
	b, err := os.ReadFile(harness.Data(t, "origin/"+name))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var r recorded
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// start runs the gateway and returns its address.
func start(t *testing.T, env map[string]string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/replay.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := proxy.New(t.Context(), proxy.Options{
		Log: slog.New(slog.DiscardHandler), Access: io.Discard, Version: "test",
		Load: func(ctx context.Context, old *config.Snapshot) (*config.Snapshot, error) {
			src := config.Source{File: "replay.yaml", Data: data, Getenv: func(k string) (string, bool) { v, ok := env[k]; return v, ok }}
			return config.Load(ctx, src, standard.Components(), slog.New(slog.DiscardHandler), old)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return "http://" + s.Addr().String()
}

// values are answers of the setup, for the places that name them.
type values map[string]string

var place = regexp.MustCompile(`\{\{([a-z_]+\.[a-z_]+)\}\}`)

func (v values) put(s string) string {
	return place.ReplaceAllStringFunc(s, func(m string) string { return v[m[2:len(m)-2]] })
}

// send makes the request of a case.
func send(t *testing.T, base string, r *recorded, v values) (int, []byte) {
	t.Helper()
	body := v.put(string(r.Request))
	if body == "null" {
		body = ""
	}
	if r.Raw != nil {
		body = *r.Raw
		if h, ok := strings.CutPrefix(body, "hex:"); ok {
			b, err := hex.DecodeString(h)
			if err != nil {
				t.Fatal(err)
			}
			body = string(b)
		}
	}
	if r.Pad != nil {
		body = strings.Replace(body, `"content": ""`, `"content": "`+strings.Repeat(r.Pad.With, r.Pad.Bytes)+`"`, 1)
	}
	req, err := http.NewRequestWithContext(t.Context(), r.Method, base+v.put(r.Path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, h := range r.Headers {
		req.Header.Set(k, v.put(h))
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", r.Name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, got
}

// lacks says which field or type of want is not in got, or "".
func lacks(want, got any, at string) string {
	switch w := want.(type) {
	case nil:
		return ""
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return differs(at, want, got)
		}
		for k := range w {
			have, ok := g[k]
			if !ok {
				return at + "." + k + " is missing"
			}
			if why := lacks(w[k], have, at+"."+k); why != "" {
				return why
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok {
			return differs(at, want, got)
		}
		for i := range min(len(w), len(g)) {
			if why := lacks(w[i], g[i], fmt.Sprintf("%s[%d]", at, i)); why != "" {
				return why
			}
		}
		return ""
	}
	if got == nil || fmt.Sprintf("%T", want) == fmt.Sprintf("%T", got) {
		return ""
	}
	return differs(at, want, got)
}

func differs(at string, want, got any) string {
	return fmt.Sprintf("%s is %T, want %T", at, got, want)
}

func TestReplay(t *testing.T) {
	setup, cases := load(t, "setup.jsonl"), load(t, "golden.jsonl")
	page, err := os.ReadFile("../../docs/replaced-service.md")
	if err != nil {
		t.Fatal(err)
	}
	up := upstream(t)
	bases := map[string]string{
		"":             start(t, map[string]string{"UPSTREAM": up.URL + "/v1", "STORES": "on"}),
		"unconfigured": start(t, map[string]string{"UPSTREAM": up.URL + "/v1"}),
		"stores_down":  start(t, map[string]string{"UPSTREAM": "http://127.0.0.1:9/v1", "STORES": "on"}),
	}
	v := values{}
	for _, r := range setup {
		status, body := send(t, bases[""], &r, v)
		if status != r.Status {
			t.Fatalf("%s: %d %s", r.Name, status, body)
		}
		var fields map[string]any
		_ = json.Unmarshal(body, &fields)
		for k, x := range fields {
			if s, ok := x.(string); ok {
				v[r.Name+"."+k] = s
			}
		}
	}
	identical, different := 0, 0
	seen := map[string]bool{}
	for _, r := range cases {
		seen[r.Name] = true
		status, body := send(t, bases[r.Config], &r, v)
		why := compare(&r, status, body)
		want, deliberate := departures[r.Name]
		switch {
		case deliberate && status != want:
			t.Errorf("%s: status %d %.300s; the page says %d", r.Name, status, body, want)
		case deliberate && !bytes.Contains(page, []byte("`"+r.Name+"`")):
			t.Errorf("%s: not on the page", r.Name)
		case deliberate:
			different++
		case why != "" && r.Defect != nil:
			t.Errorf("%s: a recorded defect whose better answer is not on the page: %s (%d %.300s)", r.Name, why, status, body)
		case why != "":
			t.Errorf("%s: %s: %d %.300s\nrecorded %d %.300s", r.Name, why, status, body, r.Status, r.Response)
		default:
			identical++
		}
	}
	for name := range departures {
		if !seen[name] {
			t.Errorf("%s: no such case", name)
		}
	}
	t.Logf("%d cases: %d as recorded, %d different on purpose", len(cases), identical, different)
}

// compare says how an answer departs from the recorded one, or "".
func compare(r *recorded, status int, body []byte) string {
	if status != r.Status {
		return "another status"
	}
	var want, got any
	if json.Unmarshal(r.Response, &want) != nil || len(r.Variable) > 0 && r.Variable[0] == "*" {
		return ""
	}
	if s, ok := want.(string); ok && s == "" {
		return ""
	}
	if err := json.Unmarshal(body, &got); err != nil {
		if _, ok := want.(string); ok {
			return ""
		}
		return "no JSON"
	}
	return lacks(want, got, "")
}
