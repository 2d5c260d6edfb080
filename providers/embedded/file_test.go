package embedded

import (
	"database/sql"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The documents of all tenants are for the eyes of the owner, unless somebody says
// otherwise.
func TestPermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("has other permissions")
	}
	path := filepath.Join(t.TempDir(), "kb.db")
	for _, want := range []os.FileMode{0o600, 0o640} {
		in, err := openFile(t.Context(), path, DurableProcess)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.write.ExecContext(t.Context(), "DELETE FROM points"); err != nil {
			t.Error(err)
		}
		for _, name := range []string{path, path + "-wal"} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
			}
		}
		if err := in.close(); err != nil {
			t.Error(err)
		}
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

// A pragma that SQLite does not know is ignored without a word, so what the
// settings come to is asked for.
func TestPragmas(t *testing.T) {
	f := func(durability, query, want string) {
		t.Helper()
		in, err := openFile(t.Context(), filepath.Join(t.TempDir(), "kb.db"), durability)
		if err != nil {
			t.Fatal(err)
		}
		defer in.close()
		var got string
		if err := in.write.QueryRowContext(t.Context(), query).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %s is %s, %v; want %s", durability, query, got, err, want)
		}
		if _, err := in.read.ExecContext(t.Context(), "DELETE FROM points"); err == nil {
			t.Error("a connection for reading writes")
		}
	}
	f(DurableProcess, "PRAGMA journal_mode", "wal")
	f(DurablePower, "PRAGMA journal_mode", "wal")
	f(DurableProcess, "PRAGMA synchronous", "1")
	f(DurablePower, "PRAGMA synchronous", "2")
	f(DurablePower, "PRAGMA user_version", "2")
	f(DurablePower, "PRAGMA busy_timeout", "10000")
}

// Where a file can be read only, what to do about it is said.
func TestRemedy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kb.db")
	in, err := openFile(t.Context(), path, DurableProcess)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro") // permissions would not keep root out
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "PRAGMA user_version = 7")
	if err == nil || !strings.Contains(remedy(err).Error(), "writable") {
		t.Errorf("got %v", err)
	}
}
