package litellm

import (
	"errors"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// TestPartIsNoAnswer: a body whose end nobody can tell is refused unless it is
// whole JSON, even where a part of it ends as JSON does.
func TestPartIsNoAnswer(t *testing.T) {
	const whole = `{"choices":[{"index":0}],"usage":{"total_tokens":3}}`
	f := func(body string, good bool) {
		t.Helper()
		tr := &transport{header: "200\nContent-Type: application/json", pieces: []string{body}}
		ex := exchange(pipeline.OpChat, `{"model":"m","messages":[]}`)
		defer ex.Release()
		err := tr.onto(build(t, settings("http://up.example/v1"))).Call(ex.Context(), ex)
		if e, ok := errors.AsType[*pipeline.Error](err); good != (err == nil) || !good && (!ok || e.Code != "upstream_protocol") {
			t.Errorf("%s: %v", body, err)
		}
	}
	f(whole, true)
	f(" "+whole+"\r\n", true)
	for i := range len(whole) {
		f(whole[:i], false)
	}
	f(whole+whole, false)
	f(`{"id": nonsense}`, false)
	f(`"text"`, false)
}

// TestSecretsAreNotQuoted: no secret of the settings comes back in an error or
// in a challenge, whatever field it was sent in.
func TestSecretsAreNotQuoted(t *testing.T) {
	c := settings("http://up.example/v1")
	c.Key = "sk-canary-key"
	c.Headers = map[string]config.Secret{"X-Secret": "canary-header", "X-Other": "Token canary-token", "X-Short": "yes"}
	tr := &transport{
		header: "400\nContent-Type: application/json\nWWW-Authenticate: Bearer realm=\"canary-header\"",
		pieces: []string{`{"error":{"message":"yes: sk-canary-key, canary-header, canary-token","type":"canary-token"}}`},
	}
	ex := exchange(pipeline.OpChat, `{"model":"m","messages":[]}`)
	defer ex.Release()
	a := ask(t, tr.onto(build(t, c)), ex)
	if strings.Contains(a.body, "canary") || !strings.Contains(a.body, "yes: ***") || len(ex.Response.Header.Peek("WWW-Authenticate")) > 0 {
		t.Errorf("%s\n%s", ex.Response.Header.String(), a.body)
	}
}
