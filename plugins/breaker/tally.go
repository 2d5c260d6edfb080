package breaker

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Threshold is how many failures are too many.
type Threshold struct {
	InARow int     // so many without a success between them; or, when 0,
	Share  float64 // such a part of all within the window
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Threshold) UnmarshalText(text []byte) error {
	in := string(text)
	if number, share := strings.CutSuffix(in, "%"); share {
		if p, err := strconv.ParseFloat(strings.TrimSpace(number), 64); err == nil && p > 0 && p <= 100 {
			*t = Threshold{Share: p / 100}
			return nil
		}
	} else if n, err := strconv.Atoi(in); err == nil && n > 0 && n <= math.MaxInt32 {
		*t = Threshold{InARow: n}
		return nil
	}
	return fmt.Errorf("%q is no threshold; write %s", in, t.SchemaText())
}

// String returns the threshold as a file would have it.
func (t Threshold) String() string {
	if t.InARow > 0 {
		return strconv.Itoa(t.InARow)
	}
	return strconv.FormatFloat(math.Round(t.Share*1e8)/1e6, 'f', -1, 64) + "%"
}

// MarshalText implements encoding.TextMarshaler.
func (t Threshold) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// SchemaText says what may be written.
func (Threshold) SchemaText() string { return "5 for five in a row, or 50% of a window's requests" }

// buckets is how finely the window moves.
const buckets = 10

// tally counts verdicts when they are reached, not when their requests began.
type tally struct {
	limit Threshold
	min   int           // verdicts that a share needs
	width time.Duration // of a bucket

	mu         sync.Mutex
	generation uint64 // counts of another are void
	row        int    // failures since the last success
	successes  uint64
	latest     int64 // number of the newest bucket, from the epoch
	counts     [buckets]struct{ ok, bad int }
}

// A mark is one counted success.
type mark struct {
	bucket int64
	row    int    // the failures in a row that it ended
	number uint64 // of the success, from 1; 0 marks none
}

// success counts one and returns its mark.
func (t *tally) success(generation uint64, now int64) mark {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.move(generation, now) {
		return mark{}
	}
	t.counts[t.latest%buckets].ok++
	t.successes++
	m := mark{t.latest, t.row, t.successes}
	t.row = 0
	return m
}

// failure counts one, in place of the success that m marks, if any. It reports
// whether there are too many.
func (t *tally) failure(generation uint64, now int64, m mark) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.move(generation, now) {
		return false
	}
	if m.number != 0 && t.latest-m.bucket < buckets {
		t.counts[m.bucket%buckets].ok--
	}
	if m.number != 0 && m.number == t.successes {
		// It was the latest, so the row that it ended has not ended.
		t.row += m.row
	}
	t.row++
	t.counts[t.latest%buckets].bad++
	if t.limit.InARow > 0 {
		return t.row >= t.limit.InARow
	}
	ok, bad := 0, 0
	for _, c := range t.counts {
		ok += c.ok
		bad += c.bad
	}
	return ok+bad >= t.min && float64(bad) >= t.limit.Share*float64(ok+bad)
}

// move brings the counts to the present. It reports false for a verdict of a
// past generation.
func (t *tally) move(generation uint64, now int64) bool {
	if generation < t.generation {
		return false
	}
	at := now / int64(t.width)
	if generation > t.generation {
		t.generation, t.row, t.successes, t.latest = generation, 0, 0, at
		clear(t.counts[:])
		return true
	}
	if at-t.latest >= buckets {
		clear(t.counts[:])
		t.latest = at
	}
	for t.latest < at {
		t.latest++
		t.counts[t.latest%buckets] = struct{ ok, bad int }{}
	}
	return true
}
