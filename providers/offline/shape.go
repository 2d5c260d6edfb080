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
	param    string  // its name, or that of one of its members: audio.voice
	kinds    string  // the first bytes of what may stand there: " [ { t f; none for a number, # for an integer
	min, max float64 // of a number
	want     string
}

// needed are the members that must be there where the parameter is.
var needed = [...][]string{
	pipeline.OpChat:      {"audio.voice", "audio.format", "prediction.type", "prediction.content", "moderation.model"},
	pipeline.OpResponses: {"moderation.model", "prompt.id"},
	pipeline.OpRerank:    nil,
}

// lacking is the first of them that is not there.
func lacking(op pipeline.Operation, r *chat.Request) *refusal {
	for _, param := range needed[op] {
		if _, missed := lookUp(r, param); missed {
			return missing(param)
		}
	}
	return nil
}

var (
	about = []shape{
		{"user", `"`, 0, 0, "a string"},
		{"safety_identifier", `"`, 0, 0, "a string"},
		{"prompt_cache_key", `"`, 0, 0, "a string"},
		{"prompt_cache_retention", `"`, 0, 0, "a string"},
		{"prompt_cache_options", "{", 0, 0, "an object"},
		{"prompt_cache_options.prewarm", "tf", 0, 0, "true or false"},
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
		{"stream_options.include_usage", "tf", 0, 0, "true or false"},
		{"stream_options.include_obfuscation", "tf", 0, 0, "true or false"},
	}
	tooling = []shape{
		{"tools", "[", 0, 0, "an array of tools"},
		{"tool_choice", `"{`, 0, 0, "a string or an object"},
		{"parallel_tool_calls", "tf", 0, 0, "true or false"},
		{"metadata", "{", 0, 0, "an object"},
		{"moderation", "{", 0, 0, "an object"},
		{"moderation.model", `"`, 0, 0, "a string"},
		{"moderation.policy", "{", 0, 0, "an object"},
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
		{"audio.voice", `"{`, 0, 0, "a string or an object"},
		{"audio.format", `"`, 0, 0, "a string"},
		{"prediction", "{", 0, 0, "an object"},
		{"prediction.type", `"`, 0, 0, "a string"},
		{"prediction.content", `"[`, 0, 0, "a string or an array of parts"},
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
		{"reasoning.mode", `"`, 0, 0, "a string"},
		{"text", "{", 0, 0, "an object"},
		{"truncation", `"`, 0, 0, "a string"},
		{"background", "tf", 0, 0, "true or false"},
		{"previous_response_id", `"`, 0, 0, "a string"},
		{"conversation", `"{`, 0, 0, "a string or an object"},
		{"prompt", "{", 0, 0, "an object"},
		{"prompt.id", `"`, 0, 0, "a string"},
		{"prompt.version", `"`, 0, 0, "a string"},
		{"prompt.variables", "{", 0, 0, "an object"},
		{"include", "[", 0, 0, "an array of strings"},
		{"context_management", "[", 0, 0, "an array of objects"},
		{"max_tool_calls", "#", 0, math.MaxInt64, "an integer"},
		{"stream_options", "{", 0, 0, "an object"},
		{"stream_options.include_obfuscation", "tf", 0, 0, "true or false"},
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
			if raw, _ := lookUp(r, s.param); given(raw) && !s.fits(raw) {
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
	managed, _ := r.Member("context_management")
	i := 0
	for v := range chat.Array(managed) {
		if op == pipeline.OpResponses && kind(chat.Get(v, "type")) != '"' {
			return missing("context_management[" + strconv.Itoa(i) + "].type")
		}
		i++
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

// lookUp finds a parameter, or a member of one. missed reports whether the member is not
// there and the parameter is.
func lookUp(r *chat.Request, param string) (raw []byte, missed bool) {
	name, member, inside := strings.Cut(param, ".")
	if raw, _ = r.Member(name); !inside || !given(raw) {
		return raw, false
	}
	raw = chat.Get(raw, member)
	return raw, !given(raw)
}

func (s *shape) fits(raw []byte) bool {
	if s.kinds != "" && s.kinds != "#" {
		return strings.IndexByte(s.kinds, raw[0]) >= 0
	}
	n, err := strconv.ParseFloat(string(raw), 64)
	return err == nil && n >= s.min && n <= s.max && (s.kinds == "" || n == math.Trunc(n))
}
