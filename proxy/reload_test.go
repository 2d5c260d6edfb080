package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline/config"
)

// Every setting of the section server either takes effect with a reload or is named in
// the log as one that does not.
func TestSettingsThatReloadKeeps(t *testing.T) {
	t.Parallel()
	taken := []string{
		"open", "open_admin", "origins", "limits.max_body", "limits.max_upload", "limits.max_concurrent",
		"timeouts.body_idle", "timeouts.stream", "timeouts.drain",
	}
	start := config.DefaultServer()
	var walk func(at string, now reflect.Value, whole *config.Server)
	walk = func(at string, now reflect.Value, whole *config.Server) {
		for i := range now.NumField() {
			name, field := at+now.Type().Field(i).Tag.Get("yaml"), now.Field(i)
			was := reflect.ValueOf(field.Interface())
			switch field.Kind() {
			case reflect.Struct:
				walk(name+".", field, whole)
				continue
			case reflect.String:
				field.SetString("other")
			case reflect.Bool:
				field.SetBool(!field.Bool())
			case reflect.Int, reflect.Int64:
				field.SetInt(field.Int() + 1)
			case reflect.Slice:
				field.Set(reflect.Zero(field.Type()))
			case reflect.Pointer:
				field.Set(reflect.New(field.Type().Elem()))
			default:
				t.Fatalf("%s is a %s", name, field.Kind())
			}
			var want []string
			if !slices.Contains(taken, name) {
				want = []string{name}
			}
			if got := kept(&start, whole); !slices.Equal(got, want) {
				t.Errorf("%s has changed: a reload names %v, want %v", name, got, want)
			}
			field.Set(was)
		}
	}
	now := start
	walk("", reflect.ValueOf(&now).Elem(), &now)
}

// What a reload cannot change is said with every reload, for as long as the file and what
// runs are not the same.
func TestReloadNamesWhatItKeeps(t *testing.T) {
	t.Parallel()
	scripts.Store(t.Name(), script(nil))
	extra := ""
	r := startFile(t, func() string { return file(t.Name(), extra) })
	f := func(section, want string) {
		t.Helper()
		extra = section
		before := len(r.log.String())
		if err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if said := r.log.String()[before:]; !strings.Contains(said, want) || want == "" && strings.Contains(said, "restart") {
			t.Errorf("%s: the log says %q, want %q", section, said, want)
		}
	}
	f("timeouts: { drain: 3s }", "")
	f("limits: { max_header: 8KiB }", `"settings":["limits.max_header"]`)
	f("limits: { max_header: 8KiB }\ntimeouts: { drain: 4s }", `"settings":["limits.max_header"]`)
	f("", "")
}

// A certificate that has been renewed is the one that clients see after a reload; one that
// cannot be read changes nothing.
func TestReloadCertificate(t *testing.T) {
	t.Parallel()
	scripts.Store(t.Name(), script(nil))
	cert, key := certificate(t)
	r := startFile(t, func() string { return file(t.Name(), fmt.Sprintf("tls: { cert: %q, key: %q }", cert, key)) })
	shown := func() []byte {
		t.Helper()
		c, err := tls.Dial("tcp", r.dataLn.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		return c.ConnectionState().PeerCertificates[0].Raw
	}
	first := shown()
	for _, renewed := range []bool{true, false} { // under another name, and under the same
		newCert, newKey := certificate(t)
		if renewed {
			cert, key = newCert, newKey
		} else if err := errors.Join(os.Rename(newCert, cert), os.Rename(newKey, key)); err != nil {
			t.Fatal(err)
		}
		if err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		second := shown()
		if bytes.Equal(first, second) {
			t.Error("the certificate is the one of before")
		}
		first = second
	}
	if err := os.WriteFile(cert, []byte("-----BEGIN"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), cert) {
		t.Errorf("a certificate that is none: %v", err)
	}
	if !bytes.Equal(first, shown()) {
		t.Error("a certificate that is none has changed what is shown")
	}
	if said := r.log.String(); strings.Contains(said, "restart") {
		t.Errorf("the log says %s", said)
	}
}

// The address that is logged at the start is one that clients can use.
func TestURL(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	f := func(section, want string) {
		t.Helper()
		if got := start(t, section, nil).URL(); !regexp.MustCompile("^" + want + `://127\.0\.0\.1:[0-9]+/v1$`).MatchString(got) {
			t.Errorf("%q: %s", section, got)
		}
	}
	f("", "http")
	f(fmt.Sprintf("tls: { cert: %q, key: %q }", cert, key), "https")
}
