// Package embedded is a vector store and a graph store in one, without a server:
// one SQLite file holds points, texts and graph, and indexes in memory, made
// from it at the start, answer.
//
// Points are found by a scan over their vectors, in three steps of rising
// precision, and by BM25 over words, or pairs of characters where words are not
// told apart by spaces. The graph is walked in memory; everything that a write
// acknowledges is in the file before.
//
// It serves one process, up to a few hundred thousand points for one tenant.
package embedded

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

//go:embed embedded.go
var source string

// A Store is both stores of retrieval.
type Store interface {
	pipeline.VectorStore
	pipeline.GraphStore
}

// Component describes embedded to a registry.
var Component = config.Define[Store]("embedded", Config{Durability: DurablePower, Memory: 64 << 20}, source)

// Config keeps points, texts and graph in one file and answers from memory.
type Config struct {
	// Path is the file, which is made if it is not there; of a folder, the file
	// headrace.db in it. Empty keeps everything in memory, for this process
	// alone: it is gone when the gateway stops or this component's settings
	// change.
	Path string `yaml:"path"`
	// Durability is what an acknowledged write survives: with process, the end
	// of the gateway in any way; with power, the end of the machine too, for
	// which every write waits for the disk.
	Durability string `yaml:"durability" check:"enum=process|power"`
	// Memory is for passages and vectors that were read from the file lately,
	// half of it for each. The indexes, which hold every point, come on top.
	Memory config.Size `yaml:"memory" check:"min=0,max=1TiB"`
}

// What Durability may be.
const (
	DurableProcess = "process"
	DurablePower   = "power"
)

// Build implements config.Builder.
func (c Config) Build(ctx context.Context, env config.Env) (Store, error) {
	f, err := openFile(ctx, c.Path, c.Durability)
	if err != nil {
		return nil, err
	}
	s := &store{
		file: f, log: env.Log, writer: make(gate, 1), settling: make(gate, 1),
		collections: map[string]*collection{}, graphs: map[string]*graph{},
		vectors:  newRecent(int(c.Memory/2), func(v []float32) int { return 4*len(v) + overhead }),
		passages: newRecent(int(c.Memory/2), (*kept).size),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	err = s.load(ctx)
	if err == nil {
		err = s.register(env.Metrics)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.judgeAll()
	return s, nil
}

// store is both ports over one file. Whoever writes holds writer from reading
// what is there until memory agrees with the file again; mu is held only while
// memory changes. Reads copy what they need under mu and go on without. One that
// finds a row gone since then begins anew while it holds settling, without which
// no row goes.
type store struct {
	pipeline.DocumentLocks

	file     *file
	log      *slog.Logger
	writer   gate
	settling gate

	vectors  *recent[[]float32]
	passages *recent[*kept]

	ctx  context.Context // of what goes on in the background; ends with Close
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu          sync.RWMutex
	collections map[string]*collection // guarded by mu
	graphs      map[string]*graph      // by tenant; guarded by mu
}

// Close implements io.Closer.
func (s *store) Close() error {
	s.stop()
	s.wg.Wait()
	return s.file.close()
}

// A gate lets one in at a time, in the order of arrival.
type gate chan struct{}

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	default:
	}
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

func (g gate) leave() { <-g }

// lock makes the caller the only writer; unlock ends that.
func (s *store) lock(ctx context.Context) error {
	if err := ended(ctx); err != nil {
		return err
	}
	return s.writer.enter(ctx)
}

func (s *store) unlock() { s.writer.leave() }

// ended returns why ctx has ended, if it has.
func ended(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("embedded store: %w", context.Cause(ctx))
}

// change runs do in a transaction: all of it is in the file, or nothing. do
// ends early when ctx does; what was done by then is committed all the same
// only if do says so by returning nil.
func (s *store) change(ctx context.Context, what string, do func(tx *sql.Tx) error) error {
	// A commit that is interrupted may have happened or not; this one is not
	// interrupted.
	tx, err := s.file.write.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return fmt.Errorf("%s in %s: %w", what, s.file, err)
	}
	defer func() { _ = tx.Rollback() }()
	if err = do(tx); err == nil {
		err = tx.Commit()
	}
	if err != nil {
		if _, ok := errors.AsType[*pipeline.Error](err); ok || ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("%s in %s: %w", what, s.file, err)
	}
	return nil
}

// rewrite is change for rows that are read after they were looked up, with what
// memory has to be told of it.
func (s *store) rewrite(ctx context.Context, what string, do func(tx *sql.Tx) error, settle func()) error {
	within := false
	defer func() {
		if within {
			s.settling.leave()
		}
	}()
	err := s.change(ctx, what, func(tx *sql.Tx) error {
		if err := do(tx); err != nil {
			return err
		}
		if err := s.settling.enter(ctx); err != nil {
			return err
		}
		within = true
		return nil
	})
	if err == nil {
		settle()
	}
	return err
}

// register shows how much is stored.
func (s *store) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	gauge := func(name, help string, of func() float64) error {
		return reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			s.mu.RLock()
			defer s.mu.RUnlock()
			return of()
		}))
	}
	return errors.Join(
		gauge("headrace_embedded_points", "Passages stored.", func() (n float64) {
			for _, c := range s.collections {
				for _, p := range c.parts {
					n += float64(p.alive)
				}
			}
			return n
		}),
		gauge("headrace_embedded_entities", "Entities stored.", func() (n float64) {
			for _, g := range s.graphs {
				n += float64(len(g.entities))
			}
			return n
		}),
		gauge("headrace_embedded_relations", "Relations stored.", func() (n float64) {
			for _, g := range s.graphs {
				n += float64(len(g.relations))
			}
			return n
		}),
	)
}
