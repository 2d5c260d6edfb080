package stub

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
)

func completions(w http.ResponseWriter, _ *http.Request, c *call) {
	prompt, _ := c.json["prompt"].(string)
	if stream, _ := c.json["stream"].(bool); stream {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, p := range []string{prompt, "!"} {
			b, _ := json.Marshal(map[string]any{
				"id": "cmpl-stub", "object": "text_completion", "created": 1700000000, "model": c.Model,
				"choices": []any{map[string]any{"index": 0, "text": p, "logprobs": nil, "finish_reason": nil}},
			})
			_, _ = fmt.Fprintf(w, "data: %s\n\n", b)
			flush(w)
		}
		_, _ = w.Write([]byte("data: [DONE]\n\n"))
		return
	}
	answer(w, 200, map[string]any{
		"id": "cmpl-stub", "object": "text_completion", "created": 1700000000, "model": c.Model,
		"choices": []any{map[string]any{"index": 0, "text": prompt + "!", "logprobs": nil, "finish_reason": "stop"}},
		"usage":   map[string]any{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
	})
}

// embeddings answers with vectors whose first number tells the place of the
// input in the request.
func embeddings(w http.ResponseWriter, _ *http.Request, c *call) {
	n := 1
	if list, ok := c.json["input"].([]any); ok && len(list) > 0 {
		if _, tokens := list[0].(float64); !tokens {
			n = len(list)
		}
	}
	dim := 8
	if d, ok := c.json["dimensions"].(float64); ok {
		dim = int(d)
	}
	data := make([]any, n)
	for i := range data {
		v := make([]float32, dim)
		for j := range v {
			v[j] = float32(i) + float32(j)/16
		}
		var e any = v
		if c.json["encoding_format"] == "base64" {
			raw := make([]byte, 0, 4*dim)
			for _, x := range v {
				raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
			}
			e = base64.StdEncoding.EncodeToString(raw)
		}
		data[i] = map[string]any{"object": "embedding", "index": i, "embedding": e}
	}
	answer(w, 200, map[string]any{
		"object": "list", "model": c.Model, "data": data,
		"usage": map[string]any{"prompt_tokens": n, "total_tokens": n},
	})
}

func rerank(w http.ResponseWriter, _ *http.Request, c *call) {
	docs, _ := c.json["documents"].([]any)
	results := make([]any, len(docs))
	for i := range docs {
		results[i] = map[string]any{"index": len(docs) - 1 - i, "relevance_score": 1 / float64(i+1)}
	}
	answer(w, 200, map[string]any{
		"id": "rerank-stub", "results": results,
		"meta": map[string]any{"billed_units": map[string]any{"search_units": 1}},
	})
}

func response(c *call, status string) map[string]any {
	text, _ := c.json["input"].(string)
	m := map[string]any{
		"id": "resp_stub", "object": "response", "created_at": 1700000000, "status": status, "model": c.Model,
		"output": []any{}, "parallel_tool_calls": true, "tool_choice": "auto", "tools": []any{}, "metadata": map[string]any{},
		"error": nil, "incomplete_details": nil, "instructions": nil, "temperature": 1, "top_p": 1,
	}
	if status == "completed" {
		m["output"] = []any{map[string]any{
			"type": "message", "id": "msg_stub", "status": "completed", "role": "assistant",
			"content": []any{map[string]any{"type": "output_text", "text": text, "annotations": []any{}}},
		}}
		m["usage"] = map[string]any{
			"input_tokens": 1, "input_tokens_details": map[string]any{"cached_tokens": 0},
			"output_tokens": 1, "output_tokens_details": map[string]any{"reasoning_tokens": 0}, "total_tokens": 2,
		}
	}
	return m
}

func responses(w http.ResponseWriter, _ *http.Request, c *call) {
	if stream, _ := c.json["stream"].(bool); !stream || c.Model == "unstreamed" {
		answer(w, 200, response(c, "completed"))
		return
	}
	text, _ := c.json["input"].(string)
	w.Header().Set("Content-Type", "text/event-stream")
	n := 0
	event := func(kind string, fields map[string]any) {
		fields["type"], fields["sequence_number"] = kind, n
		n++
		b, _ := json.Marshal(fields)
		_, _ = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", kind, b)
		flush(w)
	}
	item := func(status string, content ...any) map[string]any {
		return map[string]any{"type": "message", "id": "msg_stub", "status": status, "role": "assistant", "content": append([]any{}, content...)}
	}
	part := func(text string) map[string]any {
		return map[string]any{"type": "output_text", "text": text, "annotations": []any{}}
	}
	at := func(more map[string]any) map[string]any {
		more["item_id"], more["output_index"], more["content_index"] = "msg_stub", 0, 0
		return more
	}
	event("response.created", map[string]any{"response": response(c, "in_progress")})
	event("response.in_progress", map[string]any{"response": response(c, "in_progress")})
	if c.Model == "in-stream" {
		event("error", map[string]any{"code": "server_error", "message": "the stub was told to fail", "param": nil})
		return
	}
	event("response.output_item.added", map[string]any{"output_index": 0, "item": item("in_progress")})
	event("response.content_part.added", at(map[string]any{"part": part("")}))
	for _, piece := range []string{text[:len(text)/2], text[len(text)/2:]} {
		event("response.output_text.delta", at(map[string]any{"delta": piece, "logprobs": []any{}}))
	}
	event("response.output_text.done", at(map[string]any{"text": text, "logprobs": []any{}}))
	event("response.content_part.done", at(map[string]any{"part": part(text)}))
	event("response.output_item.done", map[string]any{"output_index": 0, "item": item("completed", part(text))})
	event("response.completed", map[string]any{"response": response(c, "completed")})
}

func storedResponse(w http.ResponseWriter, r *http.Request, c *call) {
	m := response(c, "completed")
	m["id"] = r.PathValue("id")
	answer(w, 200, m)
}

func models(w http.ResponseWriter, _ *http.Request, _ *call) {
	answer(w, 200, map[string]any{"object": "list", "data": []any{modelNamed("echo"), modelNamed("tool")}})
}

func modelNamed(id string) map[string]any {
	return map[string]any{"id": id, "object": "model", "created": 1700000000, "owned_by": "stub"}
}

func model(w http.ResponseWriter, r *http.Request, _ *call) {
	id := r.PathValue("id")
	if id != "echo" && id != "tool" {
		answer(w, 404, map[string]any{"error": map[string]any{
			"message": "The model '" + id + "' does not exist",
			"type":    "invalid_request_error", "param": "model", "code": "model_not_found",
		}})
		return
	}
	answer(w, 200, modelNamed(id))
}

// fileOf returns the first file of a multipart body.
func (c *call) fileOf(r *http.Request) (name string, content []byte, fields map[string]string) {
	fields = map[string]string{}
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return "", nil, fields
	}
	for parts := multipart.NewReader(bytes.NewReader(c.body), params["boundary"]); ; {
		p, err := parts.NextPart()
		if err != nil {
			return name, content, fields
		}
		b, err := io.ReadAll(p)
		if err != nil {
			return name, content, fields
		}
		if p.FileName() != "" {
			name, content = p.FileName(), b
		} else {
			fields[p.FormName()] = string(b)
		}
	}
}

