// Package litellm calls LiteLLM, OpenAI, Azure, or any other server that speaks
// their HTTP API. It sends a request on with the gateway's own key and, where the
// target has a name of its own for the model, with that name; the rest of the body
// stays byte for byte what the client wrote.
//
// Answers come back as they are, with three exceptions. An answer that is not
// whole is an error, never a shorter answer: JSON is read to its end first, and a
// stream must say that it is finished. An error has the shape of OpenAI's,
// whatever shape it came in, and says whose fault it is; so does an error inside
// a stream that began with status 200. And nothing that concerns the upstream's
// connection, its cookies or its addresses is passed on.
//
// What the gateway does not know, such as files and audio, passes through as it
// comes, streaming both ways. The package retries nothing and follows no redirect.
package litellm

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/quiet"
	"github.com/headrace/headrace/providers/upstream"
)

//go:embed litellm.go
var source string

// Component is the provider, for a registry.
var Component = config.Define[pipeline.Provider]("litellm", Config{
	Strip:          []string{"cache", "rag"},
	InvalidEvents:  refuse,
	Connect:        5 * time.Second,
	FirstByte:      time.Minute,
	Idle:           time.Minute,
	MaxResponse:    32 << 20,
	MaxEvent:       16 << 20,
	MaxConnections: 4096,
}, source)

// Config is an upstream that speaks the OpenAI API: LiteLLM, OpenAI itself, Azure,
// vLLM, Ollama and many more.
type Config struct {
	// URL is the address that the gateway's /v1 stands for. It usually ends in /v1:
	// https://api.openai.com/v1
	URL string `yaml:"url" check:"required"`
	// Key is sent to the upstream as `Authorization: Bearer KEY`. What the client
	// sent as its key never is.
	Key config.Secret `yaml:"key"`
	// Headers are sent with every request, in place of the client's own fields of
	// these names.
	Headers map[string]config.Secret `yaml:"headers"`
	// Organization is sent as OpenAI-Organization.
	Organization string `yaml:"organization"`
	// Project is sent as OpenAI-Project.
	Project string `yaml:"project"`
	// Azure makes the upstream an Azure OpenAI resource: the key is sent as
	// `api-key`.
	Azure *Azure `yaml:"azure"`
	// RerankURL is the address to which /rerank is appended for reranking, where that is
	// another server. It gets the same key and headers.
	RerankURL string `yaml:"rerank_url"`
	// Strip lists top-level members of request bodies that the upstream shall not
	// see, because they are addressed to the gateway.
	Strip []string `yaml:"strip"`
	// InvalidEvents says what to do with an event of a stream that is not JSON: end
	// the stream with an error, or pass it on.
	InvalidEvents string `yaml:"invalid_events" check:"enum=error|pass"`
	// Connect bounds connecting, TLS included.
	Connect time.Duration `yaml:"connect" check:"min=1ms"`
	// FirstByte bounds the wait for an answer to begin.
	FirstByte time.Duration `yaml:"first_byte" check:"min=1ms"`
	// Idle bounds the wait for more of an answer that has begun.
	Idle time.Duration `yaml:"idle" check:"min=1ms"`
	// Total bounds a call as a whole; 0 sets no bound.
	Total time.Duration `yaml:"total" check:"min=0s"`
	// HTTP2 speaks HTTP/2 where the upstream offers it. It costs more per request,
	// and helps where connections are few.
	HTTP2 bool `yaml:"http2"`
	// CA is the path of certificates, in PEM, to trust in place of the system's.
	CA string `yaml:"ca"`
	// MaxResponse is the largest answer that is held in memory: one that is not a
	// stream.
	MaxResponse config.Size `yaml:"max_response" check:"min=1KiB,max=1GiB"`
	// MaxEvent is the largest event of a stream. A picture is one event.
	MaxEvent config.Size `yaml:"max_event" check:"min=1KiB,max=64MiB"`
	// MaxConnections is how many connections to the upstream may be open at once. A
	// call that would need one more fails.
	MaxConnections int `yaml:"max_connections" check:"min=1"`
}

// Azure says how to address an Azure OpenAI resource.
type Azure struct {
	// APIVersion is the dated version of the API, such as 2024-10-21. With it the url is the
	// resource's, https://NAME.openai.azure.com, and the path names a deployment.
	// Without it the url ends in /openai/v1.
	APIVersion string `yaml:"api_version"`
	// Deployment is the deployment to call. Without it, it is the model's name.
	Deployment string `yaml:"deployment"`
}

// The values of InvalidEvents.
const (
	refuse = "error"
	pass   = "pass"
)

