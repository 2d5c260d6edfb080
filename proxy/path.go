package proxy

import (
	"bytes"
	"errors"

	"github.com/headrace/headrace/pipeline"
)

// A target is the path that a request names, in the one spelling that
// authentication, routing and the upstream all see.
type target struct {
	uri      []byte // path and query; of the client's own memory
	path     []byte // canonical: /v1 put in front where it was left out
	op       pipeline.Operation
	bare     bool   // the client left out /v1
	absolute bool   // the client sent a whole URL
	moved    bool   // the client used another API's path: see move
	model    string // that such a path named
}

var errPath = errors.New("the path may not hold empty or dot segments, backslashes, or encoded slashes and controls")

// canonical reads the request target. A path that a server behind this one
// could read in another way is refused rather than repaired.
func canonical(uri []byte) (target, error) {
	t := target{uri: uri}
	if len(uri) > 0 && uri[0] != '/' && uri[0] != '*' {
		t.absolute = true
		_, rest, _ := bytes.Cut(uri, []byte("://"))
		if i := bytes.IndexAny(rest, "/?"); i < 0 {
			t.uri = root
		} else if rest[i] == '?' {
			t.uri = append([]byte{'/'}, rest[i:]...)
		} else {
			t.uri = rest[i:]
		}
	}
	path := t.uri
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	t.path = path
	if !isPlain(path) && !isModelID(path) && !isDeployment(path) {
		return t, refuse(400, "ambiguous_path", "", errPath)
	}
	if plain := unescaped(path); len(plain) != len(path) {
		t.uri, t.path, t.moved = append(bytes.Clone(plain), t.uri[len(path):]...), plain, true
	}
	// Some clients put the version in front by themselves, also of a base that ends
	// in one.
	for bytes.HasPrefix(t.path, twice) || string(t.path) == "/v1/v2/rerank" {
		t.uri, t.path, t.moved = t.uri[len("/v1"):], t.path[len("/v1"):], true
	}
	t.recognise()
	return t, nil
}

// complete puts /v1 in front of a path that belongs to OpenAI's API and was asked for
// without it, or by another of its names. It reports false if it is neither.
func (t *target) complete() bool {
	if t.move() {
		return true
	}
	if t.bare || !families[string(family(t.path))] {
		return false
	}
	t.path, t.bare = append([]byte("/v1"), t.path...), true
	return true
}

// family is the first part of path, and the first two for chats: /chat alone means
// something else.
func family(path []byte) []byte {
	path = bytes.TrimPrefix(path, root)
	if bytes.HasPrefix(path, []byte("chat/completions/")) {
		return path[:len("chat/completions")]
	}
	if i := bytes.IndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return path
}

// families are the first parts of the paths of OpenAI's API, but for those that
// recognise knows. Nothing else is completed: what strangers look for is not asked of
// the upstream.
var families = map[string]bool{
	"agents": true, "assistants": true, "audio": true, "batches": true, "chat/completions": true, "chatkit": true,
	"containers": true, "content_provenance_checks": true, "conversations": true, "decisions": true, "evals": true,
	"files": true, "fine_tuning": true, "images": true, "live": true, "moderations": true, "organization": true,
	"projects": true, "realtime": true, "responses": true, "safety": true, "skills": true, "threads": true, "uploads": true,
	"vaults": true, "vector_stores": true, "videos": true, "webhook_endpoints": true, "webhook_event_types": true,
}

// operation is what the method makes of the path: OpenAI also lets clients
// list, change and delete at the paths of operations, which is passed through.
func (t *target) operation(method []byte) pipeline.Operation {
	switch {
	case t.op.HasModel() && string(method) != "POST",
		t.op == pipeline.OpModels && string(method) != "GET" && string(method) != "HEAD":
		return pipeline.OpOther
	}
	return t.op
}

var root = []byte{'/'}

