package attempt

import (
	"errors"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// known returns err as a failure that says what it is. A nil *pipeline.Error, which a
// stage returned by mistake, does not.
func known(err error) (e *pipeline.Error, ok bool) {
	e, ok = errors.AsType[*pipeline.Error](err)
	return e, ok && e != nil
}

// unasked reports whether err says that no upstream was called at all: a
// breaker or a limit on our side refused.
func unasked(err error) bool {
	e, ok := known(err)
	return ok && (e.Code == "circuit_open" || e.Code == "overloaded")
}

// Unsent reports whether err proves that no upstream has seen the request, so
// that even one which must not run twice may go elsewhere.
func Unsent(err error) bool {
	if unasked(err) {
		return true
	}
	e, ok := known(err)
	return ok && (e.Code == "upstream_unreachable" || e.Code == "upstream_tls")
}

// turnedAway reports whether the upstream refused before it did anything, for its own
// key's sake or because it has too much to do. A request whose body is still with the
// client cannot go elsewhere all the same: some of it may have been sent.
func (t *try) turnedAway() bool {
	if t.err != nil || t.ex.Request.Upload != nil {
		return false
	}
	switch t.ex.Response.Header.StatusCode() {
	case 401, 402, 403, 429:
		return true
	}
	return false
}

// outranks reports whether the client is better served with t's failure than
// with u's: what is wrong with the request says most, then when to come back.
// Among breakers the one that closes first is right; otherwise the preferred
// candidate speaks for all.
func (t *try) outranks(u *try) bool {
	a, b := t.rank(), u.rank()
	if a != b {
		return a > b
	}
	if unasked(t.err) && unasked(u.err) {
		return retryAfter(t.err) < retryAfter(u.err)
	}
	return t.index < u.index
}

func (t *try) rank() int {
	if t.final() {
		return 3
	}
	if t.err == nil {
		switch h := &t.ex.Response.Header; {
		case h.StatusCode() == 429:
			return 2
		case len(h.Peek("Retry-After")) > 0:
			return 1
		}
		return 0
	}
	e, ok := known(t.err)
	switch {
	case ok && e.Status == 429:
		return 2
	case retryAfter(t.err) > 0:
		return 1
	}
	return 0
}

func retryAfter(err error) time.Duration {
	if e, ok := known(err); ok {
		return e.RetryAfter
	}
	return 0
}
