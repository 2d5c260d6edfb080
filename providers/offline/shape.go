package offline

import (
	"math"
	"strconv"
	"strings"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// A shape is what OpenAI's API takes for a parameter that changes nothing here: a
// client is to hear of its mistake while it is tried out, not later.
type shape struct {
	param    string
	kinds    string  // the first bytes of what may stand there: " [ { t f; none for a number, # for an integer
	min, max float64 // of a number
	want     string
}

var (
	about = []shape{
		{"user", `"`, 0, 0, "a string"},
		{"safety_identifier", `"`, 0, 0, "a string"},
		{"prompt_cache_key", `"`, 0, 0, "a string"},
		{"prompt_cache_retention", `"`, 0, 0, "a string"},
		{"prompt_cache_options", "{", 0, 0, "an object"},
		{"service_tier", `"`, 0, 0, "a string"},
	}
	sampling = []shape{
		{"temperature", "", 0, 2, "a number from 0 to 2"},
		{"top_p", "", 0, 1, "a number from 0 to 1"},
	}
	penalties = []shape{
		{"presence_penalty", "", -2, 2, "a number from -2 to 2"},
		{"frequency_penalty", "", -2, 2, "a number from -2 to 2"},
		{"logit_bias", "{", 0, 0, "an object"},
		{"seed", "#", math.MinInt64, math.MaxInt64, "an integer"},
		{"stream_options", "{", 0, 0, "an object"},
	}
	tooling = []shape{
		{"tools", "[", 0, 0, "an array of tools"},
		{"tool_choice", `"{`, 0, 0, "a string or an object"},
		{"parallel_tool_calls", "tf", 0, 0, "true or false"},
		{"metadata", "{", 0, 0, "an object"},
		{"moderation", "{", 0, 0, "an object"},
		{"store", "tf", 0, 0, "true or false"},
		{"top_logprobs", "#", 0, 20, "an integer from 0 to 20"},
	}
	chatting = []shape{
		{"logprobs", "tf", 0, 0, "true or false"},
		{"response_format", "{", 0, 0, "an object"},
		{"reasoning_effort", `"`, 0, 0, "a string"},
		{"verbosity", `"`, 0, 0, "a string"},
		{"modalities", "[", 0, 0, "an array of strings"},
		{"audio", "{", 0, 0, "an object"},
		{"prediction", "{", 0, 0, "an object"},
		{"web_search_options", "{", 0, 0, "an object"},
		{"functions", "[", 0, 0, "an array of functions"},
		{"function_call", `"{`, 0, 0, "a string or an object"},
	}
	completing = []shape{
		{"best_of", "#", 0, 20, "an integer from 0 to 20"},
		{"logprobs", "#", 0, 5, "an integer from 0 to 5"},
		{"echo", "tf", 0, 0, "true or false"},
		{"suffix", `"`, 0, 0, "a string"},
	}
	responding = []shape{
		{"instructions", `"`, 0, 0, "a string"},
		{"reasoning", "{", 0, 0, "an object"},
		{"text", "{", 0, 0, "an object"},
		{"truncation", `"`, 0, 0, "a string"},
		{"background", "tf", 0, 0, "true or false"},
		{"previous_response_id", `"`, 0, 0, "a string"},
		{"conversation", `"{`, 0, 0, "a string or an object"},
		{"prompt", "{", 0, 0, "an object"},
		{"include", "[", 0, 0, "an array of strings"},
		{"context_management", "[", 0, 0, "an array of objects"},
		{"max_tool_calls", "#", 0, math.MaxInt64, "an integer"},
		{"stream_options", "{", 0, 0, "an object"},
	}
	ranking = []shape{
		{"return_documents", "tf", 0, 0, "true or false"},
		{"max_tokens_per_doc", "#", 1, math.MaxInt64, "an integer of at least 1"},
		{"max_chunks_per_doc", "#", 1, math.MaxInt64, "an integer of at least 1"},
		{"rank_fields", "[", 0, 0, "an array of strings"},
	}
	shapes = [...][][]shape{
		pipeline.OpChat:        {sampling, penalties, tooling, chatting, about},
		pipeline.OpCompletions: {sampling, penalties, completing, about[:1]},
		pipeline.OpEmbeddings:  {about[:1]},
		pipeline.OpResponses:   {sampling, tooling, responding, about},
		pipeline.OpRerank:      {ranking},
	}
)

// misshapen is the first parameter that is not what it should be.
func misshapen(op pipeline.Operation, r *chat.Request) *refusal {
	for _, list := range shapes[op] {
		for i := range list {
			s := &list[i]
			if raw, _ := r.Member(s.param); given(raw) && !s.fits(raw) {
				return invalid(s.param, s.want)
			}
		}
	}
	if biases, _ := r.Member("logit_bias"); op == pipeline.OpChat || op == pipeline.OpCompletions {
		bias := shape{min: -100, max: 100}
		for _, v := range chat.Object(biases) {
			if !bias.fits(v) {
				return invalid("logit_bias", "an object whose values are numbers from -100 to 100")
			}
		}
	}
	if metadata, _ := r.Member("metadata"); op == pipeline.OpChat || op == pipeline.OpResponses {
		for _, v := range chat.Object(metadata) {
			if kind(v) != '"' {
				return invalid("metadata", "an object whose values are strings")
			}
		}
	}
	return nil
}

func (s *shape) fits(raw []byte) bool {
	if s.kinds != "" && s.kinds != "#" {
		return strings.IndexByte(s.kinds, raw[0]) >= 0
	}
	n, err := strconv.ParseFloat(string(raw), 64)
	return err == nil && n >= s.min && n <= s.max && (s.kinds == "" || n == math.Trunc(n))
}
