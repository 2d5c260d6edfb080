package service

import (
	"context"
	_ "embed"
	"encoding/json"
	"strconv"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
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
	texts, model, dimensions := r.NeedStrings("texts", h.MaxTexts), r.OptString("model"), r.OptInt("dimensions", 0)
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
	vectors, dim, err := ask.Vectors(answer, len(texts), false)
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
