package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// reload loads a file, then another, and releases both at the end of the test.
func reload(t *testing.T, before, after string) (a, b *config.Snapshot) {
	t.Helper()
	allClosed(t)
	a = load(t, nil, before)
	b = load(t, a, after)
	t.Cleanup(a.Release)
	t.Cleanup(b.Release)
	return a, b
}

// lives returns everything in a snapshot, by name.
func lives(s *config.Snapshot) map[string]*life {
	out := map[string]*life{}
	var chain func(pipeline.Chain)
	stageOf := func(h pipeline.Handler) *stage {
		if g, ok := h.(*guarding); ok {
			return &g.stage
		}
		return h.(*stage)
	}
	chain = func(c pipeline.Chain) {
		for _, h := range c {
			st := stageOf(h)
			out[st.env.Name] = st.life
			switch c := st.settings.(type) {
			case pass:
				if k := c.Store.Get(); k != nil {
					out["stores."+c.Store.Name()] = k.(*kept).life
				}
			case nest:
				chain(c.Then)
				for _, b := range c.Branches {
					chain(b)
				}
				for _, t := range s.Targets {
					chain(c.Each.For(t))
				}
			}
		}
	}
	chain(s.Before)
	for _, r := range s.Routes {
		chain(r.Chain)
	}
	for _, m := range s.Models.List() {
		chain(m.Chain)
	}
	for _, t := range s.Targets {
		name, _, _ := strings.Cut(t.Name, "/")
		out["providers."+name] = t.Provider.(answerer).life
	}
	return out
}

