package embedded

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"modernc.org/sqlite"
)

// What a file says of itself.
const (
	applicationID = 0x68726163 // "hrac"
	formatVersion = 2
)

// wholeCheck is up to which size a file is checked page by page at the start.
const wholeCheck = 64 << 20

const schema = `
CREATE TABLE collections (
	key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, dims INTEGER NOT NULL, model TEXT NOT NULL DEFAULT '') STRICT;
CREATE TABLE points (
	row INTEGER PRIMARY KEY AUTOINCREMENT,
	collection INTEGER NOT NULL, tenant TEXT NOT NULL, id TEXT NOT NULL,
	doc_id TEXT NOT NULL, chunk_id TEXT NOT NULL, idx INTEGER NOT NULL,
	digest BLOB NOT NULL, scale REAL NOT NULL, code BLOB NOT NULL, metadata BLOB, text BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX point_by_id ON points (collection, tenant, id);
CREATE INDEX point_by_document ON points (collection, tenant, doc_id);
CREATE TABLE vectors (row INTEGER PRIMARY KEY, vector BLOB NOT NULL) STRICT;
CREATE TABLE entities (
	tenant TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, name TEXT NOT NULL, props BLOB,
	PRIMARY KEY (tenant, id)) STRICT, WITHOUT ROWID;
CREATE TABLE relations (
	tenant TEXT NOT NULL, src TEXT NOT NULL, type TEXT NOT NULL, dst TEXT NOT NULL, props BLOB, docs BLOB NOT NULL,
	PRIMARY KEY (tenant, src, type, dst)) STRICT, WITHOUT ROWID;
CREATE TABLE chunks (
	tenant TEXT NOT NULL, id TEXT NOT NULL, doc_id TEXT NOT NULL, idx INTEGER NOT NULL,
	PRIMARY KEY (tenant, id)) STRICT, WITHOUT ROWID;
CREATE TABLE mentions (
	tenant TEXT NOT NULL, chunk TEXT NOT NULL, entity TEXT NOT NULL,
	PRIMARY KEY (tenant, chunk, entity)) STRICT, WITHOUT ROWID;
`

// A file is the one that everything is in, open.
type file struct {
	path  string  // empty for none
	write *sql.DB // one connection
	read  *sql.DB // the same as write if there is no file
	keep  *sql.Conn
	guard *os.File
}

// String names the file in errors.
func (f *file) String() string {
	if f.path == "" {
		return "memory"
	}
	return f.path
}

// inMemory numbers the databases of this process that have no file.
var inMemory atomic.Int64

// openFile opens or makes a file and sees that it is whole and ours.
func openFile(ctx context.Context, path, durability string) (*file, error) {
	f := &file{path: path}
	var err error
	if path == "" {
		err = f.openMemory(ctx)
	} else {
		err = f.openDisk(ctx, durability)
	}
	if err == nil {
		err = f.prepare(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the store %s: %w", f, remedy(err)), f.close())
	}
	return f, nil
}

// remedy says what to do about an error that comes of a damaged file, or of one that cannot
// be written.
func remedy(err error) error {
	const corrupt, notADatabase = 11, 26
	if e, ok := errors.AsType[*sqlite.Error](err); ok && (e.Code()&0xff == corrupt || e.Code()&0xff == notADatabase) || errors.Is(err, errDamaged) {
		return fmt.Errorf("the file is damaged or no database; restore it from a copy, or remove it and index again: %w", err)
	}
	if readOnly(err) {
		return fmt.Errorf("the file and its folder have to be writable for the gateway's user, as changes are kept beside the file first: %w", err)
	}
	return err
}

// readOnly reports that the file, or one that belongs beside it, cannot be written.
func readOnly(err error) bool {
	const noWrite, noOpen = 8, 14
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code()&0xff == noWrite || e.Code()&0xff == noOpen)
}

// full reports that there was no room on the disk.
func full(err error) bool {
	const noRoom = 13
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == noRoom
}

// errDamaged is what we find wrong with a file ourselves.
var errDamaged = errors.New("it is not whole")

// openMemory makes a database without a file. It lives as long as a connection
// to it, and knows no readers beside a writer, so all share one.
func (f *file) openMemory(ctx context.Context) (err error) {
	dsn := fmt.Sprintf("file:/headrace-%d?vfs=memdb&_pragma=temp_store(memory)", inMemory.Add(1))
	if f.write, err = sql.Open("sqlite", dsn); err != nil {
		return err
	}
	f.read = f.write
	if f.keep, err = f.write.Conn(ctx); err != nil {
		return err
	}
	f.write.SetMaxOpenConns(2) // one of them kept
	return nil
}

