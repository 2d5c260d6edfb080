package tenants

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// fixture is a store in a file, with one tenant.
func fixture(t *testing.T) (s *Store, path, id, key string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "sub", "t.json")
	s, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	made, k, err := s.CreateTenant(t.Context(), pipeline.Tenant{Name: "Acme", Policy: pipeline.Policy{Scopes: []string{"graph:query"}}})
	if err != nil {
		t.Fatal(err)
	}
	return s, path, made.ID, k.Key
}

// opens reports whose key it is.
func opens(s *Store, key string) string {
	tenant, _, _ := s.Owner(sha256.Sum256([]byte(key)))
	return tenant
}

func TestKeysComeAndGo(t *testing.T) {
	s, path, id, key := fixture(t)
	if !strings.HasPrefix(key, "sk-"+id+"-") || len(key) < 50 || opens(s, key) != id || opens(s, key+"x") != "" {
		t.Fatalf("%q opens %q", key, opens(s, key))
	}
	if _, p, _ := s.Owner(sha256.Sum256([]byte(key))); len(p.Scopes) != 1 || p.Admin {
		t.Errorf("%+v", p)
	}
	second, err := s.CreateKey(t.Context(), pipeline.TenantKey{Tenant: id, Name: "second"})
	if err != nil || opens(s, second.Key) != id || second.Key == key {
		t.Fatal(err, second)
	}
	if err := s.RevokeKey(t.Context(), id, second.ID); err != nil || opens(s, second.Key) != "" || opens(s, key) != id {
		t.Error(err)
	}
	if err := s.RevokeKey(t.Context(), id, second.ID); err != nil {
		t.Error("revoked twice:", err)
	}
	if got, err := s.Tenant(t.Context(), id); err != nil || len(got.Keys) != 2 || got.Keys[0].Name != "default" || got.Keys[0].Revoked || got.Keys[1].ID != second.ID || !got.Keys[1].Revoked || got.Keys[0].Key != "" {
		t.Errorf("%+v %v", got.Keys, err)
	}
	for _, c := range []struct {
		status string
		opens  bool
	}{{"suspended", false}, {"active", true}, {"deleted", false}} {
		if _, err := s.SetTenantStatus(t.Context(), id, c.status); err != nil || (opens(s, key) == id) != c.opens {
			t.Errorf("%s: %v, opens %q", c.status, err, opens(s, key))
		}
	}
	if _, err := s.SetTenantStatus(t.Context(), id, "active"); code(err) != "tenant_deleted" || opens(s, key) != "" {
		t.Error(err)
	}
	// The same after a restart; and the file tells nobody a key.
	again, err := open(path)
	if err != nil || opens(again, key) != "" {
		t.Fatal(err)
	}
	if got, err := again.Tenant(t.Context(), id); err != nil || got.Status != "deleted" || got.Name != "Acme" {
		t.Errorf("%+v %v", got, err)
	}
	b, err := os.ReadFile(path)
	if err != nil || bytes.Contains(b, []byte(key)) {
		t.Error("the file holds a key", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

func TestKeysExpire(t *testing.T) {
	s, _, id, _ := fixture(t)
	now := time.Now()
	s.now = func() time.Time { return now }
	k, err := s.CreateKey(t.Context(), pipeline.TenantKey{Tenant: id, Expires: now.Add(time.Hour)})
	if err != nil || opens(s, k.Key) != id {
		t.Fatal(err)
	}
	if now = now.Add(time.Hour); opens(s, k.Key) != "" {
		t.Error("an expired key opens")
	}
}

func TestUnknown(t *testing.T) {
	s, _, id, _ := fixture(t)
	_, err := s.Tenant(t.Context(), "zz")
	if code(err) != "tenant_not_found" || !strings.HasSuffix(err.Error(), "Tenant zz not found") {
		t.Error(err)
	}
	if _, err := s.CreateKey(t.Context(), pipeline.TenantKey{Tenant: "zz"}); code(err) != "tenant_not_found" {
		t.Error(err)
	}
	if _, err := s.SetTenantStatus(t.Context(), id, "odd"); code(err) != "invalid_value" {
		t.Error(err)
	}
}

func TestList(t *testing.T) {
	s, _, first, _ := fixture(t)
	at := time.Now()
	s.now = func() time.Time { at = at.Add(time.Second); return at }
	for range 3 {
		if _, _, err := s.CreateTenant(t.Context(), pipeline.Tenant{Name: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	some, total, err := s.Tenants(t.Context(), 2, 2)
	if err != nil || total != 4 || len(some) != 2 || some[1].ID != first {
		t.Errorf("%v %d %v", some, total, err)
	}
	if some, _, _ := s.Tenants(t.Context(), 2, 9); len(some) != 0 {
		t.Error(some)
	}
}

// What could not be written has not happened.
func TestFailedWritesChangeNothing(t *testing.T) {
	s, _, id, key := fixture(t)
	s.path = filepath.Join(t.TempDir(), "file", "t.json")
	if err := os.WriteFile(filepath.Dir(s.path), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetTenantStatus(t.Context(), id, "deleted"); err == nil || opens(s, key) != id {
		t.Error("a failed write took effect", err)
	}
}

func TestBrokenFiles(t *testing.T) {
	f := func(content, want string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "t.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", content, err)
		}
	}
	f("{", "unexpected end")
	f(`{"version":2}`, "version 2")
	f(`{"version":1,"tenants":[{"keys":[{"sha256":"00"}]}]}`, "64 hexadecimal digits")
}

func TestPaths(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{"": "", "a.json": "a.json", dir: filepath.Join(dir, "tenants.json"), dir + "/kb.db": dir + "/kb.db.tenants.json"} {
		if got := fileOf(path); got != want {
			t.Errorf("%q is %q, want %q", path, got, want)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	s, _, id, key := fixture(t)
	s.path = ""
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				k, err := s.CreateKey(t.Context(), pipeline.TenantKey{Tenant: id})
				if err != nil || opens(s, k.Key) != id || opens(s, key) != id {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestOwnerAllocatesNothing(t *testing.T) {
	s, _, _, key := fixture(t)
	d := sha256.Sum256([]byte(key))
	if n := testing.AllocsPerRun(100, func() { s.Owner(d) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func code(err error) string {
	if e, ok := errors.AsType[*pipeline.Error](err); ok {
		return e.Code
	}
	return ""
}
