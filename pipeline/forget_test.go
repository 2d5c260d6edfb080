package pipeline

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"
)

// ofOne are the fields of an exchange that say nothing of the request, or of this one
// alone.
var ofOne = map[string]bool{"Response": true, "scope": true, "attempts": true, "adopted": true, "parent": true, "refs": true}

// asked is an exchange with everything set that a request can have. A field that
// is new fails the test until it is set here.
func asked(t *testing.T) *Exchange {
	t.Helper()
	ex := Acquire(context.Background())
	b := NewBuffer()
	b.B = append(b.B, `{"model":"m"}`...)
	ex.OwnBody(b)
	h := &ex.Request.Header
	h.SetMethod("POST")
	h.SetRequestURI("/v1/x")
	h.Set("X-Secret", "s")
	ex.Request.Model = "m"
	ex.Request.Upload, ex.Request.UploadSize = strings.NewReader("u"), 1
	ex.Request.Wait = Wait{1, 2, 3}
	ex.Passages = append(ex.Passages, Passage{ID: "1"})
	ex.Retrieval = &Retrieval{Query: "q"}
	ex.Op, ex.Route, ex.Tenant, ex.Policy = OpChat, "r", "t", &Policy{Admin: true}
	ex.Model, ex.Models, ex.Targets, ex.Target = &Model{Name: "m"}, &Models{}, []*Target{{Name: "a"}}, &Target{Name: "b"}
	ex.Began = time.Now()
	ex.SetSkip([]byte("cache"))
	if _, err := ex.Chat(); err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(ex).Elem()
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && !ofOne[name] {
			t.Fatalf("the test leaves %s empty", name)
		}
	}
	return ex
}

// A branch is the same request, whole, with a header of its own.
func TestForkIsTheSameRequest(t *testing.T) {
	ex := asked(t)
	defer ex.Release()
	b := ex.Fork(ex.Context())
	defer b.Release()
	if got, want := b.Request.Header.String(), ex.Request.Header.String(); got != want {
		t.Errorf("the branch's header is\n%s\nwant\n%s", got, want)
	}
	own := map[string]bool{"Request": true, "view": true, "viewOf": true, "viewed": true, "owned": true} // compared below, or made when needed
	v, w := reflect.ValueOf(ex).Elem(), reflect.ValueOf(b).Elem()
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; !ofOne[name] && !own[name] && v.Type().Field(i).IsExported() &&
			!reflect.DeepEqual(v.Field(i).Interface(), w.Field(i).Interface()) {
			t.Errorf("%s is %v in the branch, want %v", name, w.Field(i), v.Field(i))
		}
	}
	r, s := &ex.Request, &b.Request
	if s.Model != r.Model || string(s.Body) != string(r.Body) || s.Upload != r.Upload || s.UploadSize != r.UploadSize || s.Wait != r.Wait || !b.Skips("cache") {
		t.Errorf("the branch asks for %+v, want %+v", s, r)
	}
}

// Exchanges are used again: of one request nothing reaches the next, be it whose key
// was shown or what was found.
func TestExchangesForget(t *testing.T) {
	ex := asked(t)
	found := ex.Passages
	ex.CountAttempt()
	won := ex.Fork(ex.Context())
	won.Response.SetBody([]byte("answer"))
	won.Response.Header.SetStatusCode(429)
	won.Response.Header.Set("X-Secret", "s")
	won.Response.Fault = CallerFault
	ex.Adopt(won)
	ex.Release()
	for _, ex := range []*Exchange{ex, won} {
		v := reflect.ValueOf(ex).Elem()
		kept := map[string]bool{"Request": true, "Response": true, "Passages": true, "scope": true, "view": true} // compared below, or read only where viewed
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; !kept[name] && !v.Field(i).IsZero() {
				t.Errorf("%s is still %v", name, v.Field(i))
			}
		}
		r := &ex.Request
		if len(ex.Passages) != 0 || r.Body != nil || r.Upload != nil || r.UploadSize != 0 || r.Model != "" || r.Wait != (Wait{}) {
			t.Errorf("of the request there is still %+v", r)
		}
		var empty Exchange
		if got, want := r.Header.String(), empty.Request.Header.String(); got != want {
			t.Errorf("the request's header is still\n%s", got)
		}
		resp := &ex.Response
		if resp.Body != nil || resp.Fault != NoFault || resp.whole.b != nil || resp.Header.StatusCode() != 200 || len(resp.Header.Peek("X-Secret")) > 0 {
			t.Errorf("of the answer there is still %+v", resp)
		}
	}
	if found[0].ID != "" {
		t.Error("a passage is kept alive")
	}
}
