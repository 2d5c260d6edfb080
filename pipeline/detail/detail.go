// Package detail speaks the dialect of the replaced service: JSON bodies whose
// types are taken laxly ("0.5" is a number, "yes" is true), and errors of the
// form {"detail": …}.
//
// A Reader takes one field after the other out of a request and gathers
// everything that is wrong with them; Err reports it all at once, as a list of
// what, where and why.
package detail

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// A Problem is one thing wrong with a request.
type Problem struct {
	Type  string          `json:"type"` // what kind of mistake, in snake_case
	Loc   []any           `json:"loc"`  // where: names of fields and places in lists
	Msg   string          `json:"msg"`
	Input json.RawMessage `json:"input"` // what was sent there
	Ctx   any             `json:"ctx,omitempty"`
}

// Invalid is the refusal of a request for these problems: status 422 in this dialect,
// and 400 in OpenAI's.
func Invalid(problems ...Problem) error {
	for i := range problems {
		if problems[i].Input == nil {
			problems[i].Input = json.RawMessage("null")
		}
	}
	return &pipeline.Error{
		Status: 400, Code: "invalid_request", Param: problems[0].field(), Fault: pipeline.CallerFault,
		Err: invalid(problems),
	}
}

// invalid is everything that is wrong with a request. As a sentence it is the first of
// it.
type invalid []Problem

// Error implements error.
func (list invalid) Error() string {
	said := list[0].Msg
	if why, ok := list[0].Ctx.(map[string]string); ok && why["error"] != "" {
		said += ": " + why["error"]
	}
	if field := list[0].field(); field != "" && list[0].Type != "json_invalid" {
		said = field + ": " + said
	}
	if n := len(list) - 1; n > 0 {
		said += fmt.Sprintf(" (and %d more)", n)
	}
	return said
}

func (list invalid) body() []byte {
	body, err := json.Marshal(struct {
		Detail []Problem `json:"detail"`
	}{list})
	if err != nil {
		panic("BUG: a problem that is no JSON: " + err.Error())
	}
	return body
}

// field is where the problem is, as OpenAI's errors name it: graph.types.0.
func (p *Problem) field() string {
	var b []byte
	for i, step := range p.Loc {
		if i > 1 {
			b = append(b, '.')
		}
		if i > 0 { // the first says whether it is in the body, the query or the path
			b = fmt.Append(b, step)
		}
	}
	return string(b)
}

// Fail is the refusal of a request in one sentence.
func Fail(status int, code, sentence string) error {
	return &pipeline.Error{Status: status, Code: code, Err: errors.New(sentence)}
}

// FailField is the same for what is wrong with one field of the request, which OpenAI's
// errors name.
func FailField(field, code, sentence string) error {
	return &pipeline.Error{Status: 400, Code: code, Param: field, Fault: pipeline.CallerFault, Err: errors.New(sentence)}
}

// Refuse words e for clients of the replaced service. Every Endpoint of that
// dialect answers with it.
func Refuse(e *pipeline.Error) (status int, body []byte) {
	status = e.Status
	if status < 400 || status > 599 {
		status = 502
	}
	if list, ok := errors.AsType[invalid](e.Err); ok {
		return 422, list.body()
	}
	if bytes.HasPrefix(e.Body, []byte(`{"detail":`)) {
		return status, e.Body
	}
	sentence, ok := sentences[e.Code]
	if !ok {
		sentence = Sentence(e)
	}
	body = append(body, `{"detail":`...)
	body = chat.AppendString(body, sentence)
	return status, append(body, '}')
}

// sentences are those that clients may have come to look for.
var sentences = map[string]string{
	"missing_api_key": "Missing API key",
	"invalid_api_key": "Invalid API key",
	"expired_api_key": "Invalid or expired API key",
	"unknown_path":    "Not Found",
}

// Sentence is what e says: its own words, or those of the upstream that it
// passes on.
func Sentence(e *pipeline.Error) string {
	if msg := Message(e.Body); msg != "" {
		return msg
	}
	if e.Err == nil {
		return e.Code
	}
	return e.Err.Error()
}

// Message is the message of an OpenAI error object, or "".
func Message(body []byte) string {
	if len(body) == 0 || chat.Valid(body) != nil {
		return ""
	}
	msg, _ := chat.Text(chat.Get(body, "error", "message"))
	return msg
}

// Only refuses every method but those in allow, which is as the header Allow lists
// them.
func Only(ex *pipeline.Exchange, allow string) error {
	method := string(ex.Request.Header.Method())
	for known := range strings.SplitSeq(allow, ", ") {
		if method == known {
			return nil
		}
	}
	return NotAllowed(ex, allow)
}

// NotAllowed refuses the method.
func NotAllowed(ex *pipeline.Exchange, allow string) error {
	ex.Response.Header.Set("Allow", allow)
	return Fail(405, "method_not_allowed", "Method Not Allowed")
}

// A Reader reads the fields of one JSON object.
type Reader struct {
	fields []field
	raw    json.RawMessage
	loc    []any
	found  *[]Problem
}

// A field is one of an object, as it was sent.
type field struct {
	key   []byte
	value json.RawMessage
}

// NoStore is how an endpoint says that it has nothing to work on, for clients to tell that
// from a store that is down.
const NoStore = "the gateway's file sets up no such store"

// Unavailable is the refusal, with status 503, of a request to an endpoint for which the
// file sets up no store; what is the service that clients know in its place.
func Unavailable(what string) error {
	return &pipeline.Error{
		Status: 503, Code: "store_unavailable", Fault: pipeline.GatewayFault, RetryAfter: 30 * time.Second,
		Err: errors.New(what + "_unavailable: " + NoStore),
	}
}

