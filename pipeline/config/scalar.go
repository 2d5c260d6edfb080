package config

import (
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
)

// A Secret prints as *** however it is printed; string(s) is its value.
type Secret string

const masked = "***"

// String implements fmt.Stringer. It never returns the value.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// Format implements fmt.Formatter, so that no verb prints the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements encoding.TextMarshaler. It never returns the value.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Size is a number of bytes, written 64KiB, 1MiB, 10MB or as a plain number.
type Size int64

var units = []struct {
	name string
	size float64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	in := string(text)
	number, unit := in, 1.0
	for _, u := range units {
		if n, ok := strings.CutSuffix(in, u.name); ok {
			number, unit = strings.TrimRight(n, " "), u.size
			break
		}
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil && n >= 0 && float64(n)*unit < math.MaxInt64 {
		*s = Size(n * int64(unit))
		return nil
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !plain(number) || n*unit >= math.MaxInt64 {
		return fmt.Errorf("%q is not a size; write %s", in, s.SchemaText())
	}
	*s = Size(n * unit)
	return nil
}

// String returns the size in the largest unit that gives a whole number.
func (s Size) String() string {
	for _, u := range []struct {
		name  string
		shift uint
	}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if s != 0 && s%(1<<u.shift) == 0 {
			return strconv.FormatInt(int64(s>>u.shift), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// SchemaText says what may be written.
func (Size) SchemaText() string { return "64KiB, 10MB, 1GiB or a number of bytes" }

// A Ratio is a share, written 5% or 0.05.
type Ratio float64

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Ratio) UnmarshalText(text []byte) error {
	in := string(text)
	number, percent := strings.CutSuffix(in, "%")
	n, err := strconv.ParseFloat(strings.TrimRight(number, " "), 64)
	switch {
	case err != nil || !plain(strings.TrimRight(number, " ")):
		return fmt.Errorf("%q is not a share; write %s", in, r.SchemaText())
	case percent:
		n /= 100
	case n > 1:
		return fmt.Errorf("%s is more than the whole; write %s", in, r.SchemaText())
	}
	*r = Ratio(n)
	return nil
}

// String returns the share in per cent.
func (r Ratio) String() string {
	return strconv.FormatFloat(math.Round(float64(r)*1e8)/1e6, 'f', -1, 64) + "%"
}

// MarshalText implements encoding.TextMarshaler.
func (r Ratio) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// SchemaText says what may be written.
func (Ratio) SchemaText() string { return "5% or 0.05" }

// plain reports whether s is made of digits and at most a point, which leaves
// out signs, exponents, hexadecimals, infinities and NaN.
func plain(s string) bool {
	return s != "" && strings.Trim(s, "0123456789.") == ""
}