// carried returns the names of what both snapshots have, sorted.
func carried(a, b *config.Snapshot) []string {
	out := []string{}
	old := map[*life]bool{}
	for _, l := range lives(a) {
		old[l] = true
	}
	for name, l := range lives(b) {
		if old[l] {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func TestCarryOver(t *testing.T) {
	f := func(before, after string, want ...string) {
		t.Helper()
		a, b := reload(t, before, after)
		if diff := cmp.Diff(append([]string{}, want...), carried(a, b)); diff != "" {
			t.Errorf("carried over (-want +got):\n%s", diff)
		}
	}
	both := []string{"providers.one", "providers.two"}
	chain := func(before, after string, want ...string) {
		t.Helper()
		f(file(before), file(after), append(slices.Clone(both), want...)...)
	}
	// What is unchanged is the same, however it is written.
	chain("[ pass ]", "[ { pass: { ttl: 60s } } ]", "routes.chat.pass")
	chain("[ pass: { ttl: 2s } ]", "[ pass: { ttl: 1s } ]")
	chain("[ { kinds: { map: { a: 1, b: 2 } } } ]", "[ { kinds: { map: { b: 2, a: 1 } } } ]", "routes.chat.kinds")
	chain("[ { kinds: { maybe: 1 } } ]", "[ { kinds: { maybe: 2 } } ]")
	chain("[ { kinds: { color: red } } ]", "[ { kinds: { color: blue } } ]")
	chain("[ { kinds: { secret: a } } ]", "[ { kinds: { secret: b } } ]")
	for _, change := range [][2]string{
		{"map: { a: 1 }", "map: { a: 2 }"},
		{"map: { a: 1 }", "map: { b: 1 }"},
		{"map: { a: 1, b: 2 }", "map: { a: 2, b: 1 }"},
		{"list: [ ab, c ]", "list: [ a, bc ]"},
		{"list: [ a ]", "list: [ a, a ]"},
		{"list: []", "list: [ \"\" ]"},
		{"durations: [ 1s, 2s ]", "durations: [ 2s, 1s ]"},
		{"bool: true", "bool: false"},
		{"count: 1", "count: 2"},
		{"float: 0.5", "float: 1"},
		{"ratio: 5%", "ratio: 6%"},
		{"size: 1KiB", "size: 2KiB"},
		{"optional: { name: a }", "optional: { name: b }"},
		{"by_name: { a: { name: a } }", "by_name: { a: { name: a, weight: 1 } }"},
		{"text: ab, common: c", "text: abc"},
		{"maybe: 1", "int: 3"},
	} {
		chain("[ { kinds: { "+change[0]+" } } ]", "[ { kinds: { "+change[1]+" } } ]")
		chain("[ { kinds: { "+change[0]+" } } ]", "[ { kinds: { "+change[0]+" } } ]", "routes.chat.kinds")
	}
	// A stage moves.
	chain("[ pass: { note: a } ]", "[ guard, pass: { note: b }, pass: { note: a } ]", "routes.chat.pass")
	chain("[ pass: { note: a }, pass: { note: b } ]", "[ pass: { note: b }, pass: { note: a } ]", "routes.chat.pass", "routes.chat.pass#2")
	chain("[ pass, pass ]", "[ pass ]", "routes.chat.pass")
	chain("[ pass ]", "[ pass, pass ]", "routes.chat.pass")
	if _, b := reload(t, file("[ pass ]"), file("[ pass, pass ]")); at(b, 0) == at(b, 1) {
		t.Error("two stages are one")
	}
	// What a stage refers to, or holds, counts.
	stores := func(name string) string {
		return strings.Replace(file("[ pass: { store: "+name+" } ]"), "answers: { memory: {} }", "answers: { memory: {} }\n  others: { memory: {} }", 1)
	}
	f(stores("answers"), stores("others"), both...) // which is just like it
	chain("[ pass: { store: answers } ]", "[ pass: { store: answers } ]", "routes.chat.pass", "stores.answers")
	f(file("[ pass: { store: answers } ]"), strings.Replace(file("[ pass: { store: answers } ]"), "memory: {}", "memory: { max: 2KiB }", 1), both...)
	chain("[ nest: { then: [ pass, guard ] } ]", "[ nest: { then: [ pass, guard: { closed: false } ] } ]", "routes.chat.nest.then.pass")
	chain("[ nest: { branches: [ [ pass, guard ], [] ] } ]", "[ nest: { branches: [ [ pass ], [ guard ] ] } ]",
		"routes.chat.nest.branches.guard", "routes.chat.nest.branches.pass")
	// An unchanged Each is the same; a changed one keeps what stands in it.
	chain("[ nest: { each: [ pass ] } ]", "[ nest: { each: [ pass ] } ]",
		"routes.chat.nest", "routes.chat.nest.each.pass[one]", "routes.chat.nest.each.pass[two/big]")
	chain("[ nest: { each: [ pass ] } ]", "[ nest: { each: [ pass ], then: [ pass ] } ]",
		"routes.chat.nest.each.pass[one]", "routes.chat.nest.each.pass[two/big]")
}

func TestCarryOverWithTargets(t *testing.T) {
	f := func(models string, want ...string) {
		t.Helper()
		before := file("[ pass, nest: { each: [ pass ] } ]")
		want = append(want, "routes.chat.pass") // it has nothing to do with targets
		slices.Sort(want)
		after := strings.Replace(before, "[ { provider: one }, { provider: two, model: big } ]", models, 1)
		a, b := reload(t, before, after)
		if diff := cmp.Diff(append([]string{}, want...), carried(a, b)); diff != "" {
			t.Errorf("%s: carried over (-want +got):\n%s", models, diff)
		}
		for i, target := range b.Targets {
			if target.Index != i || target.Provider == nil {
				t.Errorf("%s: target %d is %+v", models, i, target)
			}
		}
		names := []string{}
		for _, m := range b.Models.Any().Targets {
			names = append(names, m.Name)
		}
		if got := strings.Count(models, "provider"); len(names) != got {
			t.Errorf("%s: the model has the targets %v", models, names)
		}
		for _, target := range b.Targets { // what stands in an Each serves its own target
			got := at(b, 1).settings.(nest).Each.For(target)[0].(*stage).env.Target
			if got != target {
				t.Errorf("%s: %s is served by the stage of %s", models, target.Name, got.Name)
			}
		}
	}
	// Whatever is added, and wherever, the old ones keep what they learnt.
	f("[ { provider: two }, { provider: one }, { provider: two, model: big } ]",
		"providers.one", "providers.two", "routes.chat.nest.each.pass[one]", "routes.chat.nest.each.pass[two/big]")
	f("[ { provider: two, model: big }, { provider: one } ]", // another order of the same
		"providers.one", "providers.two", "routes.chat.nest", "routes.chat.nest.each.pass[one]", "routes.chat.nest.each.pass[two/big]")
	f("[ { provider: one } ]", "providers.one", "routes.chat.nest.each.pass[one]")
	f("[ { provider: one, idle: 5s }, { provider: two, model: big } ]",
		"providers.one", "providers.two", "routes.chat.nest.each.pass[two/big]")
	f("[ { provider: two, model: small } ]", "providers.two")
	f("[ { provider: two, model: big } ]", "providers.two")
	f("[ { provider: one, first_byte: 5s }, { provider: two, model: big } ]",
		"providers.one", "providers.two", "routes.chat.nest.each.pass[two/big]")
}

// A stage that is told of the targets is built again when they are others, also if no chain
// of it stands in front of them.
func TestCarryOverTold(t *testing.T) {
	before := file("[ nest ]")
	a, b := reload(t, before, strings.Replace(before, ", { provider: two, model: big }", "", 1))
	if at(a, 0) == at(b, 0) || len(at(b, 0).env.Targets) != 1 {
		t.Errorf("the stage knows %d targets", len(at(b, 0).env.Targets))
	}
}

// A name may look like another's with its model.
func TestTargetsOfOneName(t *testing.T) {
	text := func(models string) string {
		return strings.Replace(strings.Replace(file("[ pass ]"), "two: {", "one/a: {", 1), `"*": [ { provider: one }, { provider: two, model: big } ]`, models, 1)
	}
	a, b := reload(t, text("m: [ { provider: one, model: a/b } ]\n  n: [ { provider: one/a, model: b } ]"), text("m: [ { provider: one/a, model: b } ]"))
	for _, s := range []*config.Snapshot{a, b} {
		for _, x := range s.Targets {
			if x.Model == "b" != (x.Provider.(answerer).Text == "two") {
				t.Errorf("%+v has the provider that says %s", x, x.Provider.(answerer).Text)
			}
		}
	}
	if len(a.Targets) != 2 || b.Targets[0].Model != "b" {
		t.Errorf("%d targets, and then model %s", len(a.Targets), b.Targets[0].Model)
	}
}

// What is in the files that a component reads counts.
func TestCarryOverWithFiles(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ca.pem")
	text := file("[ pass: { file: " + name + " } ]")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	a := load(t, nil, text)
	b := load(t, a, text)
	write("two")
	c := load(t, b, text)
	if at(a, 0) != at(b, 0) || at(b, 0) == at(c, 0) {
		t.Error("a stage is to be built again when its file has changed, and only then")
	}
	for _, s := range []*config.Snapshot{a, b, c} {
		s.Release()
	}
}

// A provider that changed is another target, of the same name.
func TestChangedProvider(t *testing.T) {
	before := file("[ nest: { each: [ pass ] } ]")
	a, b := reload(t, before, strings.Replace(before, "text: two", "text: three", 1))
	want := []string{"providers.one", "routes.chat.nest.each.pass[one]"}
	if diff := cmp.Diff(want, carried(a, b)); diff != "" {
		t.Errorf("carried over (-want +got):\n%s", diff)
	}
	if p := b.Targets[1].Provider.(answerer); p.Text != "three" {
		t.Errorf("the target has the provider that says %q", p.Text)
	}
	if p := a.Targets[1].Provider.(answerer); p.Text != "two" {
		t.Errorf("the target of the old snapshot now has the provider that says %q", p.Text)
	}
}

// What is carried over lives until the last snapshot that has it is released,
// in whatever order they are.
func TestClosedOnce(t *testing.T) {
	f := func(release ...int) {
		t.Helper()
		allClosed(t)
		a := load(t, nil, file("[ pass: { store: answers }, pass: { note: a } ]"))
		b := load(t, a, file("[ pass: { store: answers }, pass: { note: b } ]"))
		c := load(t, b, file("[ pass: { store: answers }, pass: { note: b }, guard ]"))
		all := []*config.Snapshot{a, b, c}
		store, onlyA, guard := at(a, 0).settings.(pass).Store.Get().(*kept).life, at(a, 1).life, c.Routes[0].Chain[2].(*guarding).life
		held := map[int]bool{0: true, 1: true, 2: true}
		for _, i := range release {
			all[i].Release()
			delete(held, i)
			if got, want := store.closed.Load() == 0, len(held) > 0; got != want {
				t.Errorf("%v: after releasing %d the store is open: %v", release, i, got)
			}
			if got, want := onlyA.closed.Load() == 0, held[0]; got != want {
				t.Errorf("%v: after releasing %d the first file's own stage is open: %v", release, i, got)
			}
			if got, want := guard.closed.Load() == 0, held[2]; got != want {
				t.Errorf("%v: after releasing %d the last file's own stage is open: %v", release, i, got)
			}
		}
	}
	f(0, 1, 2)
	f(2, 1, 0)
	f(1, 2, 0)
}

// A file that cannot be used leaves nothing behind and the old snapshot whole.
func TestFailedReload(t *testing.T) {
	allClosed(t)
	old := load(t, nil, file("[ pass: { store: answers } ]"))
	defer old.Release()
	before := open.Load()
	f := func(chain, problem string) {
		t.Helper()
		s, err := config.Load(t.Context(), source(file(chain)), registry, nil, old)
		if s != nil || err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v, %v", chain, s, err)
		}
		if n := open.Load(); n != before {
			t.Errorf("%s: %d components were left open", chain, n-before)
		}
		if at(old, 0).closed.Load() != 0 {
			t.Errorf("%s: closed what the old snapshot uses", chain)
		}
	}
	f("[ pass: { store: answers }, nest: { then: [ pass ] }, fail: { with: x } ]", "refused")
	f("[ nest: { then: [ fail: { panics: true } ] }, pass ]", "panic: as asked")
	f("[ pass, pas ]", "unknown plugin")
}
