package race

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// After is when a second target is asked: after a fixed time, after a quantile
// of the times that answers took lately, or never.
type After struct {
	never    bool
	fixed    time.Duration
	quantile float64 // 0.5 to 0.999; 0 for a fixed time
}

// Quantile returns an After of a live quantile, such as 0.95.
func Quantile(q float64) After { return After{quantile: q} }

// Fixed returns an After of a fixed time.
func Fixed(d time.Duration) After { return After{fixed: d} }

// Never returns an After without hedges.
func Never() After { return After{never: true} }

// SchemaText says what may be written.
func (After) SchemaText() string { return "300ms, p50 to p99.9, or never" }

// String returns what a file says.
func (a After) String() string {
	switch {
	case a.never:
		return "never"
	case a.quantile > 0:
		return "p" + strconv.FormatFloat(a.quantile*100, 'g', 4, 64)
	}
	return a.fixed.String()
}

// MarshalText implements encoding.TextMarshaler.
func (a After) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *After) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "never" {
		*a = Never()
		return nil
	}
	if p, ok := strings.CutPrefix(s, "p"); ok {
		q, err := strconv.ParseFloat(p, 64)
		if err != nil || !(q >= 50 && q <= 99.9) {
			return fmt.Errorf("%q is not a quantile from p50 to p99.9; write %s", s, a.SchemaText())
		}
		*a = Quantile(q / 100)
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is not a delay; write %s", s, a.SchemaText())
	}
	*a = Fixed(d)
	return nil
}
