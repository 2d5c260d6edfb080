// Package guard refuses prompts that hold a banned word. It is the whole of a
// third party's plugin: one file in a module of their own.
package guard

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

//go:embed guard.go
var source string

// Plugin describes guard to a registry: its name in the file, what it does
// where the file says nothing, and where its documentation is read from.
var Plugin = config.Define[pipeline.Handler]("guard", Config{Status: 400}, source)

// Config refuses requests whose prompt contains a banned word.
type Config struct {
	// Words are refused wherever they appear in a prompt, in any case.
	Words []string `yaml:"words" check:"required"`
	// Status is returned for a refused request.
	Status int `yaml:"status" check:"min=400,max=499"`
}

// Build implements config.Builder.
func (c Config) Build(context.Context, config.Env) (pipeline.Handler, error) {
	h := &handler{status: c.Status}
	for _, w := range c.Words {
		h.words = append(h.words, strings.ToLower(w))
	}
	return h, nil
}

type handler struct {
	words  []string
	status int
}

var errBanned = errors.New("the prompt contains a word that is not allowed here")

// prompts are the members that hold one: of chats, responses and completions.
var prompts = [...]string{"messages", "input", "instructions", "prompt"}

// Handle implements pipeline.Handler.
func (h *handler) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	if !ex.Op.Answers() { // there is no prompt
		return next.Handle(ctx, ex)
	}
	request, err := ex.Chat() // scanned once, whoever asks first
	if err != nil {
		return err
	}
	for _, key := range prompts {
		// The text is looked at as the model will read it, not as JSON spells it.
		var prompt any
		raw, _ := request.Member(key)
		if json.Unmarshal(raw, &prompt) == nil && h.banned(prompt) {
			return &pipeline.Error{Status: h.status, Code: "prompt_refused", Param: key, Fault: pipeline.PolicyFault, Err: errBanned}
		}
	}
	return next.Handle(ctx, ex)
}

// banned looks for a banned word in every text of v.
func (h *handler) banned(v any) bool {
	switch v := v.(type) {
	case string:
		v = strings.ToLower(v)
		for _, w := range h.words {
			if strings.Contains(v, w) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, h.banned)
	case map[string]any:
		for _, item := range v {
			if h.banned(item) {
				return true
			}
		}
	}
	return false
}