func upload(w http.ResponseWriter, r *http.Request, c *call) {
	name, content, fields := c.fileOf(r)
	if name == "" {
		answer(w, 400, map[string]any{"error": map[string]any{"message": "no file in the body", "type": "invalid_request_error", "param": "file", "code": nil}})
		return
	}
	answer(w, 200, map[string]any{
		"id": "file-stub", "object": "file", "bytes": len(content), "created_at": 1700000000,
		"filename": name, "purpose": fields["purpose"], "status": "processed",
	})
}

func download(w http.ResponseWriter, _ *http.Request, _ *call) {
	w.Header().Set("Content-Type", "application/octet-stream")
	piece := bytes.Repeat([]byte{0, 1, 2, 0xff}, 4096)
	for range 64 {
		_, _ = w.Write(piece)
	}
}

func remove(w http.ResponseWriter, r *http.Request, _ *call) {
	answer(w, 200, map[string]any{"id": r.PathValue("id"), "object": "file", "deleted": true})
}

func speech(w http.ResponseWriter, _ *http.Request, _ *call) {
	w.Header().Set("Content-Type", "audio/mpeg")
	_, _ = w.Write([]byte("ID3\x00\xff\xfbnot really sound"))
}

func transcription(w http.ResponseWriter, r *http.Request, c *call) {
	name, content, fields := c.fileOf(r)
	answer(w, 200, map[string]any{"text": fmt.Sprintf("%s has %d bytes for %s", name, len(content), fields["model"])})
}

func unknown(w http.ResponseWriter, r *http.Request, _ *call) {
	answer(w, 404, map[string]any{"error": map[string]any{
		"message": "Unknown request URL: " + r.Method + " " + r.URL.Path,
		"type":    "invalid_request_error", "param": nil, "code": "unknown_url",
	}})
}
