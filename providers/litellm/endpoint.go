package litellm

import (
	"bytes"
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/providers/upstream"
)

// An endpoint is a base address and the way there.
type endpoint struct {
	transport pipeline.Transport
	lines     *upstream.Client // the transport too, if it takes fields as lines
	secure    bool             // HTTPS
	address   string           // host:port
	host      string           // as the Host field has it
	path      string           // without the slash at its end
	query     string           // without the question mark
}

// parseBase reads a base address.
func parseBase(s string) (*endpoint, error) {
	u, err := url.Parse(s)
	if err != nil {
		// No error here quotes the address: it may hold a password.
		return nil, errors.New("not a valid address; write https://host/v1")
	}
	switch {
	case u.User != nil:
		return nil, errors.New("a user name or password in the address is not sent; set key or headers")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("the address does not begin with http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("the address has no host")
	case u.Fragment != "" || strings.Contains(s, "#"):
		return nil, errors.New("the address has a fragment, which is never sent")
	}
	e := &endpoint{secure: u.Scheme == "https", host: u.Host, query: u.RawQuery}
	e.path = strings.TrimRight(u.EscapedPath(), "/")
	if strings.Contains(e.path, "//") {
		return nil, errors.New("the address has an empty part in its path")
	}
	port := u.Port()
	if port == "" {
		port = "80"
		if e.secure {
			port = "443"
		}
	}
	e.address = net.JoinHostPort(u.Hostname(), port)
	return e, nil
}

var errModelName = errors.New("the model's name cannot be part of an address")

// appendTarget appends what the request line asks for: the place below the base that
// the client's path means, and both queries.
func (p *provider) appendTarget(dst []byte, e *endpoint, ex *pipeline.Exchange, model []byte) ([]byte, error) {
	asked, query, _ := bytes.Cut(ex.Request.Header.RequestURI(), []byte("?"))
	rest := place(ex.Op, asked)
	dst = append(dst, e.path...)
	if az := p.Azure; az != nil && az.APIVersion != "" && e == p.main {
		if !strings.HasSuffix(e.path, "/openai") {
			dst = append(dst, "/openai"...)
		}
		if az.deployed(ex.Op, rest) {
			if az.Deployment != "" {
				model = []byte(az.Deployment)
			}
			if string(model) == "." || string(model) == ".." || len(model) == 0 {
				return dst, &pipeline.Error{Status: 404, Type: "invalid_request_error", Code: "model_not_found", Param: "model", Fault: pipeline.CallerFault, Err: errModelName}
			}
			dst = appendSegment(append(dst, "/deployments/"...), model)
		}
		dst = append(dst, rest...)
		dst = appendQuery(dst, '?', "api-version=")
		dst = append(dst, url.QueryEscape(az.APIVersion)...)
		return appendQuery(appendQuery(dst, '&', e.query), '&', string(query)), nil
	}
	dst = append(dst, rest...)
	mark := byte('?')
	if e.query != "" {
		dst = appendQuery(dst, mark, e.query)
		mark = '&'
	}
	if len(query) > 0 {
		dst = append(append(dst, mark), query...)
	}
	return dst, nil
}

func appendQuery(dst []byte, mark byte, query string) []byte {
	if query == "" {
		return dst
	}
	return append(append(dst, mark), query...)
}

// place is where below the base an operation lives. The gateway's own spelling of a
// known operation's path does not matter.
func place(op pipeline.Operation, path []byte) []byte {
	switch op {
	case pipeline.OpChat:
		return chatPath
	case pipeline.OpCompletions:
		return completionsPath
	case pipeline.OpEmbeddings:
		return embeddingsPath
	case pipeline.OpResponses:
		return responsesPath
	case pipeline.OpRerank:
		return rerankPath
	}
	if rest, ok := bytes.CutPrefix(path, version); ok && (len(rest) == 0 || rest[0] == '/') {
		return rest
	}
	return path
}

var (
	version         = []byte("/v1")
	chatPath        = []byte("/chat/completions")
	completionsPath = []byte("/completions")
	embeddingsPath  = []byte("/embeddings")
	responsesPath   = []byte("/responses")
	rerankPath      = []byte("/rerank")
)

// deployed reports whether Azure wants the deployment in the path. Where the gateway
// does not read the body, there is one only if it is set.
func (a *Azure) deployed(op pipeline.Operation, rest []byte) bool {
	switch op {
	case pipeline.OpChat, pipeline.OpCompletions, pipeline.OpEmbeddings:
		return true
	case pipeline.OpOther:
		return a.Deployment != "" && (bytes.HasPrefix(rest, []byte("/audio/")) || bytes.HasPrefix(rest, []byte("/images/")))
	}
	return false
}

// appendSegment appends s as one part of a path.
func appendSegment(dst, s []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range s {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' {
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '%', hex[c>>4], hex[c&15])
	}
	return dst
}
