package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/providers/embedded"
)

// crashing names the file that this process is to write to until it is killed.
const crashing = "HEADRACE_TEST_CRASHING"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashing); path != "" {
		writeForEver(path)
	}
	os.Exit(m.Run())
}

func crashPoint(round string, i int) pipeline.Point {
	id := pipeline.PointID("t", "kb", "doc "+round, "", i)
	return pipeline.Point{
		Passage: pipeline.Passage{ID: id, DocID: "doc " + round, Index: i, Text: fmt.Sprintf("word%sx%d", round, i)},
		Vector:  []float32{float32(i), 1, 2},
	}
}

// writeForEver says on its output what has been acknowledged.
func writeForEver(path string) {
	ctx, round := context.Background(), os.Getenv("ROUND")
	s, err := embedded.Config{Path: path, Durability: embedded.DurableProcess}.Build(ctx, config.Env{})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for i := 0; ; i += 5 {
		var points []pipeline.Point
		for j := range 5 {
			points = append(points, crashPoint(round, i+j))
		}
		if _, err := s.Upsert(ctx, pipeline.Upsert{Tenant: "t", Collection: "kb", Points: points}); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println("points", i)
		name := fmt.Sprintf("e%s_%d", round, i)
		_, err := s.Write(ctx, pipeline.GraphWrite{
			Tenant: "t", DocID: "d", Entities: []pipeline.Entity{{ID: name, Type: "T"}, {ID: "centre", Type: "T"}},
			Relations: []pipeline.Relation{{Src: "centre", Dst: name, Type: "R"}},
		})
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println("graph", i)
	}
}

// Nothing that has been acknowledged is lost when the process is killed, and
// nothing is there by halves.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes")
	}
	path := filepath.Join(t.TempDir(), "kb.db")
	acknowledged := map[string][2]int{} // batches of points and of the graph, by round
	for n := range 4 {
		round := fmt.Sprint(n)
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), crashing+"="+path, "ROUND="+round)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop := 20 + rand.IntN(60)
		var done [2]int
		in := bufio.NewScanner(out)
		for lines := 0; in.Scan(); lines++ {
			switch what, rest, _ := strings.Cut(in.Text(), " "); what {
			case "points":
				done[0]++
			case "graph":
				done[1]++
			default:
				t.Fatalf("round %s: %s %s", round, what, rest)
			}
			if lines == stop {
				_ = cmd.Process.Kill() // in the midst of whatever it does; what is in the pipe still counts
			}
		}
		_ = cmd.Wait()
		if done[0] == 0 {
			t.Fatalf("round %s: nothing was written", round)
		}
		acknowledged[round] = done
	}
	s := open(t, path)
	for round, done := range acknowledged {
		var ids []string
		for i := range 5 * (done[0] + 2) {
			ids = append(ids, crashPoint(round, i).ID)
		}
		got, err := s.Fetch(t.Context(), "t", "kb", ids)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) < 5*done[0] || len(got) > 5*done[0]+5 || len(got)%5 != 0 {
			t.Errorf("round %s: %d points of %d acknowledged, in fives", round, len(got), 5*done[0])
		}
		legs, err := s.Search(t.Context(), pipeline.SearchQuery{
			Tenant: "t", Collection: "kb", Text: crashPoint(round, 5*done[0]-1).Text, Vector: []float32{1, 1, 1}, Limit: 10_000,
		})
		if err != nil || len(legs.Sparse) != 1 || len(legs.Dense) < 5*done[0] {
			t.Errorf("round %s: the last point is found %d times, %d in all: %v", round, len(legs.Sparse), len(legs.Dense), err)
		}
		g, err := s.Expand(t.Context(), pipeline.ExpandQuery{
			Tenant: "t", Seeds: []pipeline.Seed{{ID: "centre", Weight: 1}}, Hops: 1, Fanout: 1e6, HubCap: 1e6, MaxSeeds: 1, MaxNodes: 1e6, MaxEdges: 1e6,
		})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, r := range g.Relations {
			if strings.HasPrefix(r.Dst, "e"+round+"_") {
				n++
			}
		}
		if n < done[1] || n > done[1]+1 {
			t.Errorf("round %s: %d relations of %d acknowledged", round, n, done[1])
		}
	}
}

// fill writes some points and returns how large the file is.
func fill(t *testing.T, path string) int64 {
	t.Helper()
	s, err := embedded.Config{Path: path, Durability: embedded.DurableProcess}.Build(t.Context(), config.Env{})
	if err != nil {
		t.Fatal(err)
	}
	var points []pipeline.Point
	for i := range 300 {
		points = append(points, crashPoint("x", i))
		points[i].Text = strings.Repeat("some words ", 100)
	}
	if _, err := s.Upsert(t.Context(), pipeline.Upsert{Tenant: "t", Collection: "kb", Points: points}); err != nil {
		t.Fatal(err)
	}
	if err := s.(io.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// A file that is not whole, or not ours, is refused with the reason.
func TestDamaged(t *testing.T) {
	f := func(name, want string, damage func(path string, size int64) error) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "kb.db")
		size := fill(t, path)
		if err := damage(path, size); err != nil {
			t.Fatal(err)
		}
		s, err := embedded.Config{Path: path}.Build(t.Context(), config.Env{})
		if err == nil {
			s.(io.Closer).Close()
			t.Errorf("%s: built", name)
			return
		}
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v; want the path and %q", name, err, want)
		}
	}
	cut := func(part float64) func(string, int64) error {
		return func(path string, size int64) error { return os.Truncate(path, int64(part*float64(size))) }
	}
	overwrite := func(at float64) func(string, int64) error {
		return func(path string, size int64) error {
			out, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer out.Close()
			_, err = out.WriteAt([]byte(strings.Repeat("rubbish ", 4096)), int64(at*float64(size)))
			return err
		}
	}
	f("cut in half", "damaged", cut(0.5))
	f("cut a little", "damaged", cut(0.99))
	f("cut to nothing but a piece", "no database", cut(0.0001))
	f("another kind of file", "no database", overwrite(0))
	f("overwritten within", "damaged", overwrite(0.5))
	f("another program's", "another program", func(path string, _ int64) error {
		out, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer out.Close()
		_, err = out.WriteAt([]byte{1, 2, 3, 4}, 68) // where SQLite keeps the application's id
		return err
	})
	f("a later format", "format is 99", func(path string, _ int64) error {
		out, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer out.Close()
		_, err = out.WriteAt([]byte{0, 0, 0, 99}, 60) // and the user's version
		return err
	})
}
