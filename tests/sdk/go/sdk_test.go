package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
)

// client returns a client of the gateway that the environment names.
func client(t *testing.T, gateway string, opts ...option.RequestOption) openai.Client {
	t.Helper()
	url := os.Getenv("HEADRACE_TEST_" + gateway)
	if url == "" {
		t.Skip("HEADRACE_TEST_" + gateway + " is not set; run the test one folder up")
	}
	opts = append([]option.RequestOption{
		option.WithBaseURL(url), option.WithAPIKey("any"), option.WithMaxRetries(0), option.WithRequestTimeout(30 * time.Second),
	}, opts...)
	return openai.NewClient(opts...)
}

var serial atomic.Int64

// unique is a text that no other call has asked about.
func unique() string {
	return "word " + strconv.FormatInt(time.Now().UnixNano(), 36) + "-" + strconv.FormatInt(serial.Add(1), 10) + " end"
}

func ask(model, text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)}}
}

var tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
	Name: "get_weather", Parameters: openai.FunctionParameters{"type": "object"},
})}

func TestBuiltInModels(t *testing.T) {
	c, ctx := client(t, "DEFAULTS"), t.Context()

	t.Run("chat", func(t *testing.T) {
		r, err := c.Chat.Completions.New(ctx, ask("gpt-4o-mini", unique()))
		if err != nil {
			t.Fatal(err)
		}
		if r.Choices[0].Message.Content == "" || r.Choices[0].FinishReason != "stop" || r.Usage.TotalTokens == 0 {
			t.Errorf("got %s", r.RawJSON())
		}
	})
	t.Run("stream", func(t *testing.T) {
		stream := c.Chat.Completions.NewStreaming(ctx, ask("m", unique()))
		var acc openai.ChatCompletionAccumulator
		n := 0
		for stream.Next() {
			acc.AddChunk(stream.Current())
			n++
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		if n < 3 || acc.Choices[0].Message.Content == "" || acc.Choices[0].FinishReason != "stop" {
			t.Errorf("%d chunks gave %+v", n, acc.Choices)
		}
	})
	t.Run("forced tool call", func(t *testing.T) {
		p := ask("m", unique())
		p.Tools = tools
		p.ToolChoice = openai.ToolChoiceOptionFunctionToolChoice(openai.ChatCompletionNamedToolChoiceFunctionParam{Name: "get_weather"})
		r, err := c.Chat.Completions.New(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		if calls := r.Choices[0].Message.ToolCalls; len(calls) != 1 || calls[0].Function.Name != "get_weather" {
			t.Errorf("got %s", r.RawJSON())
		}
	})
	t.Run("embeddings", func(t *testing.T) {
		r, err := c.Embeddings.New(ctx, openai.EmbeddingNewParams{
			Model: "m", Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"one", "two"}}, Dimensions: openai.Int(16),
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Data) != 2 || len(r.Data[0].Embedding) != 16 {
			t.Errorf("got %s", r.RawJSON())
		}
	})
	t.Run("models", func(t *testing.T) {
		m, err := c.Models.Get(ctx, "offline")
		if err != nil {
			t.Fatal(err)
		}
		if m.ID != "offline" {
			t.Errorf("got %s", m.RawJSON())
		}
	})
	t.Run("cache", func(t *testing.T) {
		p, want := ask("m", unique()), "miss"
		for range 2 {
			var resp *http.Response
			if _, err := c.Chat.Completions.New(ctx, p, option.WithResponseInto(&resp)); err != nil {
				t.Fatal(err)
			}
			if got := resp.Header.Get("X-Headrace-Cache"); got != want {
				t.Errorf("x-headrace-cache: %q, want %q", got, want)
			}
			want = "hit"
		}
	})
	t.Run("responses", func(t *testing.T) {
		p := responses.ResponseNewParams{Model: "m", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hello")}}
		r, err := c.Responses.New(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		stream, text, last := c.Responses.NewStreaming(ctx, p), "", ""
		for stream.Next() {
			text, last = text+stream.Current().AsResponseOutputTextDelta().Delta, stream.Current().Type
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		if r.OutputText() == "" || text != r.OutputText() || last != "response.completed" {
			t.Errorf("whole %q, streamed %q, last event %s", r.OutputText(), text, last)
		}
	})
}

func TestUpstream(t *testing.T) {
	for _, gateway := range []string{"PLAIN", "SHIPPED"} {
		t.Run(gateway, func(t *testing.T) { upstream(t, gateway) })
	}
}

func upstream(t *testing.T, gateway string) {
	c, ctx := client(t, gateway), t.Context()

	t.Run("unknown fields", func(t *testing.T) {
		text := unique()
		r, err := c.Chat.Completions.New(ctx, ask("echo", text), option.WithJSONSet("x_mine.deep", []any{1, nil, "ü"}))
		if err != nil {
			t.Fatal(err)
		}
		if r.Choices[0].Message.Content != text || r.JSON.ExtraFields["x_unknown"].Raw() != `{"kept":true}` {
			t.Errorf("got %s", r.RawJSON())
		}
		if sent := received(t, text); !strings.Contains(sent.Body, `"x_mine":{"deep":[1,null,"ü"]}`) {
			t.Errorf("the upstream got %s", sent.Body)
		}
	})
	t.Run("stream in order", func(t *testing.T) {
		text := strings.Repeat("all the words in order ", 200) + unique()
		stream, got := c.Chat.Completions.NewStreaming(ctx, ask("echo", text)), ""
		for stream.Next() {
			got += stream.Current().Choices[0].Delta.Content
		}
		if err := stream.Err(); err != nil || got != text {
			t.Errorf("%d of %d bytes, %v", len(got), len(text), err)
		}
	})
	t.Run("streamed tool call", func(t *testing.T) {
		p := ask("tool", unique())
		p.Tools = tools
		stream, acc := c.Chat.Completions.NewStreaming(ctx, p), openai.ChatCompletionAccumulator{}
		for stream.Next() {
			acc.AddChunk(stream.Current())
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		if calls := acc.Choices[0].Message.ToolCalls; len(calls) != 1 || calls[0].Function.Arguments != `{"city":"Paris"}` {
			t.Errorf("got %+v", calls)
		}
	})
	t.Run("leaving a stream", func(t *testing.T) {
		text := unique()
		stream := c.Chat.Completions.NewStreaming(ctx, ask("drip", text))
		stream.Next()
		_ = stream.Close()
		abandoned(t, text)
	})
	t.Run("leaving before the answer", func(t *testing.T) {
		text := unique()
		gone, leave := context.WithTimeout(ctx, 300*time.Millisecond)
		defer leave()
		if _, err := c.Chat.Completions.New(gone, ask("hang", text)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		abandoned(t, text)
	})
	t.Run("models", func(t *testing.T) {
		if m, err := c.Models.Get(ctx, "echo"); err != nil || m.ID != "echo" {
			t.Errorf("got %v, %v", m, err)
		}
		_, err := c.Models.Get(ctx, "nope")
		if e, ok := errors.AsType[*openai.Error](err); !ok || e.StatusCode != 404 || e.Code != "model_not_found" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("files", func(t *testing.T) {
		content := bytes.Repeat([]byte("0123456789abcde\n"), 9<<16)
		f, err := c.Files.New(ctx, openai.FileNewParams{File: openai.File(bytes.NewReader(content), "data.jsonl", "application/json"), Purpose: "batch"})
		if err != nil {
			t.Fatal(err)
		}
		if f.Bytes != int64(len(content)) || f.Filename != "data.jsonl" {
			t.Errorf("got %s", f.RawJSON())
		}
		resp, err := c.Files.Content(ctx, "file-stub")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != 64*4096*4 {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

func TestErrors(t *testing.T) {
	c, ctx := client(t, "PLAIN"), t.Context()
	f := func(status int, kind, retryAfter string) {
		t.Helper()
		_, err := c.Chat.Completions.New(ctx, ask("error-"+strconv.Itoa(status), unique()))
		e, ok := errors.AsType[*openai.Error](err)
		if !ok {
			t.Errorf("%d: got %v", status, err)
			return
		}
		if e.StatusCode != status || e.Type != kind || e.Code != "stub_error" || e.Response.Header.Get("Retry-After") != retryAfter {
			t.Errorf("%d: got %d %s %s, Retry-After %q", status, e.StatusCode, e.Type, e.Code, e.Response.Header.Get("Retry-After"))
		}
	}
	f(400, "invalid_request_error", "")
	f(401, "authentication_error", "")
	f(403, "permission_error", "")
	f(404, "invalid_request_error", "")
	f(429, "rate_limit_error", "1")
	f(500, "server_error", "")
	f(503, "server_error", "1")

	_, err := c.Chat.Completions.New(ctx, ask("cut", unique()))
	if e, ok := errors.AsType[*openai.Error](err); !ok || e.StatusCode != 502 {
		t.Errorf("a body that breaks off: got %v", err)
	}
	stream := c.Chat.Completions.NewStreaming(ctx, ask("cut", unique()))
	for stream.Next() {
		if len(stream.Current().Choices) > 0 && stream.Current().Choices[0].FinishReason != "" {
			t.Error("a stream that breaks off looks whole")
		}
	}
	if stream.Err() == nil {
		t.Error("a stream that breaks off gives no error")
	}

	keyed := client(t, "KEYED", option.WithAPIKey("sk-wrong"))
	_, err = keyed.Chat.Completions.New(ctx, ask("echo", unique()))
	if e, ok := errors.AsType[*openai.Error](err); !ok || e.StatusCode != 401 || e.Type != "authentication_error" {
		t.Errorf("a wrong key: got %v", err)
	}
	keyed = client(t, "KEYED", option.WithAPIKey(os.Getenv("HEADRACE_TEST_KEY")))
	if _, err = keyed.Chat.Completions.New(ctx, ask("echo", unique())); err != nil {
		t.Errorf("the right key: got %v", err)
	}
}

// A record is what the upstream received.
type record struct {
	Body string
	Left bool
	Done bool
}

// received returns the request whose body holds text.
func received(t *testing.T, text string) record {
	t.Helper()
	resp, err := http.Get(strings.TrimSuffix(os.Getenv("HEADRACE_TEST_STUB"), "/v1") + "/_stub/requests")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var all []record
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if strings.Contains(r.Body, text) {
			return r
		}
	}
	return record{}
}

// abandoned waits until the upstream has been told that the client left.
func abandoned(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if r := received(t, text); r.Left && r.Done {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the upstream is never told that the client left")
		}
	}
}
