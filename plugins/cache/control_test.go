package cache

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// Each case starts a minute after an answer was kept that is good for two, and
// asks with the control and then, without one, whether a new answer was kept.
func TestControl(t *testing.T) {
	f := func(control, want, then string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t, "{ ttl: 2m, max_ttl: 1h }")
			change := body(`{"model":"m","cache":` + control + `}`)
			if !strings.HasPrefix(control, "{") && control != "null" {
				change = func(ex *pipeline.Exchange) {
					body(`{"model":"m"}`)(ex)
					for v := range strings.SplitSeq(control, ";") {
						with("Cache-Control", v)(ex)
					}
				}
			}
			g.ask(t, body(`{"model":"m"}`))
			time.Sleep(time.Minute)
			g.answer = whole(200, `{"n":2}`)
			if got := g.ask(t, change); got.cache != want {
				t.Errorf("%s: %+v; want a %s", control, got, want)
			}
			if got := g.ask(t, body(`{"model":"m"}`)); got.body != then {
				t.Errorf("%s: the next request got %s; want %s", control, got.body, then)
			}
		})
	}
	const old, fresh = `{"n":1}`, `{"n":2}`
	f("max-stale", "hit", old)
	f("max-age=60", "hit", old)
	f("max-age=59", "miss", fresh)
	f("Max-Age=0", "miss", fresh)
	f(`max-age="59"`, "miss", fresh)
	f("max-age=soon", "miss", fresh)
	f("max-age", "miss", fresh)
	f("max-age=99999999999999", "hit", old) // more than can be counted is long
	f("max-age=1000, max-age=5", "miss", fresh)
	f("no-cache", "bypass", fresh)
	f("private,  NO-CACHE ", "bypass", fresh)
	f("private;no-cache", "bypass", fresh)
	f("no-store", "bypass", old)
	f("no-cache, no-store", "bypass", old)
	f("only-if-cached", "hit", old)
	f("no-transform,,=,", "hit", old)

	f("null", "hit", old)
	f("{}", "hit", old)
	f(`{"no-cache":true}`, "bypass", fresh)
	f(`{"no-cache":false}`, "hit", old)
	f(`{"no-store":true}`, "hit", old) // LiteLLM's word is about the write alone
	f(`{"no-store":true,"no-cache":true}`, "bypass", old)
	f(`{"no-store":true,"s-maxage":5}`, "miss", old)
	f(`{"s-maxage":59}`, "miss", fresh)
	f(`{"s-maxage":60.5}`, "hit", old)
	f(`{"s-maxage":1e300}`, "hit", old)
	f(`{"s-maxage":null,"no-cache":null,"namespace":null,"ttl":null}`, "hit", old)
	f(`{"ttl":0,"no-cache":true}`, "bypass", old)
	f(`{"namespace":"other"}`, "miss", old)
	f(`{"use-cache":false,"mode":"x","type":7}`, "hit", old)
}

func TestOnlyIfCached(t *testing.T) {
	f := func(changes ...request) {
		t.Helper()
		g := newGateway(t, "{}")
		got := g.ask(t, append(changes, with("Cache-Control", "only-if-cached"))...)
		e, ok := errors.AsType[*pipeline.Error](got.err)
		if !ok || e.Status != 504 || e.Code != "not_cached" || g.calls != 0 {
			t.Errorf("got %+v after %d calls", got, g.calls)
		}
	}
	f()
	f(with("Cache-Control", "no-store"))
	f(body(`{"store":true}`))
}

func TestMalformedControl(t *testing.T) {
	g := newGateway(t, "{}")
	f := func(cache, param string) {
		t.Helper()
		got := g.ask(t, body(`{"model":"m","cache":`+cache+`}`))
		e, ok := errors.AsType[*pipeline.Error](got.err)
		if !ok || e.Status != 400 || e.Param != param || e.Fault != pipeline.CallerFault || !strings.HasPrefix(e.Err.Error(), param+" must be ") {
			t.Errorf("%s: %v; want 400 for %s", cache, got.err, param)
		}
	}
	f(`true`, "cache")
	f(`"no-cache"`, "cache")
	f(`[]`, "cache")
	f(`{"no-cache":"yes"}`, "cache.no-cache")
	f(`{"no-store":1}`, "cache.no-store")
	f(`{"use-cache":{}}`, "cache.use-cache")
	f(`{"ttl":"60"}`, "cache.ttl")
	f(`{"ttl":-1}`, "cache.ttl")
	f(`{"s-maxage":[]}`, "cache.s-maxage")
	f(`{"s-maxage":true}`, "cache.s-maxage")
	f(`{"namespace":7}`, "cache.namespace")
	if g.calls != 0 {
		t.Errorf("%d calls", g.calls)
	}
}

func TestLifetime(t *testing.T) {
	f := func(cache string, want time.Duration) {
		t.Helper()
		g := newGateway(t, "{ store: flaky, ttl: 10m, max_ttl: 1h }")
		g.ask(t, body(`{"cache":`+cache+`}`))
		if g.store.ttl != want {
			t.Errorf("%s: kept for %v; want %v", cache, g.store.ttl, want)
		}
	}
	f(`{}`, 10*time.Minute)
	f(`{"ttl":30}`, 30*time.Second)
	f(`{"ttl":0.5}`, 500*time.Millisecond)
	f(`{"ttl":1800}`, 30*time.Minute)
	f(`{"ttl":1e12}`, time.Hour)
	f(`{"ttl":0}`, 0) // not kept
}
