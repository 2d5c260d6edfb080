package chat

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headrace/headrace/tests/harness"
)

// suite is the directory of the JSON parsing test suite.
func suite(t *testing.T) string {
	t.Helper()
	return harness.Data(t, "http/JSONTestSuite/test_parsing")
}

func TestSuite(t *testing.T) {
	dir := suite(t)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	count := map[byte]int{}
	var r Request
	for _, file := range files {
		name := file.Name()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		count[name[0]]++
		value, member, object := Valid(b), r.Scan([]byte(`{"x":`+string(b)+`}`)), r.Scan(b)
		isObject := strings.HasPrefix(strings.TrimLeft(string(b), " \t\r\n"), "{")
		switch name[0] {
		case 'y':
			if value != nil || member != nil {
				t.Errorf("%s refused: %v; %v", name, value, member)
			}
			duplicate := strings.HasPrefix(name, "y_object_duplicated_key")
			if accepted := object == nil; accepted != (isObject && !duplicate) {
				t.Errorf("%s as a body: %v", name, object)
			}
		case 'n':
			if value == nil || object == nil {
				t.Errorf("%s accepted", name)
			}
			// Some are whole objects once they stand inside one.
			if closed := name == "n_structure_object_with_trailing_garbage.json"; member == nil && !closed {
				t.Errorf("%s accepted as a member", name)
			}
		case 'i':
			want := strings.HasPrefix(name, "i_number") || // any size
				strings.Contains(name, "surrogate") && !strings.Contains(name, "UTF") ||
				strings.Contains(name, "1st_valid") || strings.Contains(name, "incomplete_surrogates")
			if got := value == nil; got != want && name != "i_string_1st_surrogate_but_2nd_missing.json" {
				t.Errorf("%s: accepted is %v: %v", name, got, value)
			}
		}
	}
	if count['y'] < 90 || count['n'] < 180 || count['i'] < 30 {
		t.Errorf("the suite is not whole: %v", count)
	}
}