// Validate implements what package config asks of settings that depend on each
// other or are more than a number.
func (c Config) Validate() error {
	if _, err := parseBase(c.URL); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if c.RerankURL != "" {
		if _, err := parseBase(c.RerankURL); err != nil {
			return fmt.Errorf("rerank_url: %w", err)
		}
	}
	if c.Azure != nil && c.Azure.Deployment != "" && c.Azure.APIVersion == "" {
		return errors.New("azure: a deployment is named in paths with an api_version only; set api_version too, or leave deployment out")
	}
	for _, f := range c.fields() {
		switch {
		case !isName(f.name):
			return fmt.Errorf("headers: %q is not the name of a header field", f.name)
		case !sendable(lowerName(nil, f.name), true) && !slices.Contains(credentials, strings.ToLower(f.name)):
			return fmt.Errorf("headers: %s is the gateway's own to set", f.name)
		case strings.ContainsFunc(string(f.value), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return fmt.Errorf("the value of the header field %s holds a control character, such as a line break at its end", f.name)
		}
	}
	return nil
}

// A field is a header field that every request gets.
type field struct {
	name  string // canonical
	value []byte
}

// fields are all of them: those of Headers win.
func (c Config) fields() []field {
	var out []field
	add := func(name, value string) {
		name = textproto.CanonicalMIMEHeaderKey(name)
		at := slices.IndexFunc(out, func(f field) bool { return f.name == name })
		if at < 0 {
			out = append(out, field{name: name})
			at = len(out) - 1
		}
		out[at].value = []byte(value)
	}
	switch {
	case c.Key == "":
	case c.Azure != nil:
		add("Api-Key", string(c.Key))
	default:
		add("Authorization", "Bearer "+string(c.Key))
	}
	if c.Organization != "" {
		add("Openai-Organization", c.Organization)
	}
	if c.Project != "" {
		add("Openai-Project", c.Project)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		add(name, string(c.Headers[name]))
	}
	return out
}

// secrets are the key and the values of Headers, without a scheme before them.
// What is too short to be a secret is left out: it would be found in any text.
func (c Config) secrets() [][]byte {
	var out [][]byte
	add := func(s config.Secret) {
		value := []byte(s)
		if i := bytes.LastIndexByte(value, ' '); i >= 0 {
			value = value[i+1:]
		}
		if len(value) >= 8 {
			out = append(out, value)
		}
	}
	add(c.Key)
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		add(c.Headers[name])
	}
	return out
}

// Files names what Build reads, for a reload to notice that certificates have been renewed.
func (c Config) Files() []string {
	if c.CA == "" {
		return nil
	}
	return []string{c.CA}
}

// Build implements config.Builder.
func (c Config) Build(_ context.Context, env config.Env) (pipeline.Provider, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p := &provider{Config: c, sent: c.fields(), secrets: c.secrets()}
	p.always = p.constant()
	var err error
	if p.main, err = c.endpoint(c.URL, nil, env); err != nil {
		return nil, err
	}
	p.ranker = p.main
	if c.RerankURL != "" {
		if p.ranker, err = c.endpoint(c.RerankURL, p.main, env); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	return p, nil
}

// endpoint connects a base address to a transport: that of like, if it is the same
// server.
func (c Config) endpoint(address string, like *endpoint, env config.Env) (*endpoint, error) {
	e, err := parseBase(address)
	if err != nil {
		return nil, err
	}
	if like != nil && like.secure == e.secure && like.address == e.address {
		e.transport, e.lines = like.transport, like.lines
		return e, nil
	}
	log := quiet.New(env.Log)
	o := upstream.Options{
		Address: e.address, HTTP2: c.HTTP2 && e.secure, MaxConns: c.MaxConnections,
		Connect: c.Connect, FirstByte: c.FirstByte, Idle: c.Idle, Total: c.Total,
		Unreached: func(reason error) {
			log.Warn("no connection to the upstream", "address", e.address, "error", reason)
		},
	}
	if e.secure {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		if o.TLS.RootCAs, err = c.authorities(); err != nil {
			return nil, err
		}
	}
	client, err := upstream.New(o)
	if err != nil {
		return nil, err
	}
	if e.transport = client; !o.HTTP2 {
		e.lines = client
	}
	return e, nil
}

// authorities are the certificates to trust; nil for the system's.
func (c Config) authorities() (*x509.CertPool, error) {
	if c.CA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("read the certificates to trust: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the certificates to trust: %s holds none in PEM", c.CA)
	}
	return pool, nil
}

// provider is the running thing.
type provider struct {
	Config
	main, ranker *endpoint
	sent         []field
	always       []byte   // sent, as lines
	secrets      [][]byte // what no error may quote
	calls        sync.Pool
}

// Call implements pipeline.Provider.
func (p *provider) Call(ctx context.Context, ex *pipeline.Exchange) error {
	ex.Response.Reset()
	c, ok := p.calls.Get().(*call)
	if !ok {
		c = &call{p: p}
	}
	c.op = ex.Op
	err := c.send(ctx, ex)
	if err == nil {
		err = c.receive(ex)
	}
	if err != nil {
		_ = c.Close()              // the error says more
		ex.Response.Header.Reset() // what came of the upstream's has not been looked at
		return err
	}
	ex.Response.Body = c
	return nil
}

// Close implements io.Closer.
func (p *provider) Close() error {
	var errs []error
	if p.ranker != nil && p.ranker.transport != p.main.transport {
		errs = append(errs, closeTransport(p.ranker))
	}
	return errors.Join(append(errs, closeTransport(p.main))...)
}

func closeTransport(e *endpoint) error {
	if c, ok := e.transport.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