// Read begins with the body of ex's request, of which it keeps a copy. The error is that of Invalid, or
// has status 400 where the body is not even text.
func Read(ex *pipeline.Exchange) (*Reader, error) {
	b := bytes.TrimPrefix(ex.Request.Body, []byte("\xef\xbb\xbf"))
	missing := Problem{Type: "missing", Loc: []any{"body"}, Msg: "Field required"}
	switch {
	case len(b) == 0:
		return nil, Invalid(missing)
	case !utf8.Valid(b):
		return nil, Fail(400, "invalid_json", "There was an error parsing the body")
	}
	object := Problem{Type: noObject, Loc: missing.Loc, Msg: noObjectMsg}
	if !isJSON(ex.Request.Header.ContentType()) {
		object.Input = text(b[:min(len(b), maxInput)])
		return nil, Invalid(object)
	}
	if err := chat.Valid(b); err != nil {
		at := 0
		if e, ok := errors.AsType[*chat.Error](err); ok {
			at = utf8.RuneCount(b[:e.Offset]) // clients know the place in characters
		}
		refused := Invalid(Problem{
			Type: "json_invalid", Loc: []any{"body", at}, Msg: "JSON decode error",
			Input: json.RawMessage("{}"), Ctx: map[string]string{"error": err.Error()},
		})
		if e, ok := errors.AsType[*pipeline.Error](refused); ok {
			e.Code, e.Param = "invalid_json", "" // a place in the text is no field
		}
		return nil, refused
	}
	b = bytes.Trim(b, " \t\r\n")
	switch {
	case string(b) == "null":
		return nil, Invalid(missing)
	case b[0] != '{':
		object.Input = shown(b)
		return nil, Invalid(object)
	}
	r := newReader(bytes.Clone(b), []any{"body"}, new([]Problem))
	if !chat.Paired(b) {
		r.unpaired(r.loc, b, 0)
		return nil, r.Err()
	}
	return r, nil
}

// nested is how deep places are told within a body: each level reads all that is below.
const nested = 5

// unpaired notes where in a value half of a surrogate pair stands. Names with different
// halves would be taken for one, and stores take none.
func (r *Reader) unpaired(loc []any, raw json.RawMessage, depth int) {
	at := func(step any) []any { return append(loc[:len(loc):len(loc)], step) }
	switch {
	case len(*r.found) >= maxProblems, chat.Paired(raw):
	case depth == nested && (raw[0] == '{' || raw[0] == '['):
		r.notText(loc, raw)
	case raw[0] == '{':
		for k, v := range chat.Object(raw) {
			if name := strings.ToValidUTF8(string(k), "\ufffd"); name != string(k) {
				r.notText(at(name), k)
			} else {
				r.unpaired(at(name), v, depth+1)
			}
		}
	case raw[0] == '[':
		i := 0
		for v := range chat.Array(raw) {
			r.unpaired(at(i), v, depth+1)
			i++
		}
	default:
		s, _ := chat.Text(raw)
		r.notText(loc, []byte(s))
	}
}

func (r *Reader) notText(loc []any, s []byte) {
	s = bytes.ToValidUTF8(s, []byte("\ufffd"))
	r.wrong(loc, text(s[:min(len(s), maxInput)]), "string_unicode", "Input should be a valid string, unable to parse raw data as a unicode string", nil)
}

// What is wrong with something that should be an object with known fields.
const (
	noObject    = "model_attributes_type"
	noObjectMsg = "Input should be a valid dictionary or object to extract fields from"
)

func newReader(b []byte, loc []any, found *[]Problem) *Reader {
	r := &Reader{raw: b, loc: loc, found: found}
	for key, value := range chat.Object(b) {
		r.fields = append(r.fields, field{key, value})
	}
	return r
}

// isJSON reports whether the media type is JSON or not told.
func isJSON(t []byte) bool {
	t, _, _ = bytes.Cut(bytes.ToLower(t), []byte{';'})
	t = bytes.TrimSpace(t)
	return len(t) == 0 || string(t) == "application/json" ||
		bytes.HasPrefix(t, []byte("application/")) && bytes.HasSuffix(t, []byte("+json"))
}

// Err reports what has been wrong so far, nil if nothing was.
func (r *Reader) Err() error {
	if len(*r.found) == 0 {
		return nil
	}
	return Invalid(*r.found...)
}

// at is the place of a field.
func (r *Reader) at(key any) []any {
	return append(r.loc[:len(r.loc):len(r.loc)], key)
}

// maxInput bounds how much of a wrong value is sent back, in bytes, and
// maxProblems how many are reported.
const (
	maxInput    = 4 << 10
	maxProblems = 100
)

func (r *Reader) wrong(loc []any, raw json.RawMessage, kind, msg string, ctx any) {
	if len(*r.found) < maxProblems {
		*r.found = append(*r.found, Problem{Type: kind, Loc: loc, Msg: msg, Input: shown(raw), Ctx: ctx})
	}
}

// Refuse notes that the value of a field will not do, unless something is wrong with it
// already: it was read as nothing then.
func (r *Reader) Refuse(key, kind, msg string, ctx any) {
	loc := r.at(key)
	for _, p := range *r.found {
		if slices.Equal(p.Loc, loc) {
			return
		}
	}
	v, _ := r.get(key)
	r.wrong(loc, v, kind, msg, ctx)
}

// shown is raw as it is sent back.
func shown(raw json.RawMessage) json.RawMessage {
	if len(raw) <= maxInput {
		return raw
	}
	return text(bytes.ToValidUTF8(raw[:maxInput], nil))
}

func text(b []byte) json.RawMessage { return chat.AppendString(nil, string(b)) }
