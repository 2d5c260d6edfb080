package cache

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// control is what a request says about the cache: its Cache-Control header,
// and the member "cache" as LiteLLM's clients write it.
type control struct {
	noLookup     bool          // an old answer will not do
	noStore      bool          // the answer must not be kept
	onlyIfCached bool          // only an old answer will do
	use          bool          // asks for the cache where it is off unless asked for
	maxAge       time.Duration // of an old answer; below zero: any
	ttl          time.Duration // of the new answer; below zero: ours
	namespace    []byte        // keeps answers apart that are otherwise the same
}

// control reads both. An unknown directive is ignored, a malformed member is
// the client's mistake.
func (l *lookup) control(ex *pipeline.Exchange, body *chat.Request) (control, error) {
	c := control{maxAge: -1, ttl: -1}
	for _, v := range ex.Request.Header.PeekAll(fasthttp.HeaderCacheControl) {
		c.header(v)
	}
	raw, ok := body.Member("cache")
	if !ok || string(raw) == "null" {
		return c, nil
	}
	if raw[0] != '{' {
		return c, malformed("cache", "an object")
	}
	if err := l.sub.Scan(raw); err != nil {
		return c, malformed("cache", "an object without repeated members")
	}
	for i := range l.sub.Len() {
		key, v := l.sub.At(i)
		if err := c.member(key, v); err != nil {
			return c, err
		}
	}
	return c, nil
}

// header reads one Cache-Control field.
func (c *control) header(v []byte) {
	for len(v) > 0 {
		var directive []byte
		directive, v, _ = bytes.Cut(v, []byte{','})
		name, value, _ := bytes.Cut(bytes.TrimSpace(directive), []byte{'='})
		switch {
		case bytes.EqualFold(name, []byte("no-store")):
			c.noLookup, c.noStore = true, true
		case bytes.EqualFold(name, []byte("no-cache")):
			c.noLookup = true
		case bytes.EqualFold(name, []byte("only-if-cached")):
			c.onlyIfCached = true
		case bytes.EqualFold(name, []byte("max-age")):
			// What cannot be read asks for an answer as fresh as can be.
			n, _ := strconv.ParseUint(string(bytes.Trim(value, `"`)), 10, 31)
			c.atMost(time.Duration(n) * time.Second)
		}
	}
}

// member reads one member of the object "cache".
func (c *control) member(key, v []byte) error {
	if string(v) == "null" {
		return nil
	}
	switch string(key) {
	case "no-cache", "no-store", "use-cache":
		if string(v) != "true" && string(v) != "false" {
			return malformed("cache."+string(key), "true or false")
		}
		on := string(v) == "true"
		switch string(key) {
		case "no-cache":
			c.noLookup = c.noLookup || on
		case "no-store":
			c.noStore = c.noStore || on
		default:
			c.use = on
		}
	case "ttl", "s-maxage":
		s, err := strconv.ParseFloat(string(v), 64)
		if err != nil || s < 0 {
			return malformed("cache."+string(key), "a number of seconds")
		}
		d := time.Duration(min(s, math.MaxInt32) * float64(time.Second))
		if string(key) == "ttl" {
			c.ttl = d
		} else {
			c.atMost(d)
		}
	case "namespace":
		if v[0] != '"' {
			return malformed("cache.namespace", "a string")
		}
		c.namespace = v
	}
	return nil
}

// atMost lowers the age that an old answer may have.
func (c *control) atMost(d time.Duration) {
	if c.maxAge < 0 || d < c.maxAge {
		c.maxAge = d
	}
}

func malformed(field, want string) error {
	return &pipeline.Error{
		Status: 400, Code: "invalid_value", Param: field, Fault: pipeline.CallerFault,
		Err: fmt.Errorf("%s must be %s", field, want),
	}
}
