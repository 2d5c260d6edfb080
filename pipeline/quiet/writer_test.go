package quiet_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline/quiet"
)

// A gate is a writer that takes nothing until it is opened.
type gate struct {
	open chan struct{}
	mu   sync.Mutex
	text strings.Builder
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.Write(p)
}

func (g *gate) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.String()
}

// All lines arrive, in order, whole.
func TestWriter(t *testing.T) {
	for _, eager := range []int{0, 100} {
		g := &gate{open: make(chan struct{})}
		close(g.open)
		w := quiet.NewWriter(g, eager, time.Hour, func() { t.Error("a line was dropped") })
		var want strings.Builder
		for i := range 1000 {
			_, _ = fmt.Fprintf(w, "line %d\n", i)
			fmt.Fprintf(&want, "line %d\n", i)
		}
		w.Close(10 * time.Second)
		if g.String() != want.String() {
			t.Errorf("eager %d: got %d bytes, want %d", eager, len(g.String()), want.Len())
		}
	}
}

// Nobody waits for a log that is not read; what had no room is counted.
func TestWriterHeld(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	lost := 0
	w := quiet.NewWriter(g, 0, 0, func() { lost++ })
	line := strings.Repeat("x", 1023) + "\n"
	for range 4000 {
		_, _ = w.Write([]byte(line))
	}
	if lost < 1000 || lost > 3000 {
		t.Errorf("%d lines were dropped", lost)
	}
	w.Close(time.Millisecond) // does not wait either
	close(g.open)
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(g.String(), fmt.Sprintf(`dropped","lines":%d}`, lost)) {
		if time.Now().After(deadline) {
			t.Fatalf("the log does not tell of %d lines: it ends with %.200q", lost, g.String()[max(0, len(g.String())-200):])
		}
		time.Sleep(time.Millisecond)
	}
	if n := strings.Count(g.String(), line); n+lost != 4000 {
		t.Errorf("%d lines written and %d dropped of 4000", n, lost)
	}
}
