package auth

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// load returns the stage as a file sets it up.
func load(t *testing.T, settings string) pipeline.Chain {
	t.Helper()
	file := "routes:\n  - name: test\n    match: { path: /v1/* }\n    chain:\n      - auth: " + settings + "\n"
	s, err := config.Load(context.Background(), config.Source{File: "test.yaml", Data: []byte(file)}, config.Registry{Plugin}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	return s.Routes[0].Chain
}

const settings = `{ keys: "acme=k-acme, ops=a=b==, dev-key,sdk=My API Key,zed=sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
          clients: [ { tenant: acme, key: second }, { tenant: hash, sha256: "FCDE2B2EDBA56BF408601FB721FE9B5C338D10EE429EA04FAE5511B68FBF8FB9" } ] }`

// ask sends the headers, written "Name: value", and returns whose key they
// held.
func ask(t *testing.T, c pipeline.Chain, headers ...string) (tenant string, err error) {
	t.Helper()
	ex := pipeline.Acquire(t.Context())
	defer ex.Release()
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		ex.Request.Header.Set(name, value)
	}
	passed := false
	c = append(c[:len(c):len(c)], pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange, pipeline.Chain) error {
		passed = true
		return nil
	}))
	err = c.Handle(ex.Context(), ex)
	if passed != (err == nil) {
		t.Errorf("%q: passed %v with error %v", headers, passed, err)
	}
	return ex.Tenant, err
}

func TestKnownKeys(t *testing.T) {
	c := load(t, settings)
	f := func(want string, headers ...string) {
		t.Helper()
		if got, err := ask(t, c, headers...); got != want || err != nil {
			t.Errorf("%q belongs to %q, %v; want %q", headers, got, err, want)
		}
	}
	f("acme", "Authorization: Bearer k-acme")
	f("acme", "Authorization: bearer  k-acme ")
	f("acme", "Authorization: BEARER second")
	f("ops", "Authorization: Bearer a=b==")
	f("default", "Authorization: Bearer dev-key")
	f("zed", "Authorization: Bearer foo")
	f("hash", "Authorization: Bearer bar")
	f("sdk", "Authorization: Bearer My API Key") // as the vendors' suites have it
	f("acme", "X-API-Key: k-acme")
	f("acme", "api-key: k-acme")
	f("acme", "Authorization: Basic eDp5", "X-API-Key: k-acme")          // another scheme is not ours
	f("acme", "Authorization: Bearer ", "X-API-Key: k-acme")             // nor is an empty one
	f("acme", "Authorization: Bearer k-acme", "X-API-Key: whatever")     // the bearer goes first
	f("acme", "X-API-Key: k-acme", "api-key: whatever")                  // as does the more usual of the other two
	f("acme", "Authorization: Bearer k-acme", "X-Headrace-Skip: auth")   // which nobody can leave out
	f("default", "X-API-Key: dev-key", "Authorization: Digest username") //
}

func TestUnknownKeys(t *testing.T) {
	c := load(t, settings)
	f := func(code string, headers ...string) {
		t.Helper()
		tenant, err := ask(t, c, headers...)
		e, ok := errors.AsType[*pipeline.Error](err)
		if !ok || e.Status != 401 || e.Type != "authentication_error" || e.Code != code || e.Fault != pipeline.CallerFault || tenant != "" {
			t.Errorf("%q gave tenant %q, error %v; want 401 %s", headers, tenant, err, code)
		}
	}
	const missing, invalid = "missing_api_key", "invalid_api_key"
	f(missing)
	f(missing, "X-Headrace-Skip: auth")
	f(missing, "Authorization: Basic eDp5")
	f(missing, "Authorization: Bearer")
	f(missing, "Authorization: Bearer ")
	f(missing, "Authorization: k-acme")
	f(missing, "X-API-Key: ")
	f(invalid, "Authorization: Bearer k-acm")
	f(invalid, "Authorization: Bearer k-acmee")
	f(invalid, "Authorization: Bearer K-ACME")
	f(invalid, "Authorization: Bearer acme=k-acme") // as the file has it
	f(invalid, "Authorization: Bearer acme")
	f(invalid, "Authorization: Bearer k-acme second")
	f(invalid, "Authorization: Bearer wrong", "X-API-Key: k-acme") // the bearer decides
	f(invalid, "X-API-Key: wrong", "api-key: k-acme")
	// A digest is no key: whoever has read the file must not get in with it.
	f(invalid, "Authorization: Bearer 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae")
	f(invalid, "Authorization: Bearer sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae")
	// What no key can look like.
	f(invalid, "Authorization: Bearer "+strings.Repeat("x", maxKey+1))
	f(invalid, "Authorization: Bearer ' OR 1=1 --")
	f(invalid, "Authorization: Bearer k-acme\x00")
	f(invalid, "Authorization: Bearer k\tacme")
	f(invalid, "Authorization: Bearer kä-acme")
	f(invalid, "Authorization: Bearer \xff\xfe")
}

