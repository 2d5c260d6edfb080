package offline

import (
	"strconv"

	"github.com/headrace/headrace/pipeline/chat"
)

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
		what := string(chat.Get(raw, "type"))
		described, custom, inside := raw, what == `"custom"`, "]."
		if nested && custom {
			described, inside = chat.Get(raw, "custom"), "].custom."
		} else if nested {
			described, inside = chat.Get(raw, "function"), "].function."
		}
		name := chat.Get(described, "name")
		if kind(name) != '"' {
			if nested || custom || what == `"function"` {
				return missing("tools[" + strconv.Itoa(i) + inside + "name")
			}
			continue // a tool of the upstream's own, such as a web search
		}
		schema := chat.Get(described, "parameters")
		if given(schema) && kind(schema) != '{' {
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
