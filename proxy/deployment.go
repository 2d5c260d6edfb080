package proxy

import (
	"bytes"
	"net/url"
	"unicode/utf8"

	"github.com/headrace/headrace/pipeline"
)

// move leads the paths under which Azure serves OpenAI's API, and those of its old
// engines, to where that API has them. It reports false for any other path.
func (t *target) move() bool {
	to := target{path: versioned[:len("/v1"):len("/v1")]}
	if name, operation, ok := deployment(t.path); ok {
		model, err := url.PathUnescape(string(name))
		if err != nil || !utf8.ValidString(model) {
			return false
		}
		to.model, to.path = model, append(to.path, operation...)
	} else {
		rest, ok := bytes.CutPrefix(t.path, azure)
		if !ok {
			return false
		}
		rest = bytes.TrimPrefix(rest, versioned[1:])
		to.path = append(append(to.path, '/'), rest...)
		if to.recognise(); to.op == pipeline.OpOther && !families[string(family(rest))] {
			return false
		}
	}
	to.recognise()
	to.moved, to.uri = true, appendOtherThanVersion(bytes.Clone(to.path), t.uri)
	*t = to
	return true
}

var (
	azure     = []byte("/openai/")
	versioned = []byte("/v1/")
	twice     = []byte("/v1/v1/")
)

// deployment takes apart /openai/deployments/{model}/{operation} and
// /engines/{model}/{operation}. The name of a model may hold slashes.
func deployment(path []byte) (model, operation []byte, ok bool) {
	rest, ok := bytes.CutPrefix(path, []byte("/openai/deployments/"))
	if !ok {
		rest, ok = bytes.CutPrefix(path, []byte("/engines/"))
	}
	if !ok {
		return nil, nil, false
	}
	for _, op := range deployed {
		if model, ok := bytes.CutSuffix(rest, op); ok && len(model) > 0 {
			return model, op, true
		}
	}
	return nil, nil, false
}

// deployed is what Azure has below a deployment.
var deployed = [...][]byte{
	[]byte("/chat/completions"), []byte("/completions"), []byte("/embeddings"), []byte("/responses"),
	[]byte("/audio/transcriptions"), []byte("/audio/translations"), []byte("/audio/speech"),
	[]byte("/images/generations"), []byte("/images/edits"),
}

// isDeployment reports whether path names a deployment whose slashes are encoded: it
// is one name, however it is spelled.
func isDeployment(path []byte) bool {
	name, _, ok := deployment(path)
	return ok && isName(name)
}

// isName reports whether b, as one part of a path, has only one reading.
func isName(b []byte) bool {
	return len(b) > 0 && isPlain(append([]byte{'/'}, bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("%2F"), root), []byte("%2f"), root)...))
}

// appendOtherThanVersion appends the query of uri without Azure's api-version, which
// is about the path that the client used.
func appendOtherThanVersion(dst, uri []byte) []byte {
	_, query, _ := bytes.Cut(uri, []byte{'?'})
	mark := byte('?')
	for part := range bytes.SplitSeq(query, []byte{'&'}) {
		if len(part) == 0 || bytes.HasPrefix(part, []byte("api-version=")) {
			continue
		}
		dst = append(append(dst, mark), part...)
		mark = '&'
	}
	return dst
}
