package offline

import (
	"strconv"

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

// readMessages reads a conversation: of chat completions, or the items of a
// response's input.
func (t *turn) readMessages(param string, list []byte) *refusal {
	if kind(list) != '[' {
		return invalid(param, "an array of messages")
	}
	var last, user []byte
	count := 0
	for m := range chat.Array(list) {
		if kind(m) != '{' {
			return invalid(param, "an array of objects")
		}
		count++
		var role, content, output []byte
		for k, v := range chat.Object(m) {
			switch string(k) {
			case "role":
				role = v
			case "content":
				content = v
			case "output":
				output = v
			}
		}
		if role == nil && param == "messages" {
			return missing(param + "[" + strconv.Itoa(count-1) + "].role")
		}
		if param == "messages" {
			if bad := misfit(count-1, role, content); bad != nil {
				return bad
			}
		}
		if bad := misfitPart(param, count-1, content); bad != nil {
			return bad
		}
		switch {
		case output != nil: // a tool's result among a response's items
			role, content = roleTool, output
		case len(role) > 2:
			role = role[1 : len(role)-1]
		}
		t.prompt += len(content) + 4
		if last = nil; string(role) == "tool" || string(role) == "function" {
			last = content
		} else if string(role) == "user" {
			user = content
		}
	}
	if count == 0 {
		return &refusal{400, "Invalid '" + param + "': empty array. Expected an array with minimum length 1.", param, "empty_array"}
	}
	if t.fromTool = last != nil; t.fromTool {
		user = last
	}
	t.appendContent(user)
	return nil
}

// misfit is what is wrong with the role or the content of a message.
func misfit(i int, role, content []byte) *refusal {
	switch string(role) {
	case `"system"`, `"developer"`, `"user"`, `"assistant"`, `"tool"`, `"function"`:
	default:
		return invalid("messages["+strconv.Itoa(i)+"].role", "one of system, developer, user, assistant, tool and function")
	}
	if given(content) && kind(content) != '"' && kind(content) != '[' {
		return invalid("messages["+strconv.Itoa(i)+"].content", "a string or an array of parts")
	}
	return nil
}

// misfitPart is what is wrong with a part of a content. Which kinds of parts there are is
// left to the upstream that this model stands for.
func misfitPart(param string, i int, content []byte) *refusal {
	j := -1
	for part := range chat.Array(content) {
		j++
		name := func(member string) string {
			return param + "[" + strconv.Itoa(i) + "].content[" + strconv.Itoa(j) + "]" + member
		}
		if kind(part) != '{' {
			return invalid(name(""), "an object")
		}
		switch what, text := chat.Get(part, "type"), chat.Get(part, "text"); {
		case kind(what) != '"':
			return missing(name(".type"))
		case text != nil && kind(text) != '"':
			return invalid(name(".text"), "a string")
		case text == nil && string(what) == `"text"`:
			return missing(name(".text"))
		}
	}
	return nil
}

var roleTool = []byte("tool")

// maxText bounds what is kept of the last message.
const maxText = 64 << 10

// appendContent adds the text of a message's content: a string, or a list of parts.
func (t *turn) appendContent(content []byte) {
	if len(content) > maxText && kind(content) == '"' {
		// The end of a long message is where the question is.
		content = tail(content, maxText)
	}
	t.text = unquote(t.text, content)
	for part := range chat.Array(content) {
		if text := chat.Get(part, "text"); text != nil && len(t.text)+len(text) <= maxText {
			if len(t.text) > 0 {
				t.text = append(t.text, '\n')
			}
			t.text = unquote(t.text, text)
		}
	}
}

// tail is the end of a long string value, as a string value, cut at a space.
func tail(raw []byte, size int) []byte {
	for i := len(raw) - size; i < len(raw)-1; i++ {
		if raw[i] == ' ' {
			cut := append([]byte{'"'}, raw[i+1:]...)
			return cut
		}
	}
	return raw[:0]
}

// readCommon reads what chat completions and completions share.
func (t *turn) readCommon(r *chat.Request) *refusal {
	t.stream = r.Stream()
	if options, _ := r.Member("stream_options"); given(options) {
		if !t.stream {
			return &refusal{400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options", "invalid_value"}
		}
		for _, member := range [...]string{"include_usage", "include_obfuscation"} {
			if v := chat.Get(options, member); given(v) && kind(v) != 't' && kind(v) != 'f' {
				return invalid("stream_options."+member, "true or false")
			}
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

// readTools reads the tools and the choice among them. In chat completions what
// describes a tool is nested in a member named after its kind.
func (t *turn) readTools(r *chat.Request, nested bool) *refusal {
	list, _ := r.Member("tools")
	i := -1
	for raw := range chat.Array(list) {
		i++
		if kind(raw) != '{' {
			return invalid("tools["+strconv.Itoa(i)+"]", "an object")
		}
		if kind(chat.Get(raw, "type")) != '"' {
			return missing("tools[" + strconv.Itoa(i) + "].type")
		}
		described, custom := raw, string(chat.Get(raw, "type")) == `"custom"`
		if nested && custom {
			described = chat.Get(raw, "custom")
		} else if nested {
			described = chat.Get(raw, "function")
		}
		name := chat.Get(described, "name")
		if kind(name) != '"' {
			if nested {
				return missing("tools[].function.name")
			}
			continue // a tool of the upstream's own, such as a web search
		}
		schema := chat.Get(described, "parameters")
		if given(schema) && kind(schema) != '{' {
			inside := "]."
			if nested {
				inside = "].function."
			}
			return invalid("tools["+strconv.Itoa(i)+inside+"parameters", "an object")
		}
		t.tools = append(t.tools, tool{name: name[1 : len(name)-1], schema: schema, custom: custom})
	}
	if p, _ := r.Member("parallel_tool_calls"); kind(p) == 'f' {
		t.parallel = false
	}
	choice, _ := r.Member("tool_choice")
	if !given(choice) {
		return nil
	}
	switch string(choice) {
	case `"none"`:
		t.mode = never
		return nil
	case `"required"`:
		t.mode = required
		return nil
	case `"auto"`:
		return nil
	}
	if kind(choice) != '{' {
		// Other APIs have other words, such as "any", which would pass for "auto" here.
		return invalid("tool_choice", "'none', 'auto', 'required' or an object")
	}
	return t.readChoice(choice)
}

// readChoice reads a tool choice that is an object.
func (t *turn) readChoice(choice []byte) *refusal {
	if kind(chat.Get(choice, "type")) != '"' {
		return missing("tool_choice.type")
	}
	name := chat.Get(choice, "name")
	for _, key := range [...]string{"function", "custom"} {
		if v := chat.Get(choice, key); v != nil {
			name = chat.Get(v, "name")
		}
	}
	if kind(name) != '"' {
		allowed := choice
		if v := chat.Get(choice, "allowed_tools"); v != nil {
			allowed = v
		}
		if string(chat.Get(allowed, "mode")) == `"required"` {
			t.mode = required
		}
		return nil
	}
	t.mode, t.forced = required, name[1:len(name)-1]
	for _, known := range t.tools {
		if string(known.name) == string(t.forced) {
			return nil
		}
	}
	return &refusal{400, "Tool choice '" + string(t.forced) + "' not found in 'tools' parameter.", "tool_choice", "invalid_value"}
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
	case 0:
		return missing("input")
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
