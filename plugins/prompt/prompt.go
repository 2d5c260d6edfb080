// Package prompt puts the passages and facts that were found into a chat request,
// a response's or a completion's, and tells the client what the answer was made from.
//
// What was found goes into the last user's message, in front of the question, so
// that what comes before it stays as it was and caches of prompts go on to hit.
// It is fenced by a tag that nobody can foresee, freed of whatever could pass for
// the tag or for a marker of roles, and never longer than its budget.
//
// Stock clients see headers, and annotations on the markers in a whole answer;
// more only if they ask for it.
package prompt

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/rag"
)

//go:embed prompt.go
var source string

// Plugin describes prompt to a registry.
var Plugin = config.Define[pipeline.Handler]("prompt", Config{
	Placement: "last_user", Keep: 10, MaxTokens: 6000, Shares: Shares{0.75, 0.2}, Empty: "passthrough", Citations: true,
}, source)

// Config puts what was found into the prompt.
type Config struct {
	// Placement is where it goes: last_user puts it into the last user's
	// message, in front of the question; developer into a message of its own in
	// front of that; system_append behind the first system message, which gives
	// documents more of a say than they should have. Of a response that is behind
	// the instructions, if there are any. A completion has one text and no roles:
	// there it always goes in front of that.
	Placement string `yaml:"placement" check:"enum=last_user|developer|system_append"`
	// Keep is how many passages it has at most: without a reranker, the first five
	// that a search finds and the five of the graph behind them. A request can ask for
	// another number, with "rag": {"top_k": 3}.
	Keep int `yaml:"keep" check:"min=1,max=100"`
	// MaxTokens bounds it. It is less where the model's context_window leaves
	// less, and where a request asks for less.
	MaxTokens int `yaml:"max_tokens" check:"min=64,max=1000000"`
	// Shares are the parts of it for passages and for facts.
	Shares Shares `yaml:"shares"`
	// Empty is what happens when nothing was found: passthrough leaves the
	// request as it is, say_so tells the model that there is nothing.
	Empty string `yaml:"empty" check:"enum=passthrough|say_so"`
	// Citations asks the model to cite passages as [1], and annotates what it
	// cites in answers that are no streams.
	Citations bool `yaml:"citations"`
	// Contexts keeps what each answer was made from, for clients to fetch.
	Contexts config.Ref[*rag.Contexts] `yaml:"contexts"`
}

// Shares are parts of the budget.
type Shares struct {
	// Text is the part for passages, which also get what facts leave over.
	Text config.Ratio `yaml:"text" check:"min=0"`
	// Graph is the part for facts.
	Graph config.Ratio `yaml:"graph" check:"min=0"`
}

// Validate refuses settings that contradict each other.
func (c Config) Validate() error {
	if sum := c.Shares.Text + c.Shares.Graph; sum > 1 || sum <= 0 {
		return fmt.Errorf("shares: text %s and graph %s add up to %s; together they are more than 0%% and at most 100%%", c.Shares.Text, c.Shares.Graph, sum)
	}
	return nil
}

// Build implements config.Builder.
func (c Config) Build(context.Context, config.Env) (pipeline.Handler, error) {
	h := &handler{Config: c}
	if !c.Contexts.IsZero() {
		h.contexts = c.Contexts.Get()
	}
	_, err := rand.Read(h.secret[:])
	return h, err
}

type handler struct {
	Config
	contexts *rag.Contexts // nil: none are kept
	secret   [32]byte      // behind the tags
}

// Handle implements pipeline.Handler.
func (h *handler) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	r, err := rag.Begin(ex)
	if err != nil {
		return err
	}
	if ex.Skips("prompt") {
		return next.Handle(ctx, ex)
	}
	t := &told{r: r, status: "off"}
	if !ex.Op.Answers() {
		return next.Handle(ctx, ex)
	}
	if !r.Off {
		required := r.Options.Switch == pipeline.RetrievalRequired
		if required && failed(r.Degraded) {
			return missing(r.Degraded)
		}
		found := len(ex.Passages)+len(r.Graph.Relations) > 0
		if err := h.fill(ex, r, t); err != nil {
			return err
		}
		if required && len(t.sources)+len(t.facts.Relations) == 0 {
			if err := h.undocumented(r.Degraded, found); err != nil {
				return err
			}
		}
	}
	if err := next.Handle(ctx, ex); err != nil {
		return err
	}
	t.headers(&ex.Response.Header)
	return h.account(ex, t)
}

// failed reports whether what is missing is retrieval itself.
func failed(degraded []string) bool {
	return slices.ContainsFunc(degraded, func(d string) bool {
		return strings.HasPrefix(d, "retrieve:") || strings.HasPrefix(d, "all:")
	})
}

// missing is the refusal of a request whose documents could not all be looked for.
func missing(degraded []string) error {
	return rag.Unavailable(errors.New(strings.Join(degraded, ", ")))
}

// undocumented is the refusal of a request that requires an answer from documents, and
// has none of them in its prompt. found says that there was no room for what was found.
// Where the model is told that there is nothing, that is what the answer is made from.
func (h *handler) undocumented(degraded []string, found bool) error {
	const asks = "X-RAG: required asks for an answer from documents, "
	switch {
	case found:
		return &pipeline.Error{
			Status: 400, Code: "context_length_exceeded", Param: "X-RAG", Fault: pipeline.CallerFault,
			Err: errors.New(asks + "and there is no room for what was found: shorten the request, or raise rag.max_context_tokens"),
		}
	case len(degraded) > 0: // what is missing may have had something
		return missing(degraded)
	case h.Empty == "say_so":
		return nil
	}
	return &pipeline.Error{
		Status: 503, Code: "nothing_found", Param: "X-RAG", Fault: pipeline.GatewayFault,
		Err: errors.New(asks + "and nothing was found in them for this question"),
	}
}

// fill puts the block into the request, and notes what is in it.
func (h *handler) fill(ex *pipeline.Exchange, r *pipeline.Retrieval, t *told) error {
	body, err := ex.Chat()
	if err != nil {
		return err
	}
	asked, ok := rag.AskedIn(ex)
	if !ok {
		return nil // for the upstream to refuse
	}
	at := -1
	if asked.Turns != nil {
		if at = rag.LastUser(asked.Turns, asked.Turns.Len()); at < 0 {
			return nil
		}
	}
	b := h.compose(ex, r, budget(h.MaxTokens, ex, r, body, &asked))
	if b.empty() && len(ex.Passages)+len(r.Graph.Relations) > 0 {
		r.Degraded = append(slices.Clip(r.Degraded), "prompt:no_room")
	}
	switch {
	case len(r.Degraded) > 0:
		t.status = "degraded"
	case b.empty():
		t.status = "empty"
	default:
		t.status = "hit"
	}
	if b.text != "" {
		ex.Request.Body = h.place(ex.Op, body, &asked, at, b.text)
	}
	// What follows sees what the answer is made from, such as the key of a cache.
	ex.Passages = append(ex.Passages[:0], b.used...)
	t.sources, t.facts = sources(b.used), b.facts
	if h.contexts != nil {
		id := rag.NewContextID()
		if h.contexts.Put(rag.Tenant(ex), id, t.context(id, time.Now())) {
			r.ContextID = id
		}
	}
	return nil
}
