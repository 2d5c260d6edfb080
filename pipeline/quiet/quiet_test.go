package quiet

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		l := New(slog.New(slog.NewTextHandler(&b, nil)))
		f := func(want string) {
			t.Helper()
			b.Reset()
			if l.Warn("the store failed", "error", errors.New("down")); !strings.Contains(b.String(), want) || want == "" && b.Len() > 0 {
				t.Errorf("%q, want %q", b.String(), want)
			}
		}
		f("error=down unreported=0")
		f("")
		time.Sleep(pause - time.Nanosecond)
		f("")
		time.Sleep(time.Nanosecond)
		f("error=down unreported=2")
		f("")
		l.until.Store(time.Now().Add(time.Hour).UnixNano()) // what was written an hour ahead of the clock
		f("error=down unreported=1")
		f("")
	})
}