func TestGuards(t *testing.T) {
	g, ok := load(t, settings)[0].(pipeline.Guard)
	if !ok || !g.Guards() {
		t.Error("auth with keys is no guard")
	}
	if (&handler{}).Guards() {
		t.Error("auth without keys is one")
	}
}

// Problems of keys name their place, and never hold any part of one.
func TestProblems(t *testing.T) {
	f := func(c Config, want string) {
		t.Helper()
		err := c.Validate()
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if _, berr := c.Build(t.Context(), config.Env{}); berr == nil {
			t.Error("built all the same")
		}
	}
	const none = "auth without keys would let nobody in; set keys, clients or tenants, or switch the stage off with when"
	f(Config{}, none)
	f(Config{Keys: " ,\n, "}, none)
	f(Config{Keys: "a=canary,b="}, "keys: entry 2 has no key; write tenant=key")
	f(Config{Keys: "canary=="}, "keys: entry 1 has no key; write tenant=key")
	f(Config{Keys: "=canary"}, "keys: entry 1 has no usable tenant; a tenant is 1 to 64 letters, digits, '-', '_' or '.'")
	f(Config{Keys: "can/ary=x"}, "keys: entry 1 has no usable tenant; a tenant is 1 to 64 letters, digits, '-', '_' or '.'")
	f(Config{Keys: "a=canary,b=canary"}, "keys: entry 2 holds a key that an earlier entry holds already")
	f(Config{Keys: "a=can\tary"}, "keys: entry 1 has a key that no client can show; keys are 1 to 512 printable ASCII characters")
	f(Config{Clients: []Client{{Tenant: "a", Key: "canary "}}}, "clients[0] has a key that no client can show; keys are 1 to 512 printable ASCII characters")
	f(Config{Keys: "canary can"}, "keys: entry 1 seems to be several; separate them with commas")
	f(Config{Keys: "a=canary b=can"}, "keys: entry 1 seems to be several; separate them with commas")
	f(Config{Keys: "a=sha256:canary"}, "keys: entry 1 has a sha256 that is not 64 hexadecimal digits")
	f(Config{Clients: []Client{{Tenant: "a"}}}, "clients[0] has no key; write tenant=key")
	f(Config{Clients: []Client{{Tenant: "a", Key: "canary", SHA256: "00"}}}, "clients[0] has both key and sha256; set one of them")
	f(Config{Keys: "a=canary", Clients: []Client{{Tenant: "b", Key: "canary"}}}, "clients[0] holds a key that an earlier entry holds already")
}

// Tenants and keys may be as long as they may be, and of every character that they may have.
func TestLongest(t *testing.T) {
	f := func(tenant, key string, ok bool) {
		t.Helper()
		if err := (Config{Clients: []Client{{Tenant: tenant, Key: config.Secret(key)}}}).Validate(); (err == nil) != ok {
			t.Errorf("%q with %q: %v", tenant, key, err)
		}
	}
	f("azAZ09-_.", "!~ ~!", true)
	f(strings.Repeat("t", 64), strings.Repeat("k", maxKey), true)
	f(strings.Repeat("t", 65), "k", false)
	f("t", strings.Repeat("k", maxKey+1), false)
	for _, c := range "/:@[`{ =" {
		f("t"+string(c), "k", false)
	}
	f("t", "k\x7f", false)
	f("t", " k", false)
}

func TestAllocatesNothing(t *testing.T) {
	if raced() {
		t.Skip("the race detector makes pools forget")
	}
	c := load(t, settings)
	c = append(c[:len(c):len(c)], pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange, pipeline.Chain) error { return nil }))
	f := func(key string, known bool) {
		t.Helper()
		ctx := context.Background()
		if n := testing.AllocsPerRun(1000, func() {
			ex := pipeline.Acquire(ctx)
			ex.Request.Header.Set("Authorization", key)
			if err := c.Handle(ctx, ex); (err == nil) != known {
				t.Fatal(err)
			}
			ex.Release()
		}); n != 0 {
			t.Errorf("%v allocations for %q", n, key)
		}
	}
	f("Bearer k-acme", true)
	f("Bearer wrong", false)
	f("", false)
}

func FuzzKeys(f *testing.F) {
	for _, s := range []string{"a=b", "a=b,c=d", "key", "a=sha256:00", "=,=", "a==,b=b", "\n", "ä=ö"} {
		f.Add(s, "Bearer b")
	}
	f.Fuzz(func(t *testing.T, keys, shown string) {
		known, err := Config{Keys: config.Secret(keys)}.known()
		if err != nil {
			return
		}
		h := &handler{known: known}
		for d, c := range known {
			if d != c.digest || checkTenant(c.tenant) != nil {
				t.Fatalf("%q belongs to %q", keys, c.tenant)
			}
		}
		if tenant, _, ok := h.owner([]byte(shown)); ok && !strings.Contains(keys, shown) && !strings.Contains(keys, "sha256:") {
			t.Fatalf("%q opens the door to %q", shown, tenant)
		}
	})
}

// raced reports whether the race detector is on. Pools then drop what they are
// given now and then, so that allocations cannot be counted.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