// unescaped is path without the escapes that mean what they stand for: of letters,
// digits and -._~. All servers read such paths as the same.
func unescaped(path []byte) []byte {
	if bytes.IndexByte(path, '%') < 0 {
		return path
	}
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			d := byte(hexDigit(path[i+1])<<4 | hexDigit(path[i+2]))
			if !isDigit(d) && (d|0x20 < 'a' || d|0x20 > 'z') && d != '-' && d != '.' && d != '_' && d != '~' {
				out = append(out, path[i:i+3]...)
			} else {
				out = append(out, d)
			}
			i += 2
			continue
		}
		out = append(out, c)
	}
	return out
}

// isPlain reports whether path has only one reading.
func isPlain(path []byte) bool {
	for i := range path {
		switch path[i] {
		case '/':
			rest := path[i+1:]
			if j := bytes.IndexByte(rest, '/'); j >= 0 {
				rest = rest[:j]
			} else if len(rest) == 0 {
				return true // a slash at the very end
			}
			if len(rest) == 0 || isDots(rest) {
				return false
			}
		case '\\':
			return false
		case '%':
			if i+2 >= len(path) {
				return false
			}
			hi, lo := hexDigit(path[i+1]), hexDigit(path[i+2])
			if hi < 0 || lo < 0 {
				return false
			}
			switch c := byte(hi<<4 | lo); {
			case c == '/', c == '\\', c < ' ', c == 0x7f:
				return false
			}
		}
	}
	return true
}

// isDots reports whether a segment is nothing but dots, encoded or not: one or two
// mean another place, and to some servers so do more.
func isDots(segment []byte) bool {
	for len(segment) > 0 {
		switch {
		case segment[0] == '.':
			segment = segment[1:]
		case len(segment) >= 3 && equalFold(segment[:3], "%2e"):
			segment = segment[3:]
		default:
			return false
		}
	}
	return true
}

// isModelID reports whether path is /v1/models/{id} with an id whose slashes
// are encoded, as some clients do: the id is one name, however it is spelled.
func isModelID(path []byte) bool {
	id, ok := modelID(path)
	return ok && isName(id)
}

// modelID is what follows /v1/models/ or /models/.
func modelID(path []byte) ([]byte, bool) {
	path, _ = bytes.CutPrefix(path, []byte("/v1"))
	return bytes.CutPrefix(path, []byte("/models/"))
}

// recognise finds the paths that the gateway knows, with and without /v1, or a slash
// at the end.
func (t *target) recognise() {
	p, versioned := bytes.CutPrefix(t.path, []byte("/v1"))
	if string(t.path) == "/v2/rerank" {
		// Cohere's second version asks and answers as the first does.
		p = t.path[len("/v2"):]
	}
	switch string(bytes.TrimSuffix(p, root)) {
	case "/chat/completions":
		t.op = pipeline.OpChat
	case "/completions":
		t.op = pipeline.OpCompletions
	case "/embeddings":
		t.op = pipeline.OpEmbeddings
	case "/responses":
		t.op = pipeline.OpResponses
	case "/rerank":
		t.op = pipeline.OpRerank
	case "/models":
		t.op = pipeline.OpModels
	default:
		if !bytes.HasPrefix(p, []byte("/models/")) {
			return
		}
		t.op = pipeline.OpModels
	}
	if !versioned {
		t.bare = true
		t.path = bare[t.op]
		if t.path == nil {
			t.path = append([]byte("/v1"), p...)
		}
	}
}

// unversioned is the target without the /v2 that one path may begin with.
func (t *target) unversioned() []byte {
	rest, _ := bytes.CutPrefix(t.uri, []byte("/v2"))
	return rest
}

// bare holds the canonical paths of the operations that are one path each, so
// that completing them allocates nothing.
var bare = [...][]byte{
	pipeline.OpChat:        []byte("/v1/chat/completions"),
	pipeline.OpCompletions: []byte("/v1/completions"),
	pipeline.OpEmbeddings:  []byte("/v1/embeddings"),
	pipeline.OpResponses:   []byte("/v1/responses"),
	pipeline.OpRerank:      []byte("/v1/rerank"),
	pipeline.OpModels:      nil,
}
