package litellm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/headrace/headrace/pipeline"
)

// A problem is an upstream's error, whatever shape it had. This is never the fast path,
// so it is decoded in full.
type problem struct {
	message           string
	kind, param, code json.RawMessage // nil for null
	more              map[string]json.RawMessage
}

const (
	maxProblem = 1 << 20 // largest body of an error that is read
	maxMessage = 8 << 10
)

// readProblem reads the shapes that errors come in: OpenAI's and Anthropic's
// {"error": {...}}, {"error": "text"}, FastAPI's {"detail": ...}, members at the top, and
// any of these in an array.
func readProblem(body []byte) (problem, bool) {
	body = bytes.TrimSpace(body)
	if bytes.HasPrefix(body, []byte("data:")) || bytes.HasPrefix(body, []byte("event:")) {
		body = eventData(body)
	}
	if len(body) > 0 && body[0] == '[' {
		var list []json.RawMessage
		if json.Unmarshal(body, &list) != nil || len(list) == 0 {
			return problem{}, false
		}
		body = list[0]
	}
	top := object(body)
	if top == nil {
		return problem{}, false
	}
	if e := object(top["error"]); e != nil {
		return fromMembers(e), true
	}
	if text, ok := str(top["error"]); ok {
		p := fromMembers(top)
		if p.message == "" {
			p.message = text
		}
		delete(p.more, "error")
		return p, true
	}
	if d, ok := top["detail"]; ok {
		return fromDetail(d), true
	}
	if p := fromMembers(top); p.message != "" {
		delete(p.more, "object")
		return p, true
	}
	return problem{}, false
}

// eventData is the data of the first line that has some, of an error that was sent as
// an event.
func eventData(body []byte) []byte {
	for line := range bytes.SplitSeq(body, []byte("\n")) {
		if data, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("data:")); ok {
			return bytes.TrimSpace(data)
		}
	}
	return nil
}

func object(raw json.RawMessage) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if len(raw) == 0 || json.Unmarshal(raw, &m) != nil {
		return nil
	}
	return m
}

func str(raw json.RawMessage) (string, bool) {
	var s string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, true
}

var ownMembers = [...]string{"message", "type", "param", "code"}

// fromMembers reads the members of an error object.
func fromMembers(m map[string]json.RawMessage) problem {
	var p problem
	for _, key := range [...]string{"message", "msg"} {
		if text, ok := str(m[key]); ok && p.message == "" {
			p.message = text
			delete(m, key)
		}
	}
	p.kind, p.param, p.code = scalar(m["type"]), scalar(m["param"]), scalar(m["code"])
	maps.DeleteFunc(m, func(key string, _ json.RawMessage) bool {
		// Some clients do not mind the case, and would read this one in their place.
		return slices.ContainsFunc(ownMembers[:], func(own string) bool { return strings.EqualFold(own, key) })
	})
	p.more = m
	return p
}

// scalar is a value that can stand for a type, parameter or code: nil for null, for
// what Python writes for it, and for anything nested.
func scalar(raw json.RawMessage) json.RawMessage {
	if s := string(raw); len(raw) == 0 || s == "null" || s == `"None"` || s == `""` || raw[0] == '{' || raw[0] == '[' {
		return nil
	}
	return raw
}

// fromDetail reads FastAPI's errors: a text, a list of what did not validate, or an
// object of the application's own.
func fromDetail(raw json.RawMessage) problem {
	if text, ok := str(raw); ok {
		return problem{message: text}
	}
	if m := object(raw); m != nil {
		if e := object(m["error"]); e != nil {
			return fromMembers(e)
		}
		if text, ok := str(m["error"]); ok && m["message"] == nil {
			return problem{message: text}
		}
		return fromMembers(m)
	}
	var list []struct {
		Loc []any
		Msg string
	}
	if json.Unmarshal(raw, &list) != nil || len(list) == 0 {
		return problem{message: "the upstream refused the request"}
	}
	var p problem
	for i, d := range list {
		var at []string
		for _, l := range d.Loc {
			if s := fmt.Sprint(l); s != "body" {
				at = append(at, s)
			}
		}
		where := strings.Join(at, ".")
		if i == 0 && where != "" {
			p.param = quoted(where)
		}
		if i > 0 {
			p.message += "; "
		}
		if where != "" {
			p.message += where + ": "
		}
		p.message += d.Msg
	}
	return p
}

