package service

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/detail"
)

//go:embed embed.go
var embedSource string

// Embed describes serve_embed to a registry.
var Embed = config.Define[pipeline.Handler]("serve_embed", EmbedConfig{Model: "local-embed", MaxTexts: 2048}, embedSource)

// EmbedConfig answers POST /embed: vectors for texts. It stands first in its
// route; the stages behind it answer as they would a request for embeddings.
type EmbedConfig struct {
	// Model makes the vectors where the request names none.
	Model string `yaml:"model" check:"required"`
	// MaxTexts bounds how many texts one request may hold.
	MaxTexts int `yaml:"max_texts" check:"min=1,max=100000"`
}

// Build implements config.Builder.
func (c EmbedConfig) Build(context.Context, config.Env) (pipeline.Handler, error) {
	return &embedEndpoint{EmbedConfig: c}, nil
}

type embedEndpoint struct {
	endpoint
	EmbedConfig
}

// Handle implements pipeline.Handler.
func (h *embedEndpoint) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	r, err := detail.Read(ex)
	if err != nil {
		return err
	}
	texts, model, dimensions := r.NeedStrings("texts"), r.OptString("model"), r.OptInt("dimensions", 0)
	if len(texts) > h.MaxTexts {
		r.Refuse("texts", "too_long", fmt.Sprintf("List should have at most %d items", h.MaxTexts), map[string]int{"max_length": h.MaxTexts})
	}
	if err := r.Err(); err != nil {
		return err
	}
	if len(texts) == 0 {
		return detail.Fail(502, "embed_error", "embed_error: input must not be empty")
	}
	q := embedRequest{Model: h.Model, Input: texts, Encoding: "float", Dimensions: dimensions}
	if model != nil && *model != "" {
		q.Model = *model
	}
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	answer, err := ask.Model(ctx, ex, next, pipeline.OpEmbeddings, q.Model, body)
	if err != nil {
		return gone(ex, "embed_error", err)
	}
	vectors, dim, err := vectorsOf(answer, len(texts))
	if err != nil {
		return failed("embed_error", err)
	}
	ask.Set(ex, 200, embedReply(vectors, dim))
	return nil
}

type embedRequest struct {
	Model      string   `json:"model"`
	Input      []string `json:"input"`
	Encoding   string   `json:"encoding_format"`
	Dimensions int      `json:"dimensions,omitempty"`
}

// embedReply is the answer. The vectors go into it as they are.
func embedReply(vectors [][]byte, dim int) []byte {
	size := len(`{"ok":true,"vectors":[],"dim":65536}`) + len(vectors)
	for _, v := range vectors {
		size += len(v)
	}
	b := append(make([]byte, 0, size), `{"ok":true,"vectors":[`...)
	for i, v := range vectors {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, v...)
	}
	b = strconv.AppendInt(append(b, `],"dim":`...), int64(dim), 10)
	return append(b, '}')
}

// vectorsOf takes the n vectors out of an answer, by their index, as they are
// written there.
func vectorsOf(answer []byte, n int) (vectors [][]byte, dim int, err error) {
	unusable := func(why string) error {
		return &pipeline.Error{Status: 502, Code: "upstream_protocol", Fault: pipeline.UpstreamFault, Err: fmt.Errorf("the upstream's embeddings cannot be used: %s", why)}
	}
	if chat.Valid(answer) != nil {
		return nil, 0, unusable("they are no JSON")
	}
	vectors = make([][]byte, n)
	i := 0
	for e := range chat.Array(chat.Get(answer, "data")) {
		at, v := int64(i), []byte(nil)
		for key, value := range chat.Object(e) {
			switch string(key) {
			case "index":
				var ok bool
				if at, ok = chat.Int(value); !ok {
					return nil, 0, unusable("an index is no integer")
				}
			case "embedding":
				v = value
			}
		}
		size := numbers(v)
		if i == 0 {
			dim = size
		}
		if at < 0 || at >= int64(n) || vectors[at] != nil || size == 0 || size != dim {
			return nil, 0, unusable("an index or a vector is wrong")
		}
		vectors[at] = v
		i++
	}
	if i != n {
		return nil, 0, unusable(fmt.Sprintf("%d for %d texts", i, n))
	}
	return vectors, dim, nil
}

// numbers is how many numbers the array v, which is valid JSON, has. It is 0 if there is
// anything else in it.
func numbers(v []byte) int {
	if len(v) == 0 || v[0] != '[' || bytes.IndexByte(v[1:], '[') >= 0 || len(bytes.Trim(v, "[] \t\r\n")) == 0 {
		return 0
	}
	for _, c := range []byte(`{"ul`) { // each of null, true and false has one of the two letters
		if bytes.IndexByte(v, c) >= 0 {
			return 0
		}
	}
	return bytes.Count(v, []byte{','}) + 1
}
