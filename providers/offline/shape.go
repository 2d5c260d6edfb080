package offline

import (
	"strconv"
	"strings"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// A shape is what OpenAI's API takes for a parameter that changes nothing here: a
// client is to hear of its mistake while it is tried out, not later.
type shape struct {
	param    string
	kinds    string  // the first bytes of what may stand there: " [ { t f; none for a number
	min, max float64 // of a number
	want     string
}

var (
	sampling = []shape{
		{"temperature", "", 0, 2, "a number from 0 to 2"},
		{"top_p", "", 0, 1, "a number from 0 to 1"},
		{"user", `"`, 0, 0, "a string"},
	}
	penalties = []shape{
		{"presence_penalty", "", -2, 2, "a number from -2 to 2"},
		{"frequency_penalty", "", -2, 2, "a number from -2 to 2"},
		{"logit_bias", "{", 0, 0, "an object"},
	}
	tooling = []shape{
		{"tools", "[", 0, 0, "an array of tools"},
		{"tool_choice", `"{`, 0, 0, "a string or an object"},
		{"parallel_tool_calls", "tf", 0, 0, "true or false"},
		{"metadata", "{", 0, 0, "an object"},
		{"store", "tf", 0, 0, "true or false"},
		{"top_logprobs", "", 0, 20, "an integer from 0 to 20"},
	}
	chatting = []shape{
		{"logprobs", "tf", 0, 0, "true or false"},
		{"response_format", "{", 0, 0, "an object"},
		{"stream_options", "{", 0, 0, "an object"},
	}
	completing = []shape{
		{"logprobs", "", 0, 5, "an integer from 0 to 5"},
	}
	shapes = [...][][]shape{
		pipeline.OpChat:        {sampling, penalties, tooling, chatting},
		pipeline.OpCompletions: {sampling, penalties, completing},
		pipeline.OpResponses:   {sampling, tooling},
		pipeline.OpRerank:      nil,
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
	return nil
}

func (s *shape) fits(raw []byte) bool {
	if s.kinds != "" {
		return strings.IndexByte(s.kinds, raw[0]) >= 0
	}
	n, err := strconv.ParseFloat(string(raw), 64)
	return err == nil && n >= s.min && n <= s.max
}
