package offline

import (
	"slices"
	"strconv"
	"strings"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// A vocabulary is the words that OpenAI's API takes for a parameter, or for each element
// of one that is an array. As with shapes, other words are refused although none means
// anything here. What any model of that API takes is taken: there is but one model here.
type vocabulary struct {
	param string // as in a shape
	words []string
}

var (
	efforts   = []string{"none", "minimal", "low", "medium", "high", "xhigh", "max"}
	summaries = []string{"auto", "concise", "detailed"}
	levels    = []string{"low", "medium", "high"}

	service = []vocabulary{
		{"service_tier", []string{"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"}},
		{"prompt_cache_retention", []string{"in_memory", "in-memory", "24h"}},
		{"prompt_cache_options.mode", []string{"implicit", "explicit"}},
		{"prompt_cache_options.ttl", []string{"30m", "12h"}},
	}
	chatWords = []vocabulary{
		{"reasoning_effort", efforts},
		{"verbosity", levels},
		{"function_call", []string{"none", "auto"}},
		{"modalities", []string{"text", "audio"}},
		{"audio.format", []string{"wav", "aac", "mp3", "flac", "opus", "pcm16"}},
		{"prediction.type", []string{"content"}},
		{"web_search_options.search_context_size", levels},
	}
	responseWords = []vocabulary{
		{"reasoning.effort", efforts},
		{"reasoning.summary", summaries},
		{"reasoning.generate_summary", summaries},
		{"reasoning.context", []string{"auto", "current_turn", "all_turns"}},
		{"text.verbosity", levels},
		{"truncation", []string{"auto", "disabled"}},
		{"include", []string{
			"file_search_call.results", "web_search_call.results", "web_search_call.action.sources", "message.input_image.image_url",
			"computer_call_output.output.image_url", "code_interpreter_call.outputs", "reasoning.encrypted_content", "message.output_text.logprobs",
		}},
	}
	vocabularies = [...][][]vocabulary{
		pipeline.OpChat:      {chatWords, service},
		pipeline.OpResponses: {responseWords, service},
		pipeline.OpRerank:    nil,
	}
)

// misspelt is the first parameter that holds a word which nobody knows. Where something
// else than a word may stand is known from the shapes.
func misspelt(op pipeline.Operation, r *chat.Request) *refusal {
	for _, list := range vocabularies[op] {
		for i := range list {
			v := &list[i]
			raw, _ := lookUp(r, v.param)
			if bad := v.judge(raw); bad != nil {
				return bad
			}
		}
	}
	return nil
}

func (v *vocabulary) judge(raw []byte) *refusal {
	if !given(raw) || v.holds(raw) {
		return nil
	}
	if k := kind(raw); k != '[' && k != '{' || strings.Contains(v.param, ".") {
		return invalid(v.param, v.want())
	}
	i := 0
	for word := range chat.Array(raw) {
		if !v.holds(word) {
			return invalid(v.param+"["+strconv.Itoa(i)+"]", v.want())
		}
		i++
	}
	return nil
}

func (v *vocabulary) holds(raw []byte) bool {
	text, ok := chat.Text(raw)
	return ok && slices.Contains(v.words, text)
}

// want is the words as a sentence has them.
func (v *vocabulary) want() string {
	last := len(v.words) - 1
	if last == 0 {
		return "'" + v.words[0] + "'"
	}
	return "'" + strings.Join(v.words[:last], "', '") + "' or '" + v.words[last] + "'"
}

// unknownResponse is the refusal of a request that goes on from a response which cannot
// have come from here. Of those that can, nothing is kept either, but what they said
// makes no difference to an answer.
func unknownResponse(r *chat.Request) *refusal {
	raw, _ := r.Member("previous_response_id")
	if !given(raw) {
		return nil
	}
	id, _ := chat.Text(raw)
	if digits, ok := strings.CutPrefix(id, responseID); ok && len(digits) == len(call{}.id) && strings.Trim(digits, hexDigits) == "" {
		return nil
	}
	if len(id) > 100 {
		id = strings.ToValidUTF8(id[:100], "") + "…"
	}
	return &refusal{400, "Previous response with id '" + id + "' not found.", "previous_response_id", "previous_response_not_found"}
}
