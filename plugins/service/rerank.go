package service

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/detail"
	"github.com/headrace/headrace/pipeline/rag"
)

//go:embed rerank.go
var rerankSource string

// Rerank describes serve_rerank to a registry.
var Rerank = config.Define[pipeline.Handler]("serve_rerank", RerankConfig{TopN: 6, MaxDocuments: 1000}, rerankSource)

// RerankConfig answers POST /rerank: documents by how well they answer a query.
// The answer has the fields of the replaced service and those of Cohere's API.
// It stands first in its route.
type RerankConfig struct {
	// With scores the documents, unless the request names a model. Without it
	// the stages behind answer as they would POST /v1/rerank.
	With config.Ref[pipeline.Reranker] `yaml:"with"`
	// Model is asked where there is neither with nor a model in the request.
	Model string `yaml:"model"`
	// TopN is how many results are given where the request does not say.
	TopN int `yaml:"top_n" check:"min=1,max=1000"`
	// MaxDocuments bounds how many documents one request may hold.
	MaxDocuments int `yaml:"max_documents" check:"min=1,max=10000"`
}

// Validate implements the cross-field rule.
func (c RerankConfig) Validate() error {
	if c.With.IsZero() && c.Model == "" {
		return errors.New("there is nobody to ask: set with, or model")
	}
	return nil
}

// Build implements config.Builder.
func (c RerankConfig) Build(context.Context, config.Env) (pipeline.Handler, error) {
	return &rerankEndpoint{RerankConfig: c, with: get(c.With)}, nil
}

type rerankEndpoint struct {
	endpoint
	RerankConfig
	with pipeline.Reranker
}

type ranked struct {
	Index     int     `json:"index"`
	Score     float32 `json:"score"`
	Relevance float32 `json:"relevance_score"`
	Text      *string `json:"text,omitempty"`
	Document  *struct {
		Text string `json:"text"`
	} `json:"document,omitempty"`
}

// Handle implements pipeline.Handler.
func (h *rerankEndpoint) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	r, err := detail.Read(ex)
	if err != nil {
		return err
	}
	query, documents, topN := r.NeedString("query"), r.NeedStrings("documents", h.MaxDocuments), r.Int("top_n", h.TopN)
	model, withText := r.OptString("model"), r.OptBool("return_documents", true)
	if err := r.Err(); err != nil {
		return err
	}
	texts, places := notBlank(documents)
	if len(texts) == 0 || topN < 1 || strings.TrimSpace(query) == "" {
		return detail.Fail(502, "rerank_error", "rerank_error: a query, a document that is not blank and a top_n above 0 are needed")
	}
	var scores []float32
	if h.with != nil && (model == nil || *model == "") {
		scores, err = rag.Scores(ctx, h.with, query, texts)
	} else {
		name := h.Model
		if model != nil && *model != "" {
			name = *model
		}
		scores, err = scored(ctx, ex, next, name, query, texts)
	}
	if err != nil {
		return gone(ex, "rerank_error", err)
	}
	return reply(ex, rerankReply{OK: true, ID: "rerank-" + string(ex.Request.Header.Peek("X-Request-Id")), Results: results(scores, places, documents, topN, withText), Meta: struct{}{}})
}

type rerankReply struct {
	OK      bool     `json:"ok"`
	ID      string   `json:"id"`
	Results []ranked `json:"results"`
	Meta    struct{} `json:"meta"`
}

// notBlank are the documents with something in them, and their places among
// all.
func notBlank(documents []string) (texts []string, places []int) {
	for i, d := range documents {
		if strings.TrimSpace(d) != "" {
			texts, places = append(texts, d), append(places, i)
		}
	}
	return texts, places
}

// results are the best n, whose index is the place in the caller's list.
func results(scores []float32, places []int, documents []string, n int, withText bool) []ranked {
	all := make([]ranked, 0, len(scores))
	for i, s := range scores {
		if i < len(places) {
			all = append(all, ranked{Index: places[i], Score: s, Relevance: s})
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Compare(b.Score, a.Score) })
	all = all[:min(n, len(all))]
	for i := range all {
		if withText {
			text := documents[all[i].Index]
			all[i].Text = &text
			all[i].Document = &struct {
				Text string `json:"text"`
			}{text}
		}
	}
	return all
}

// scored has a model score the texts.
func scored(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain, model, query string, texts []string) ([]float32, error) {
	body, err := json.Marshal(map[string]any{"model": model, "query": query, "documents": texts, "top_n": len(texts), "return_documents": false})
	if err != nil {
		return nil, err
	}
	answer, err := ask.Model(ctx, ex, next, pipeline.OpRerank, model, body)
	if err != nil {
		return nil, err
	}
	return ask.Scores(answer, len(texts), len(texts))
}
