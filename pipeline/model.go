package pipeline

import (
	"context"
	"strings"
	"time"
)

// A Model is a name that clients ask for, and what can answer to it.
type Model struct {
	// Name is as declared: a plain name, a prefix with a trailing "*", or "*".
	Name string
	// Targets can answer, in the order declared.
	Targets []*Target
	// Chain replaces the route's chain when it is not nil.
	Chain Chain
	// ContextWindow is how many tokens fit in, prompt and answer together; 0
	// if not known.
	ContextWindow int
}

// A Target is one provider together with the upstream's own name of a model.
type Target struct {
	// Index numbers the targets of a snapshot without gaps from 0, so that
	// state per target is a slice.
	Index int
	// Name is for logs and metrics: the provider's name in the file, and the
	// model if one is set.
	Name     string
	Provider Provider
	// Model is the upstream's name of it. Empty, or "*" in it, stands for the
	// name, or the part of it behind the prefix, that the client asked for.
	Model string
	// FirstByte and Idle override the provider's timeouts when above zero.
	FirstByte, Idle time.Duration
	// Sum digests the settings of the provider, so that it differs where the
	// same name stands for something else. It is zero if nobody set it.
	Sum [32]byte
}

// Upstream returns the upstream's name of the model that the client called
// requested, under the declared name m. It allocates only where it must join
// two parts.
func (t *Target) Upstream(m *Model, requested string) string {
	switch {
	case t.Model == "" || t.Model == "*":
		if m != nil && t.Model == "*" {
			if prefix, ok := strings.CutSuffix(m.Name, "*"); ok {
				return strings.TrimPrefix(requested, prefix)
			}
		}
		return requested
	case strings.Contains(t.Model, "*") && m != nil:
		prefix, _ := strings.CutSuffix(m.Name, "*")
		return strings.Replace(t.Model, "*", strings.TrimPrefix(requested, prefix), 1)
	}
	return t.Model
}

// CallTarget is the last stage of a chain that asks ex.Target.
var CallTarget Handler = HandlerFunc(func(ctx context.Context, ex *Exchange, _ Chain) error {
	if err := Undocumented(ex); err != nil {
		return err
	}
	ex.CountAttempt()
	return ex.Target.Provider.Call(ctx, ex)
})

// Models is every model that the file declares. It is immutable.
type Models struct {
	list     []*Model
	exact    map[string]*Model
	prefixes []*Model // longest first; "*" last
}

// NewModels indexes list, which must hold no name twice.
func NewModels(list []*Model) *Models {
	m := &Models{list: list, exact: make(map[string]*Model, len(list))}
	for _, d := range list {
		if !strings.HasSuffix(d.Name, "*") {
			m.exact[d.Name] = d
			continue
		}
		at := 0
		for at < len(m.prefixes) && len(m.prefixes[at].Name) >= len(d.Name) {
			at++
		}
		m.prefixes = append(m.prefixes[:at:at], append([]*Model{d}, m.prefixes[at:]...)...)
	}
	return m
}

// List returns the models in the order declared.
func (m *Models) List() []*Model { return m.list }

// Find returns the model that answers to name: the one of that very name, else
// the longest prefix that fits, else nil. It does not allocate.
func (m *Models) Find(name []byte) *Model {
	if d := m.exact[string(name)]; d != nil {
		return d
	}
	for _, d := range m.prefixes {
		if prefix := d.Name[:len(d.Name)-1]; len(name) >= len(prefix) && string(name[:len(prefix)]) == prefix {
			return d
		}
	}
	return nil
}

// Any is the model declared as "*", which also stands for requests that name
// no model; nil if there is none.
func (m *Models) Any() *Model {
	if n := len(m.prefixes); n > 0 && m.prefixes[n-1].Name == "*" {
		return m.prefixes[n-1]
	}
	return nil
}
