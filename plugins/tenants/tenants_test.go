package tenants

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	store "github.com/headrace/headrace/providers/tenants"
)

const file = `
stores: { who: { tenants: {} } }
routes:
  - { match: { paths: [ /admin/tenants, /admin/tenants/* ] }, chain: [ serve_tenants: { store: who } ] }
`

type rig struct {
	t      *testing.T
	chain  pipeline.Chain
	policy *pipeline.Policy
	bearer string
}

func start(t *testing.T) *rig {
	t.Helper()
	s, err := config.Load(context.Background(), config.Source{File: "test.yaml", Data: []byte(file)}, config.Registry{Plugin, store.Component}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	return &rig{t: t, chain: s.Routes[0].Chain, policy: &pipeline.Policy{Admin: true}, bearer: "Bearer x"}
}

// ask sends "METHOD path".
func (r *rig) ask(request, body string) (int, string) {
	r.t.Helper()
	method, path, _ := strings.Cut(request, " ")
	ex := pipeline.Acquire(r.t.Context())
	defer ex.Release()
	ex.Request.Header.SetMethod(method)
	ex.Request.Header.SetRequestURI(path)
	if r.bearer != "" {
		ex.Request.Header.Set("Authorization", r.bearer)
	}
	ex.Request.Body, ex.Policy = []byte(body), r.policy
	err := r.chain.Handle(ex.Context(), ex)
	if err == nil {
		return ex.Response.Header.StatusCode(), pipetest.ReadAll(r.t, ex)
	}
	e, ok := errors.AsType[*pipeline.Error](err)
	if !ok {
		r.t.Fatal(err)
	}
	status, said := r.chain[0].(pipeline.Endpoint).Refuse(e)
	return status, string(said)
}

func (r *rig) want(request, body string, status int, part string) string {
	r.t.Helper()
	got, said := r.ask(request, body)
	if got != status || !strings.Contains(said, part) {
		r.t.Errorf("%s %s\ngot  %d %s\nwant %d with %s", request, body, got, said, status, part)
	}
	return said
}

func field(t *testing.T, said, name string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(said), &fields); err != nil {
		t.Fatal(err)
	}
	s, _ := fields[name].(string)
	return s
}

// A description is kept as it is, or refused: it had been cut in silence, and within a
// character.
func TestDescription(t *testing.T) {
	r := start(t)
	long := strings.Repeat("é", 4096)
	made := r.want("POST /admin/tenants", `{"name":"Acme","description":"`+long+`"}`, 201, long)
	r.want("GET /admin/tenants/"+field(t, made, "tenant_id"), "", 200, long)
	r.want("POST /admin/tenants", `{"name":"Acme","description":"`+long+`x"}`, 422, `"loc":["body","description"],"msg":"String should have at most 4096 characters"`)
}

