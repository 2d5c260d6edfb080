package config_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
)

func TestBuild(t *testing.T) {
	allClosed(t)
	s := load(t, nil, builtFile)
	defer s.Release()

	if s.Server.Admin != "" || s.Server.Limits.MaxBody != 1<<20 || s.Server.Listen != config.DefaultServer().Listen {
		t.Errorf("server: %+v", s.Server)
	}
	var got []string
	for _, m := range s.Models.List() {
		line := m.Name + ":"
		for _, target := range m.Targets {
			line += " " + target.Name
			if target.Provider == nil || s.Targets[target.Index] != target {
				t.Errorf("target %+v is incomplete", target)
			}
		}
		got = append(got, fmt.Sprintf("%s; %d stages; window %d", line, len(m.Chain), m.ContextWindow))
	}
	for _, r := range s.Routes {
		got = append(got, fmt.Sprintf("%s %v %v", r.Name, r.Paths, r.Methods))
		for _, h := range r.Chain {
			got = append(got, "- "+h.(*stage).env.Name)
		}
	}
	want := []string{
		"*: one two/big; 0 stages; window 0",
		"claude-*: two/big two/big#2; 0 stages; window 1000",
		"special: three three#2; 2 stages; window 0",
		"chained:; 2 stages; window 0",
		"chat [/v1/chat /chat/*] [POST]",
		"- routes.chat.pass", "- routes.chat.pass#2", "- chains.named.pass", "- chains.other.pass", "- routes.chat.nest",
		"/v2/* [/v2/*] []",
		"- chains.named.pass", "- chains.other.pass", "- routes./v2/*.call",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if a, b := s.Routes[0].Chain[2], s.Models.Find([]byte("special")).Chain[0]; a != b {
		t.Error("a named chain was built twice")
	}
	if p := at(s, 1).settings.(pass); p.Note != "mine" || p.TTL.Seconds() != 5 {
		t.Errorf("merged settings: %+v", p)
	}
	if a, ok := s.Targets[0].Provider.(answerer).Backup.Get().(answerer); !ok || a.Text != "two" {
		t.Error("a provider's reference is not what it names")
	}
	eachStages(t, s)
}

// eachStages checks what stands within an Each: one instance per target, which
// knows its target, also where another Each stands within.
func eachStages(t *testing.T, s *config.Snapshot) {
	outer := at(s, 4)
	if len(outer.env.Targets) != len(s.Targets) || outer.env.Target != nil {
		t.Errorf("a stage of a route is told of %d targets and target %v", len(outer.env.Targets), outer.env.Target)
	}
	for _, target := range s.Targets {
		chain := outer.settings.(nest).Each.For(target)
		if len(chain) != 2 {
			t.Fatalf("%s has %d stages", target.Name, len(chain))
		}
		name := "routes.chat.nest.each.other.pass[" + target.Name + "]"
		if env := chain[0].(*stage).env; env.Name != name || env.Target != target {
			t.Errorf("got %s for %v, want %s", env.Name, env.Target, name)
		}
		inner := chain[1].(*stage).settings.(nest).Each
		for _, other := range s.Targets {
			if got := len(inner.For(other)); got == 1 != (other == target) {
				t.Errorf("the Each within that of %s has %d stages for %s", target.Name, got, other.Name)
			}
		}
	}
	if outer.settings.(nest).Each.For(nil) != nil || outer.settings.(nest).Each.For(&pipeline.Target{Index: 99}) != nil {
		t.Error("an Each has a chain for a target of no file")
	}
	if !(config.Each{}).IsZero() || outer.settings.(nest).Each.IsZero() {
		t.Error("IsZero is wrong")
	}
}

const builtFile = `
x-shared: &shared { ttl: 5s }
server: { admin: "", limits: { max_body: 1MiB } }
before: [ guard ]
providers:
  one: { answer: { backup: two } }
  two: { answer: { text: two } }
  three: { unless: "${UNSET:-}", when: 1, answer: { text: three } }
  four: { when: "${UNSET:-}", answer: { text: "${UNSET}" } }
stores:
  answers: memory
  vectors: { index: { embed: one } }
models:
  "*": [ { provider: one }, { provider: four }, { provider: two, model: big, idle: 2s } ]
  "claude-*": { targets: [ { provider: two, model: big, idle: 2s }, { provider: two, model: big } ], context_window: 1000 }
  special: { chain: named, targets: [ { provider: three }, { provider: three } ] }
  chained: { chain: named }
  gone: [ { provider: four } ]
  chained_gone: { chain: named, targets: [ { provider: four } ] }
  off: { when: false, targets: [ { provider: one } ] }
chains:
  named: [ pass: { note: in named }, chain: other ]
  other: [ pass: { note: in other } ]
  unused: [ fail: { with: never built } ]
routes:
  - name: chat
    match: { path: /v1/chat, paths: [ /chat/* ], methods: [ POST ] }
    chain:
      - pass: *shared
      - { pass: { <<: *shared, note: mine } }
      - { when: "${UNSET:-}", pass: { note: "${UNSET}" } }
      - chain: named
      - nest: { each: [ chain: other, nest: { each: [ pass ] } ] }
  - { when: no, match: { path: /off }, chain: [ pass: { store: nowhere } ] }
  - { match: { path: "/${PATH_OF:-v2}/*" }, chain: [ chain: named, call: { provider: two } ] }
`

// Only targets that are alike in everything are one.
func TestSharedTargets(t *testing.T) {
	allClosed(t)
	s := load(t, nil, strings.Replace(file("[ pass ]"), `"*": [ { provider: one }, { provider: two, model: big } ]`, `
  a: [ { provider: one, first_byte: 1s, idle: 1s } ]
  b: [ { provider: one, first_byte: 2s, idle: 1s } ]
  c: [ { provider: one, first_byte: 1s, idle: 2s } ]
  d: [ { provider: one, first_byte: 1s, idle: 1s } ]
  e: [ { provider: two, first_byte: 1s, idle: 1s } ]`, 1))
	defer s.Release()
	var got []string
	for _, m := range s.Models.List() {
		x := m.Targets[0]
		got = append(got, fmt.Sprint(m.Name, " ", x.Name, " ", x.FirstByte, " ", x.Idle, " ", x.Index))
	}
	if diff := cmp.Diff([]string{"a one 1s 1s 0", "b one#2 2s 1s 1", "c one#3 1s 2s 2", "d one 1s 1s 0", "e two 1s 1s 3"}, got); diff != "" {
		t.Error(diff)
	}
}

// A switch is a value, and both of an entry must let it be.
func TestSwitches(t *testing.T) {
	allClosed(t)
	f := func(switches string, on bool) {
		t.Helper()
		s := load(t, nil, file("[ { "+switches+", pass: {} }, call ]"), "X=x", "F=False")
		defer s.Release()
		if len(s.Routes[0].Chain) == 2 != on {
			t.Errorf("%s: %d stages", switches, len(s.Routes[0].Chain))
		}
	}
	f("when: true", true)
	f(`when: "${X}"`, true)
	f(`when: "${X:+}"`, false)
	f("when: null", false)
	f("when: 0", false)
	f("when: 00", true)
	f(`when: " No "`, false)
	f(`when: "${F}"`, false)
	f("when: off", false)
	f("unless: off", true)
	f("unless: null", true)
	f(`unless: "${X}"`, false)
	f("when: true, unless: true", false)
	f("when: false, unless: true", false)
	f("when: false, unless: false", false)
	f("when: true, unless: false", true)
}

// A gateway that others can reach asks for keys, or says that it does not.
func TestOpenListener(t *testing.T) {
	f := func(listen, before, chain string, fine bool) {
		t.Helper()
		text := "server: { listen: \"" + listen + "\" }\nbefore: " + before + "\n" + file(chain)
		s, err := config.Load(t.Context(), source(text), registry, nil, nil)
		if err == nil {
			if want := strings.Contains(before, "[ guard ]") || strings.Contains(before, ", guard ]") || strings.Contains(chain, "[ guard"); s.Guarded != want {
				t.Errorf("%s, %s, %s: guarded %v", listen, before, chain, s.Guarded)
			}
			s.Release()
		}
		if (err == nil) != fine {
			t.Errorf("%s, %s, %s: %v", listen, before, chain, err)
		}
	}
	allClosed(t)
	f("127.0.0.1:8080", "[]", "[ pass ]", true)
	f("127.9.9.9:0", "[]", "[ pass ]", true)
	f("localhost:8080", "[]", "[ pass ]", true)
	f("[::1]:8080", "[]", "[ pass ]", true)
	f("[::ffff:127.0.0.1]:8080", "[]", "[ pass ]", true)
	f(":8080", "[]", "[ pass ]", false)
	f("0.0.0.0:8080", "[]", "[ pass ]", false)
	f("[::]:8080", "[]", "[ pass ]", false)
	f("gateway.internal:8080", "[]", "[ pass ]", false)
	f("localhost.example:8080", "[]", "[ pass ]", false)
	f("LocalHost:8080", "[]", "[ pass ]", true)
	f("127.0.0.1:1\", admin: \"localhost", "[]", "[ pass ]", false)
	f("127.0.0.1:1\", admin: \"gateway.internal:2", "[]", "[ pass ]", false)
	f("127.0.0.1:1\", admin: \"127.0.0.1:2", "[]", "[ pass ]", true)
	f("0.0.0.0:8080", "[ guard ]", "[ pass ]", true)
	f("0.0.0.0:8080", "[ pass, guard ]", "[ pass ]", true)
	f("0.0.0.0:8080", "[ guard: { closed: false } ]", "[ pass ]", false)
	f("0.0.0.0:8080", "[ { when: off, guard: {} } ]", "[ pass ]", false)
	f("0.0.0.0:8080", "[]", "[ guard, pass ]", true)
	f("0.0.0.0:8080", "[]", "[ pass, guard ]", false)
	f("0.0.0.0:8080\", open: true, access_log: \"off", "[]", "[ pass ]", true)
	f("127.0.0.1:1\", admin: \"0.0.0.0:2", "[]", "[ pass ]", false)
	f("127.0.0.1:1\", open_admin: true, admin: \"0.0.0.0:2", "[]", "[ pass ]", true)
	f("127.0.0.1:1\", origins: [ \"*\", \"https://a:1\" ], access_log: \"off", "[]", "[ pass ]", true)
	for _, o := range []string{"a", "https://a/", "https://a/b", "https://A", "null", "//a", "https://*.a:x", "", "https://", "https:a", "a:1", "file:///a", "https://a?b", "https://u@a", "https://a#"} {
		f("127.0.0.1:1\", origins: [ \""+o+"\" ], access_log: \"off", "[]", "[ pass ]", false)
	}
	f("127.0.0.1:99999", "[]", "[ pass ]", false)
	f("127.0.0.1", "[]", "[ pass ]", false)
}

func TestBuildIsCancelled(t *testing.T) {
	allClosed(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no time"))
	_, err := config.Load(ctx, source(file("[ pass ]")), registry, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "not built: no time") {
		t.Error(err)
	}
}

// Secrets appear nowhere, whatever goes wrong.
func TestSecrets(t *testing.T) {
	const canary = "canary \"quoted\""
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	see := func(chain string) {
		t.Helper()
		s, err := config.Load(t.Context(), source(file(chain), "KEY="+canary), registry, logger, nil)
		if err == nil {
			logger.Info("settings", "all", at(s, 0).settings, "one", config.Secret(canary))
			fmt.Fprintf(&log, "%v %+v %#v %s %q %x %d", at(s, 0).settings, at(s, 0).settings, at(s, 0).settings,
				config.Secret(canary), config.Secret(canary), config.Secret(canary), config.Secret(canary))
			s.Release()
			return
		}
		fmt.Fprintln(&log, err)
	}
	see(`[ fail: { with: "${KEY}" } ]`)
	see(`[ kinds: { secret: "${KEY}" } ]`)
	see(`[ kinds: { secret: "${KEY}", int: "${KEY}", color: "${KEY}", mode: "${KEY}", list: "${KEY}" } ]`)
	see(`[ kinds: { secret: [ "${KEY}" ] } ]`)
	// What is too long to be shown whole is cut, and so is no more the secret that is hidden.
	long := strings.Repeat("canary \"quoted\" ", 5)
	for _, chain := range []string{
		`[ kinds: { secret: "${KEY}", int: "${KEY}" } ]`,
		`[ kinds: { int: "Bearer ${KEY}", secret: "${KEY}" } ]`,
		`[ kinds: { secret: "${KEY}", mode: "${KEY}", map: "${KEY}", bool: "${KEY}", wait: "${KEY}", size: "${KEY}", color: "${KEY}", float: "${KEY}", durations: [ "${KEY}" ] } ]`,
	} {
		_, err := config.Load(t.Context(), source(file(chain), "KEY="+long), registry, nil, nil)
		fmt.Fprintln(&log, err)
	}
	// One secret may begin with another.
	_, err := config.Load(t.Context(), source(file(`[ kinds: { secret: "${SHORT}" }, kinds: { secret: "${SHORT}canary", int: "${SHORT}canary" } ]`), "SHORT=word"), registry, nil, nil)
	fmt.Fprintln(&log, err)
	f := func(value, want string) {
		t.Helper()
		_, err := config.Load(t.Context(), source(file(`[ kinds: { secret: "${KEY}", int: "${VALUE}" } ]`), "KEY=x \"y\"", "VALUE="+value), registry, nil, nil)
		if want = "gateway.yaml:10:84: routes[0].chain[0].kinds.int: " + want + " is not a whole number"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	f(`a x "y"`, `"a ***"`)
	f(strings.Repeat("é", 60), `"`+strings.Repeat("é", 60)+`"`)
	f(strings.Repeat("é", 61), `"`+strings.Repeat("é", 60)+`…"`)
	f(strings.Repeat("a", 56)+`x "y" x`, `"`+strings.Repeat("a", 56)+`*** …"`)
	if strings.Contains(log.String(), "canary") || !strings.Contains(log.String(), "***") {
		t.Errorf("the secret is in\n%s", log.String())
	}
}

func TestGather(t *testing.T) {
	allClosed(t)
	names := func(s *config.Snapshot) []string {
		t.Helper()
		families, err := s.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, f := range families {
			for _, m := range f.Metric {
				out = append(out, f.GetName()+" "+m.Label[0].GetName()+"="+m.Label[0].GetValue())
			}
		}
		return out
	}
	a := load(t, nil, file("[ pass, nest: { each: [ pass ] } ]"))
	b := load(t, a, file("[ guard, pass: { note: new }, pass ]"))
	a.Release()
	defer b.Release()
	want := []string{}
	for _, n := range []string{"providers.one", "providers.two", "routes.chat.guard", "routes.chat.pass", "routes.chat.pass#2", "stores.answers"} {
		want = append(want, "fake_built_total component="+n)
	}
	if diff := cmp.Diff(want, names(b)); diff != "" {
		t.Error(diff)
	}
}

// The components of these tests are fit for the tests of others.
func TestConform(t *testing.T) {
	f := func(name, yaml string) {
		t.Helper()
		for _, c := range registry {
			if c.Name() == name {
				t.Run(name, func(t *testing.T) { pipetest.Conform(t, c, yaml) })
			}
		}
	}
	f("pass", "store: answers")
	f("nest", "each: [ conform_answer ]\nbranches: [ [ conform_answer ] ]")
	f("kinds", "wait: 5s")
}

// A model with a chain of its own needs a guard of its own.
func TestOpenModel(t *testing.T) {
	f := func(chain string, fine bool) {
		t.Helper()
		text := strings.Replace(file("[ guard, pass ]"), "models:", "chains: { own: "+chain+" }\nmodels:\n  own: { chain: own, targets: [ { provider: one } ] }", 1)
		s, err := config.Load(t.Context(), source("server: { listen: \":8080\" }\n"+text), registry, nil, nil)
		if err == nil {
			s.Release()
		}
		if (err == nil) != fine {
			t.Errorf("%s: %v", chain, err)
		}
	}
	f("[ guard, pass ]", true)
	f("[ pass ]", false)
	f("[ pass, guard ]", false)
}