// textProblem is for a body that is no error as we know them. Plain text is a message,
// any other page only tells its status.
func textProblem(body, contentType []byte, status int) problem {
	text := strings.TrimSpace(string(body))
	if text != "" && !strings.ContainsAny(text[:1], "<{[") && utf8.ValidString(text) && len(text) <= 1<<10 &&
		(len(contentType) == 0 || typeIs(contentType, "text/plain") || isJSON(contentType)) {
		return problem{message: text}
	}
	return problem{message: "the upstream answered with status " + strconv.Itoa(status), code: quoted("upstream_error")}
}

// leadingError finds an error in an answer that has the status of a success. Only the
// first member counts: a response has an error member too, and it is null.
func leadingError(b []byte) (problem, bool) {
	for len(b) > 0 && (isSpace(b[0]) || b[0] == '{') {
		b = b[1:]
	}
	rest, ok := bytes.CutPrefix(b, []byte(`"error"`))
	if !ok {
		return problem{}, false
	}
	rest = bytes.TrimLeft(rest, ": \n\r\t")
	if len(rest) == 0 || rest[0] != '{' && rest[0] != '"' {
		return problem{}, false
	}
	return readProblem(append([]byte{'{'}, b...))
}

// json is the body that the client gets. The gateway's own secrets are never in it.
func (p problem) json(status int, secrets [][]byte) []byte {
	message, kind := p.message, p.kind
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	if message == "" {
		message = "the upstream answered with status " + strconv.Itoa(status)
	}
	if kind == nil {
		kind = quoted(pipeline.TypeOfStatus(status))
	}
	b := append([]byte(`{"error":{"message":`), quoted(message)...)
	b = append(append(b, `,"type":`...), kind...)
	b = append(append(b, `,"param":`...), orNull(p.param)...)
	b = append(append(b, `,"code":`...), orNull(p.code)...)
	for _, key := range slices.Sorted(maps.Keys(p.more)) {
		b = append(append(append(append(b, ','), quoted(key)...), ':'), p.more[key]...)
	}
	return mask(append(b, "}}"...), secrets)
}

// mask returns b without the secrets.
func mask(b []byte, secrets [][]byte) []byte {
	for _, secret := range secrets {
		b = bytes.ReplaceAll(b, secret, []byte("***"))
	}
	return b
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func quoted(s string) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string can always be encoded
	return bytes.TrimSpace(b.Bytes())
}

// fault says whose failure an error with this status is.
func (p problem) fault(status int) pipeline.Fault {
	if status >= 400 && status < 500 && p.isPolicy() {
		return pipeline.PolicyFault
	}
	if p.is("no_db_connection") {
		// What LiteLLM says, with status 400, to a key that it does not know.
		return pipeline.UpstreamFault
	}
	return pipeline.FaultOfStatus(status)
}

// isPolicy reports whether the request was refused for its content.
func (p problem) isPolicy() bool {
	if p.is("content_policy_violation") || p.is("content_filter") || p.is("content_filter_policy") || p.is("moderation_blocked") {
		return true
	}
	return strings.Contains(p.message, "ContentPolicyViolationError") || strings.Contains(p.message, "content_filter") ||
		bytes.Contains(p.more["innererror"], []byte("ResponsibleAIPolicyViolation"))
}

// is reports whether the problem's code or type is word.
func (p problem) is(word string) bool {
	code, _ := str(p.code)
	kind, _ := str(p.kind)
	return code == word || kind == word
}

// inBand is the status for an error that came with status 200.
func (p problem) inBand() int {
	if n, err := strconv.Atoi(strings.Trim(string(p.code), `"`)); err == nil && n >= 400 && n < 600 {
		switch {
		case n < 500 || n == 503 || n == 504:
			return n
		case n == 529:
			return 503
		}
		return 502
	}
	code, _ := str(p.code)
	kind, _ := str(p.kind)
	for _, w := range [...]string{code, kind} {
		switch w {
		case "rate_limit_exceeded", "rate_limit_error", "insufficient_quota", "too_many_requests", "throttling_error", "tokens", "requests":
			return 429
		case "overloaded_error", "overloaded", "service_unavailable", "service_unavailable_error", "engine_overloaded":
			return 503
		case "timeout", "timeout_error", "request_timeout":
			return 504
		case "invalid_request_error", "context_length_exceeded", "content_filter", "content_policy_violation", "invalid_prompt":
			return 400
		case "authentication_error", "invalid_api_key":
			return 401
		case "permission_error":
			return 403
		case "not_found_error", "model_not_found":
			return 404
		}
	}
	return 502
}

// err is the problem as the end of a stream.
func (p problem) err(secrets [][]byte) error {
	status := p.inBand()
	return &pipeline.Error{
		Status: status, Code: "upstream_error", Fault: p.fault(status), Body: p.json(status, secrets),
		Err: errors.New("the upstream reported an error in its stream"),
	}
}