func TestLife(t *testing.T) {
	r := start(t)
	made := r.want("POST /admin/tenants", `{"name":"Acme","scopes":["graph:query"]}`, 201, `"name":"Acme","description":null,"api_key":"sk-`)
	id := field(t, made, "tenant_id")
	at := "/admin/tenants/" + id
	r.want("GET /admin/tenants?limit=1&offset=0", "", 200, `"status":"active"`)
	r.want("GET "+at, "", 200, `"scopes":["graph:query"],"collections":null`)
	if said := r.want("GET "+at, "", 200, id); strings.Contains(said, "sk-"+id+"-") {
		t.Errorf("a key is shown again: %s", said)
	}
	key := r.want("POST "+at+"/api-keys", `{"name":"second","expires_at":"2030-01-02T03:04:05"}`, 201, `"name":"second"`)
	if field(t, key, "expires_at") != "2030-01-02T03:04:05Z" {
		t.Error(key)
	}
	r.want("POST "+at+"/api-keys", `{}`, 201, `"name":"api-key"`)
	for sent, want := range map[string]string{
		`1893456000`: "2030-01-01T00:00:00Z", `"1893456000"`: "2030-01-01T00:00:00Z", `1893456000000`: "2030-01-01T00:00:00Z", `"2030-01-31"`: "2030-01-31T00:00:00Z",
		`"2030-01-31 12:00:00.5+02:00"`: "2030-01-31T10:00:00.5Z", `"2030-01-31T12:00Z"`: "2030-01-31T12:00:00Z",
		`"2030-01-31t12:00:00z"`: "2030-01-31T12:00:00Z", `"2030-01-31_12:00:00,5+0200"`: "2030-01-31T10:00:00.5Z", `"+1893456000."`: "2030-01-01T00:00:00Z", `253402300799000`: "9999-12-31T23:59:59Z",
	} {
		if got := field(t, r.want("POST "+at+"/api-keys", `{"expires_at":`+sent+`}`, 201, at[len("/admin/tenants/"):]), "expires_at"); got != want {
			t.Errorf("%s: %s", sent, got)
		}
	}
	r.want("DELETE "+at+"/api-keys/%7B"+strings.ToUpper(field(t, key, "key_id"))+"%7D", "", 204, "")
	r.want("DELETE "+at+"/api-keys/"+field(t, key, "key_id"), "", 204, "")
	r.want("DELETE "+at+"/api-keys/00000000-0000-4000-8000-000000000000", "", 404, "not found for tenant "+id)
	r.want("GET "+at, "", 200, `"api_keys":[{"key_id":"`)
	r.want("GET "+at, "", 200, `"tenant_id":"`+id+`","key_prefix":"sk-`+id+`","name":"default","created_at":"`)
	r.want("GET "+at, "", 200, `"expires_at":"2030-01-02T03:04:05Z","last_used_at":null,"status":"revoked"},`)
	r.want("GET "+at, "", 200, `"expires_at":null,"last_used_at":null,"status":"active"}`)
	r.want("GET "+at, "", 200, `],"stats":null}`)
	r.want("PUT "+at+"/status", `{"status":"suspended"}`, 200, `"status":"suspended"`)
	r.want("DELETE "+at, "", 200, `{"job_id":null,"message":"Tenant `+id+` is deleted: `)
	r.want("DELETE "+at, "", 200, `"status":"deleted","tenant_id":"`+id+`"}`)
	r.want("PUT "+at+"/status", `{"status":"active"}`, 409, "is deleted")
	r.want("POST "+at+"/api-keys", `{}`, 409, "is deleted")
}

