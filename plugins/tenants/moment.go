package tenants

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/headrace/headrace/pipeline/chat"
)

// A notMoment is what pydantic calls that which is no point in time.
type notMoment struct{ kind, msg, why string }

var (
	noMoment   = &notMoment{"datetime_type", "Input should be a valid datetime", ""}
	badMoment  = &notMoment{"datetime_from_date_parsing", "Input should be a valid datetime or date, ", "such as 2030-01-31T12:00:00Z"}
	lateMoment = &notMoment{"datetime_parsing", "Input should be a valid datetime, ", "dates after 9999 are not supported as unix timestamps"}
	oldMoment  = &notMoment{"datetime_parsing", "Input should be a valid datetime, ", "dates before 1600 are not supported as unix timestamps"}
)

// moment reads a point in time as pydantic does: in one of ISO 8601's forms, in UTC
// where it names no zone, or as seconds since 1970, or milliseconds where that many
// seconds would be after the year 2600.
func moment(raw []byte) (time.Time, *notMoment) {
	text, ok := chat.Text(raw)
	if !ok && raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return time.Time{}, noMoment
	}
	if !ok || seconds.MatchString(text) {
		if !ok {
			text = string(raw)
		}
		const year2600 = 2e10
		n, _ := strconv.ParseFloat(text, 64) // an infinity if it is too large
		if math.Abs(n) > year2600 {
			n /= 1000
		}
		switch {
		case n >= year10000:
			return time.Time{}, lateMoment
		case n < year1600:
			return time.Time{}, oldMoment
		}
		return time.UnixMicro(int64(n * 1e6)).UTC(), nil
	}
	if len(text) > len(time.DateOnly) {
		day, clock := text[:len(time.DateOnly)], text[len(time.DateOnly)+1:]
		if strings.IndexByte("Tt _", text[len(day)]) >= 0 {
			text = day + "T" + strings.Replace(clock, "z", "Z", 1)
		}
	}
	for _, layout := range [...]string{
		time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04Z0700", "2006-01-02T15:04", time.DateOnly,
	} {
		if t, err := time.Parse(layout, text); err == nil && t.Unix() < year10000 {
			return t.UTC(), nil
		}
	}
	return time.Time{}, badMoment
}

// Bounds of what a number of seconds may mean, and of what can be written as a time.
const (
	year1600  = -11_676_096_000
	year10000 = 253_402_300_800
)

// seconds is a text that pydantic takes for a number of them.
var seconds = regexp.MustCompile(`^[+-]?[0-9]+(?:\.[0-9]*)?$`)
