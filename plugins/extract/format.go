package extract

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"

	"github.com/headrace/headrace/pipeline"
)

// A format is how a model is asked for JSON. The words of the prompt ask for it too, so
// that each may be left out.
type format string

const (
	bySchema format = "json_schema" // JSON of this form and no other
	asObject format = "json_object" // any JSON object
	inWords  format = "text"        // nothing but the words of the prompt
)

// looser is what is asked of a model that does not know f.
func (f format) looser() format {
	if f == bySchema {
		return asObject
	}
	return inWords
}

// graphSchema is the schema of a graph in what all who take schemas know: no references,
// no lengths, and every member required.
const graphSchema = `{"type":"object","properties":{` +
	`"nodes":{"type":"array","items":{"type":"object","properties":{"id":{"type":"string"},"type":{"type":"string"},"props":` + propsSchema + `},` +
	`"required":["id","type","props"],"additionalProperties":false}},` +
	`"edges":{"type":"array","items":{"type":"object","properties":{"src":{"type":"string"},"dst":{"type":"string"},"type":{"type":"string"},"props":` + propsSchema + `},` +
	`"required":["src","dst","type","props"],"additionalProperties":false}}},` +
	`"required":["nodes","edges"],"additionalProperties":false}`

const propsSchema = `{"type":"array","items":{"type":"object","properties":{"key":{"type":"string"},"value":{"type":["string","number","boolean","null"]}},` +
	`"required":["key","value"],"additionalProperties":false}}`

// wire is the format as a member of a request; nil for none.
func (f format) wire() *responseFormat {
	switch f {
	case bySchema:
		return &responseFormat{Type: string(f), Schema: &namedSchema{Name: "knowledge_graph", Strict: true, Schema: json.RawMessage(graphSchema)}}
	case asObject:
		return &responseFormat{Type: string(f)}
	}
	return nil
}

type responseFormat struct {
	Type   string       `json:"type"`
	Schema *namedSchema `json:"json_schema,omitempty"`
}

type namedSchema struct {
	Name   string          `json:"name"`
	Strict bool            `json:"strict"`
	Schema json.RawMessage `json:"schema"`
}

// unknown reports whether a call may have failed for the format that was asked for.
func unknown(err error) bool {
	e, ok := errors.AsType[*pipeline.Error](err)
	return ok && e.Code == "upstream_error" && (e.Status == 400 || e.Status == 415 || e.Status == 422)
}

// maxLearnt bounds the models whose formats are kept: clients choose the names.
const maxLearnt = 256

// formats are those that models take, learnt from what they refuse.
type formats struct {
	mu     sync.Mutex
	learnt map[string]format // by the model's name here; guarded by mu
}

// of is how to ask a model, which is to be asked as the file says until it has refused that.
func (f *formats) of(alias string, wanted format) format {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, ok := f.learnt[alias]; ok {
		return known
	}
	if wanted == asObject && strings.Contains(alias, "gemini") {
		return inWords // known to refuse
	}
	return wanted
}

func (f *formats) learn(alias string, taken format) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.learnt == nil {
		f.learnt = map[string]format{}
	}
	if _, known := f.learnt[alias]; known || len(f.learnt) < maxLearnt {
		f.learnt[alias] = taken
	}
}