func TestRefusals(t *testing.T) {
	r := start(t)
	r.want("POST /admin/tenants", `{"name":""}`, 422, `"ctx":{"min_length":1}`)
	r.want("POST /admin/tenants", `{}`, 422, `"missing"`)
	r.want("POST /admin/tenants", ``, 422, `"missing"`)
	r.want("GET /admin/tenants?limit=0", "", 422, `{"type":"greater_than_equal","loc":["query","limit"],"msg":"Input should be greater than or equal to 1","input":"0","ctx":{"ge":1}}`)
	r.want("GET /admin/tenants?limit=x", "", 422, "int_parsing")
	r.want("GET /admin/tenants?limit=99999", "", 422, "less_than_equal")
	r.want("GET /admin/tenants?limit=0&offset=-1", "", 422, `"ctx":{"ge":1}},{"type":"greater_than_equal","loc":["query","offset"]`)
	r.want("GET /admin/tenants?limit=x&limit=+1.0&offset=99999999999999999999", "", 200, `"tenants":[]`)
	r.want("POST /admin/tenants", `{"name":"`+strings.Repeat("台", 256)+`"}`, 422, `"ctx":{"max_length":255}`)
	r.want("POST /admin/tenants", `{"name":"`+strings.Repeat("台", 255)+`"}`, 201, "台")
	r.want("POST /admin/tenants/zz/api-keys", `{"name":"`+strings.Repeat("台", 256)+`","expires_at":[]}`, 422, `"string_too_long"`)
	r.want("GET /admin/tenants/zz", "", 404, `{"detail":"Tenant zz not found"}`)
	r.want("PUT /admin/tenants/zz/status", `{"status":"active"}`, 404, "Tenant zz not found")
	r.want("PUT /admin/tenants/zz/status", `{"status":"odd"}`, 422, "enum")
	for _, body := range []string{``, `null`, `[]`, `"active"`, `{}`, `{"status":null,"other":1}`} {
		r.want("PUT /admin/tenants/zz/status", body, 422, `{"detail":[{"type":"missing","loc":["body","status"],"msg":"Field required","input":null}]}`)
	}
	r.want("PUT /admin/tenants/zz/status", `{`, 422, "json_invalid")
	r.want("PUT /admin/tenants/zz/status", `{"status":5}`, 422, "string_type")
	r.want("POST /admin/tenants/zz/api-keys", ``, 422, `{"type":"missing","loc":["body"],`)
	r.want("POST /admin/tenants", `{"name":"N","description":"`+strings.Repeat("台", 4097)+`"}`, 422, `"loc":["body","description"],"msg":"String should have at most 4096 characters"`)
	r.want("POST /admin/tenants", `{"name":"N","description":"`+strings.Repeat("台", 4096)+`"}`, 201, `台"`)
	r.want("POST /admin/tenants/zz/api-keys", `{}`, 404, "Tenant zz not found")
	r.want("POST /admin/tenants/zz/api-keys", `{"expires_at":"soon"}`, 422, `"ctx":{"error":"such as 2030-`)
	for sent, kind := range map[string]string{
		`true`: "datetime_type", `[]`: "datetime_type", `{}`: "datetime_type",
		`253402300800000`: "datetime_parsing", `900000000000000`: "datetime_parsing", `1e400`: "datetime_parsing", `-11676096000001`: "datetime_parsing", `"99999999999999999999"`: "datetime_parsing",
		`"1e2"`: "datetime_from_date_parsing", `".5"`: "datetime_from_date_parsing", `"1_000"`: "datetime_from_date_parsing", `""`: "datetime_from_date_parsing", `"2030-02-30"`: "datetime_from_date_parsing",
		`"9999-12-31T23:59:59-14:00"`: "datetime_from_date_parsing", `"2030-01-01T"`: "datetime_from_date_parsing",
	} {
		r.want("POST /admin/tenants/zz/api-keys", `{"expires_at":`+sent+`}`, 422, `"type":"`+kind+`"`)
	}
	r.want("POST /admin/tenants/zz/api-keys", "\u00a0{}", 422, "json_invalid") // no white space of JSON's
	r.want("DELETE /admin/tenants/zz/api-keys/zz", "", 422, "uuid_parsing")
	r.want("PATCH /admin/tenants", "", 405, "Method Not Allowed")
	r.want("GET /admin/tenants/a/b/c/d", "", 404, "Not Found")
}

// Nobody but the admin gets an answer, whatever is asked.
func TestAdminOnly(t *testing.T) {
	r := start(t)
	f := func(policy *pipeline.Policy, bearer, want string) {
		t.Helper()
		r.policy, r.bearer = policy, bearer
		for _, request := range []string{
			"GET /admin/tenants", "POST /admin/tenants", "GET /admin/tenants/zz", "DELETE /admin/tenants/zz", "PUT /admin/tenants/zz/status",
			"POST /admin/tenants/zz/api-keys", "DELETE /admin/tenants/zz/api-keys/zz", "PATCH /admin/tenants", "GET /admin/tenants/x/y/z/w",
		} {
			r.want(request, `{"name":"x","status":"active"}`, 403, `{"detail":"`+want+`"}`)
		}
	}
	f(nil, "", "Not authenticated")
	f(nil, "Bearer x", "Admin access required")
	f(&pipeline.Policy{Scopes: []string{"admin"}}, "Bearer x", "Admin access required")
	f(&pipeline.Policy{}, "", "Not authenticated")
	// What auth refuses is worded alike.
	h := r.chain[0].(pipeline.Endpoint)
	if status, body := h.Refuse(&pipeline.Error{Status: 401, Code: "missing_api_key"}); status != 403 || string(body) != `{"detail":"Not authenticated"}` {
		t.Errorf("%d %s", status, body)
	}
	if status, body := h.Refuse(&pipeline.Error{Status: 401, Code: "invalid_api_key"}); status != 403 || string(body) != `{"detail":"Admin access required"}` {
		t.Errorf("%d %s", status, body)
	}
}