func (f *file) openDisk(ctx context.Context, durability string) (err error) {
	if info, err := os.Stat(f.path); err == nil && info.IsDir() {
		f.path = filepath.Join(f.path, "headrace.db")
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	if f.guard, err = guard(f.path + ".lock"); err != nil {
		return err
	}
	// SQLite would let everybody read the documents of all tenants; its log takes after
	// the file. One that is there keeps the permissions that it was given.
	made, err := os.OpenFile(f.path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := made.Close(); err != nil {
		return err
	}
	sync := "normal"
	if durability == DurablePower {
		sync = "full"
	}
	name := "file:" + (&url.URL{Path: f.path}).EscapedPath() +
		"?_pragma=busy_timeout(10000)&_pragma=temp_store(memory)&_pragma=synchronous(" + sync + ")"
	if f.write, err = sql.Open("sqlite", name+"&_pragma=journal_mode(wal)&_txlock=immediate"); err != nil {
		return err
	}
	f.write.SetMaxOpenConns(1)
	// A transaction rolled back, or a log left by a crash, is dealt with by the
	// first connection, which has to be the one that writes.
	if err := f.write.PingContext(ctx); err != nil {
		return err
	}
	if f.read, err = sql.Open("sqlite", name+"&_pragma=query_only(1)"); err != nil {
		return err
	}
	n := 2 * runtime.GOMAXPROCS(0)
	f.read.SetMaxOpenConns(n)
	f.read.SetMaxIdleConns(n)
	return nil
}

// prepare makes the tables of a new file, and checks one that is not new.
func (f *file) prepare(ctx context.Context) error {
	var app, version, tables int
	for pragma, to := range map[string]*int{"PRAGMA application_id": &app, "PRAGMA user_version": &version, "SELECT count(*) FROM sqlite_schema": &tables} {
		if err := f.write.QueryRowContext(ctx, pragma).Scan(to); err != nil {
			return err
		}
	}
	if app == 0 && version == 0 && tables == 0 {
		return f.create(ctx)
	}
	if app != applicationID {
		return errors.New("it is a database of another program")
	}
	if version < 1 || version > formatVersion {
		return fmt.Errorf("its format is %d, and this program knows %d", version, formatVersion)
	}
	if err := f.whole(ctx); err != nil || version == formatVersion {
		return err
	}
	return f.upgrade(ctx)
}

// upgrade brings a file of format 1 up to date. It did not note models.
func (f *file) upgrade(ctx context.Context) error {
	return f.together(ctx,
		"ALTER TABLE collections ADD COLUMN model TEXT NOT NULL DEFAULT ''",
		fmt.Sprintf("PRAGMA user_version = %d", formatVersion),
	)
}

func (f *file) create(ctx context.Context) error {
	return f.together(ctx,
		schema,
		fmt.Sprintf("PRAGMA application_id = %d", applicationID),
		fmt.Sprintf("PRAGMA user_version = %d", formatVersion),
	)
}

// together runs statements in one transaction.
func (f *file) together(ctx context.Context, statements ...string) error {
	tx, err := f.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	for _, statement := range statements {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// whole reports what is wrong with a file that is not new.
func (f *file) whole(ctx context.Context) error {
	_, err := f.write.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	if err != nil && !full(err) {
		return err
	}
	if f.path == "" {
		return nil
	}
	logged := err != nil // the disk is full: what is in the log stays there, and is read from it
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // read only: nothing is lost
	info, err := in.Stat()
	if err != nil {
		return err
	}
	// SQLite notices a missing page when it comes to read it, which may be
	// never at the start and within a request later.
	head := make([]byte, 32)
	if _, err := in.ReadAt(head, 0); err != nil {
		return err
	}
	page := int64(binary.BigEndian.Uint16(head[16:]))
	if page == 1 {
		page = 64 << 10
	}
	if want := page * int64(binary.BigEndian.Uint32(head[28:])); info.Size() < want && !logged {
		return fmt.Errorf("%w: it has %d bytes and should have %d", errDamaged, info.Size(), want)
	}
	if info.Size() > wholeCheck {
		return nil
	}
	var verdict string
	if err := f.write.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", errDamaged, verdict)
	}
	return nil
}

// close closes what is open.
func (f *file) close() error {
	var errs []error
	if f.keep != nil {
		errs = append(errs, f.keep.Close())
	}
	if f.read != nil && f.read != f.write {
		errs = append(errs, f.read.Close())
	}
	if f.write != nil {
		errs = append(errs, f.write.Close())
	}
	if f.guard != nil {
		errs = append(errs, f.guard.Close())
	}
	return errors.Join(errs...)
}
