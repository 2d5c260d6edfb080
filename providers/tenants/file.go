package tenants

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// The states of a tenant.
const (
	active    = "active"
	suspended = "suspended"
	deleted   = "deleted"
)

// maxKeys bounds the keys that one tenant ever has.
const maxKeys = 1000

// records is what the file holds.
type records struct {
	Version int      `json:"version"`
	Tenants []tenant `json:"tenants"`
}

type tenant struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Status      string    `json:"status"`
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
	Scopes      []string  `json:"scopes,omitempty"`
	Collections []string  `json:"collections,omitempty"`
	Keys        []key     `json:"keys"`
}

type key struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Digest  digest    `json:"sha256"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Revoked bool      `json:"revoked,omitempty"`
}

// A digest is written in hexadecimal.
type digest [32]byte

// MarshalText implements encoding.TextMarshaler.
func (d digest) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(d[:])), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *digest) UnmarshalText(b []byte) error {
	if n, err := hex.Decode(d[:], b[:min(len(b), 2*len(d))]); err != nil || n != len(d) || len(b) != 2*len(d) {
		return errors.New("a digest is not 64 hexadecimal digits")
	}
	return nil
}

func (t *tenant) policy() pipeline.Policy {
	return pipeline.Policy{Scopes: t.Scopes, Collections: t.Collections}
}

func (t *tenant) public() pipeline.Tenant {
	return pipeline.Tenant{
		ID: t.ID, Name: t.Name, Description: t.Description, Status: t.Status,
		Created: t.Created, Updated: t.Updated, Policy: t.policy(),
	}
}

// clone copies what a change may touch.
func (r *records) clone() records {
	next := records{Version: 1, Tenants: slices.Clone(r.Tenants)}
	for i := range next.Tenants {
		next.Tenants[i].Keys = slices.Clone(next.Tenants[i].Keys)
	}
	return next
}

func (r *records) find(id string) (*tenant, error) {
	for i := range r.Tenants {
		if r.Tenants[i].ID == id {
			return &r.Tenants[i], nil
		}
	}
	return nil, &pipeline.Error{Status: 404, Code: "tenant_not_found", Fault: pipeline.CallerFault, Err: fmt.Errorf("Tenant %.64s not found", id)} // the words that clients know
}

// fileOf is the file that a path stands for, "" for none.
func fileOf(path string) string {
	if path == "" || strings.HasSuffix(path, ".json") {
		return path
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return filepath.Join(path, "tenants.json")
	}
	return path + ".tenants.json"
}

// load reads the file. One that is not there holds nothing.
func (s *Store) load() error {
	if s.path == "" {
		return nil
	}
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the tenants: %w", err)
	}
	if err := json.Unmarshal(b, &s.records); err != nil {
		return fmt.Errorf("read the tenants in %s: %w", s.path, err)
	}
	if s.records.Version != 1 {
		return fmt.Errorf("read the tenants in %s: version %d is not known, only 1", s.path, s.records.Version)
	}
	return nil
}

// save replaces the file as a whole, so that a crash leaves the old one or the
// new one.
func (s *Store) save(r *records) (err error) {
	if s.path == "" {
		return nil
	}
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("write the tenants: %w", err)
	}
	dir := filepath.Dir(s.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write the tenants: %w", err)
	}
	f, err := os.CreateTemp(dir, ".tenants-*") // only its owner may read it
	if err != nil {
		return fmt.Errorf("write the tenants: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write the tenants to %s: %w", s.path, err)
		}
	}()
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	return err
}

// syncDir makes a rename in dir last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}
