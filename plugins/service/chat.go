package service

import (
	"context"
	_ "embed"
	"encoding/json"
	"strings"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/detail"
)

//go:embed chat.go
var chatSource string

// Chat describes serve_chat to a registry.
var Chat = config.Define[pipeline.Handler]("serve_chat", ChatConfig{Model: "rag-answer", Temperature: 0.2}, chatSource)

// ChatConfig answers POST /chat: a chat whose answer comes as text, or as JSON
// where the text is JSON. It stands first in its route; the stages behind it
// answer as they would a chat completion.
type ChatConfig struct {
	// Model answers where the request names none.
	Model string `yaml:"model" check:"required"`
	// LenientModels has that model answer also for names that the file does not
	// declare. Without it they are refused with 404.
	LenientModels bool `yaml:"lenient_models"`
	// Temperature is sent where the request has none.
	Temperature float64 `yaml:"temperature" check:"min=0,max=2"`
}

// Build implements config.Builder.
func (c ChatConfig) Build(context.Context, config.Env) (pipeline.Handler, error) {
	return &chatEndpoint{ChatConfig: c}, nil
}

type chatEndpoint struct {
	endpoint
	ChatConfig
}

// chatRequest is the request as a chat completion.
type chatRequest struct {
	Model       string            `json:"model"`
	Messages    []json.RawMessage `json:"messages"`
	Temperature float64           `json:"temperature"`
	Format      *format           `json:"response_format,omitempty"`
	RAG         json.RawMessage   `json:"rag,omitempty"`
}

type format struct {
	Type string `json:"type"`
}

var jsonObject = &format{Type: "json_object"}

func (h *chatEndpoint) parse(ex *pipeline.Exchange) (*chatRequest, error) {
	r, err := detail.Read(ex)
	if err != nil {
		return nil, err
	}
	q := &chatRequest{Messages: r.NeedTextObjects("messages")}
	if m := r.OptString("model"); m != nil {
		q.Model = strings.TrimSpace(*m)
	}
	q.Temperature = r.Float("temperature", h.Temperature)
	if r.Bool("json_mode", false) {
		q.Format = jsonObject
	}
	q.RAG = r.Dict("rag")
	if err := r.Err(); err != nil {
		return nil, err
	}
	if len(q.Messages) == 0 {
		return nil, detail.FailField("messages", "missing_field", "messages must be a non-empty array")
	}
	if q.Model == "" || h.LenientModels && !declared(ex.Models, q.Model) {
		q.Model = h.Model
	}
	return q, nil
}

// jsonHint asks for JSON in words.
const jsonHint = "Answer with one JSON object and nothing else."

// hint says in the messages too that the answer is to be JSON, where they do not
// mention it: OpenAI refuses to promise an object of which nobody has spoken. It goes
// into the system message that comes first, if there is one, as some models take no
// second one.
func (q *chatRequest) hint() {
	if q.Format == nil {
		return
	}
	for _, m := range q.Messages {
		text, _ := chat.Text(chat.Get(m, "content"))
		if strings.Contains(strings.ToLower(text), "json") {
			return
		}
	}
	first := map[string]string{}
	if len(q.Messages) > 0 {
		_ = json.Unmarshal(q.Messages[0], &first) // an object of texts, as it was read
	}
	messages := q.Messages
	if role := first["role"]; role == "system" || role == "developer" {
		messages = messages[1:]
		first["content"] = strings.TrimSpace(first["content"] + "\n\n" + jsonHint)
	} else {
		first = map[string]string{"role": "system", "content": jsonHint}
	}
	said, err := json.Marshal(first)
	if err != nil {
		panic("BUG: texts that are no JSON: " + err.Error())
	}
	q.Messages = append([]json.RawMessage{said}, messages...)
}

// declared reports whether the file names the model, not just a pattern that
// it fits.
func declared(models *pipeline.Models, name string) bool {
	m := models.Find([]byte(name))
	return m != nil && m.Name == name
}

// Handle implements pipeline.Handler.
func (h *chatEndpoint) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	q, err := h.parse(ex)
	if err != nil {
		return err
	}
	q.hint()
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	answer, err := ask.Model(ctx, ex, next, pipeline.OpChat, q.Model, body)
	if err != nil {
		return gone(ex, "upstream_chat_error", err)
	}
	said, err := ask.Read(answer)
	if err != nil {
		return failed("upstream_chat_error", err)
	}
	return reply(ex, chatReply{OK: true, Data: parsed(said.Text), Meta: meta(ex, q.Model, said.Usage)})
}

// parsed is the text as JSON: itself if it is JSON, else as a string.
func parsed(text string) json.RawMessage {
	if raw := []byte(strings.TrimSpace(text)); len(raw) > 0 && chat.Valid(raw) == nil {
		return raw
	}
	return chat.AppendString(nil, text)
}

type chatReply struct {
	OK   bool            `json:"ok"`
	Data json.RawMessage `json:"data"`
	Meta chatMeta        `json:"meta"`
}

type chatMeta struct {
	Model     string          `json:"model"`
	Provider  *string         `json:"provider"`
	Cached    bool            `json:"cached"`
	RequestID string          `json:"request_id"`
	Usage     json.RawMessage `json:"usage"`
	Citations []citation      `json:"citations"`
}

func meta(ex *pipeline.Exchange, model string, usage []byte) chatMeta {
	m := chatMeta{
		Model: model, Usage: usage, Citations: []citation{},
		RequestID: string(ex.Request.Header.Peek("X-Request-Id")),
		Cached:    string(ex.Response.Header.Peek("X-Headrace-Cache")) == "hit",
	}
	if m.Usage == nil {
		m.Usage = json.RawMessage("null")
	}
	if ex.Target != nil {
		m.Provider = &ex.Target.Name
	}
	for i := range ex.Passages {
		m.Citations = append(m.Citations, citationOf(&ex.Passages[i]))
	}
	return m
}
