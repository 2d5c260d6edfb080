package offline

import (
	"github.com/headrace/headrace/pipeline/chat"
)

// A turn is what a request asks for, whichever endpoint it came by. What it holds
// points into the request's body, but for text, which is the call's own.
type turn struct {
	text     []byte // what the user, or else a tool, said last
	fromTool bool
	prompt   int // bytes in the prompt
	n        int // answers wanted
	limit    int // tokens an answer may have; 0 for no limit
	stops    []byte
	stream   bool
	usage    bool // the stream ends with the usage figures
	echo     bool // completions: the prompt comes first
	logprobs bool // the answer tells how likely its words were
	rivals   bool // and which others there could have been
	format   format
	schema   []byte
	tools    []tool
	mode     mode
	forced   []byte // the tool that must be called, as written between quotes
	parallel bool
}

// format is what kind of text is wanted.
type format uint8

const (
	plainText format = iota
	jsonObject
	jsonSchema
)

// mode says who decides about tools.
type mode uint8

const (
	auto     mode = iota // a tool is called if the user names one
	never                // none is
	required             // at least one is
)

// A tool is one that the answer may call.
type tool struct {
	name   []byte // as written between quotes
	schema []byte
	custom bool // takes any text in place of arguments by schema
}

func (t *turn) reset() {
	clear(t.tools)
	*t = turn{text: t.text[:0], tools: t.tools[:0], n: 1, parallel: true}
}

// A refusal is a mistake in the request; nil if there is none.
type refusal struct {
	status               int
	message, param, code string
}

func missing(param string) *refusal {
	return &refusal{400, "Missing required parameter: '" + param + "'.", param, "missing_required_parameter"}
}

func invalid(param, want string) *refusal {
	return &refusal{400, "Invalid value for '" + param + "': expected " + want + ".", param, "invalid_value"}
}

// readChat reads a chat completion request.
func (t *turn) readChat(r *chat.Request) *refusal {
	messages, ok := r.Member("messages")
	if !ok {
		return missing("messages")
	}
	if bad := t.readMessages("messages", messages); bad != nil {
		return bad
	}
	if bad := t.readCommon(r); bad != nil {
		return bad
	}
	t.readLogprobs(r)
	limit, ok := r.Member("max_completion_tokens")
	param := "max_completion_tokens"
	if !ok || !given(limit) {
		limit, _ = r.Member("max_tokens")
		param = "max_tokens"
	}
	if bad := t.readLimit(param, limit); bad != nil {
		return bad
	}
	if f, _ := r.Member("response_format"); given(f) {
		if bad := t.readFormat("response_format", f, "json_schema"); bad != nil {
			return bad
		}
	}
	return t.readTools(r, true)
}

// readCommon reads what chat completions and completions share.
func (t *turn) readCommon(r *chat.Request) *refusal {
	t.stream = r.Stream()
	if options, _ := r.Member("stream_options"); given(options) {
		if !t.stream {
			return &refusal{400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options", "invalid_value"}
		}
		t.usage = kind(chat.Get(options, "include_usage")) == 't'
	}
	if n, _ := r.Member("n"); given(n) {
		v, ok := chat.Int(n)
		if !ok || v < 1 || v > 128 {
			return invalid("n", "an integer from 1 to 128")
		}
		t.n = int(v)
	}
	if t.stops, _ = r.Member("stop"); given(t.stops) && kind(t.stops) != '"' && kind(t.stops) != '[' {
		return invalid("stop", "a string or an array of strings")
	}
	for s := range chat.Array(t.stops) {
		if kind(s) != '"' {
			return invalid("stop", "a string or an array of strings")
		}
	}
	return nil
}

func (t *turn) readLimit(param string, raw []byte) *refusal {
	if !given(raw) {
		return nil
	}
	v, ok := chat.Int(raw)
	if !ok || v < 1 {
		return invalid(param, "an integer of at least 1")
	}
	t.limit = int(min(v, 1<<30))
	return nil
}

// readFormat reads the format that an answer is to have. What describes a schema is in
// the member named: in responses the schema itself, in chat completions an object with it.
func (t *turn) readFormat(param string, f []byte, member string) *refusal {
	switch string(chat.Get(f, "type")) {
	case `"text"`:
	case `"json_object"`:
		t.format = jsonObject
	case `"json_schema"`:
		described := chat.Get(f, member)
		if !given(described) {
			return missing(param + "." + member)
		}
		if kind(described) != '{' {
			return invalid(param+"."+member, "an object")
		}
		if t.format, t.schema = jsonSchema, described; member == "json_schema" {
			t.schema = chat.Get(described, "schema")
		}
	case "":
		return missing(param + ".type")
	default:
		return invalid(param+".type", "'text', 'json_object' or 'json_schema'")
	}
	return nil
}

// readPrompt reads a completion request; the prompt is read by the caller, for
// there may be several.
func (t *turn) readPrompt(r *chat.Request) *refusal {
	if bad := t.readCommon(r); bad != nil {
		return bad
	}
	echo, _ := r.Member("echo")
	t.echo = kind(echo) == 't'
	logprobs, _ := r.Member("logprobs")
	t.logprobs = given(logprobs)
	t.readRivals(r, "logprobs")
	limit, _ := r.Member("max_tokens")
	return t.readLimit("max_tokens", limit)
}

// readResponse reads a request for a response.
func (t *turn) readResponse(r *chat.Request) *refusal {
	t.readIncluded(r)
	input, _ := r.Member("input")
	switch kind(input) {
	case '"':
		t.prompt += len(input) + 4
		t.appendContent(input)
	case '[':
		if bad := t.readMessages("input", input); bad != nil {
			return bad
		}
	case 0, 'n':
		if !continues(r) {
			return missing("input")
		}
	default:
		return invalid("input", "a string or an array of items")
	}
	instructions, _ := r.Member("instructions")
	t.prompt += len(instructions)
	t.stream = r.Stream()
	limit, _ := r.Member("max_output_tokens")
	if bad := t.readLimit("max_output_tokens", limit); bad != nil {
		return bad
	}
	text, _ := r.Member("text")
	if f := chat.Get(text, "format"); given(f) {
		if bad := t.readFormat("text.format", f, "schema"); bad != nil {
			return bad
		}
	}
	return t.readTools(r, false)
}

// continues reports whether a request for a response says otherwise than by its input
// what is to be answered.
func continues(r *chat.Request) bool {
	for _, param := range [...]string{"prompt", "previous_response_id", "conversation"} {
		if raw, _ := r.Member(param); given(raw) {
			return true
		}
	}
	return false
}
