// Package tenants is the endpoint at which tenants and their keys are managed:
// /admin/tenants and what is below it. It answers nobody but who shows the
// admin's key, as auth has found.
package tenants

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/detail"
)

//go:embed tenants.go
var source string

// Plugin describes serve_tenants to a registry.
var Plugin = config.Define[pipeline.Handler]("serve_tenants", Config{}, source)

// Config answers /admin/tenants and the paths below it, for the admin only. It
// stands alone in its route, which matches all methods and both paths:
// /admin/tenants and /admin/tenants/*.
type Config struct {
	// Store keeps the tenants: the one that auth is given, too.
	Store config.Ref[pipeline.TenantStore] `yaml:"store" check:"required"`
}

// Build implements config.Builder.
func (c Config) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	return &handler{store: c.Store.Get(), log: env.Log}, nil
}

type handler struct {
	store pipeline.TenantStore
	log   *slog.Logger
}

const (
	adminOnly        = "Admin access required"
	notAuthenticated = "Not authenticated"
)

// Refuse implements pipeline.Endpoint. To whoever is not the admin, every
// refusal is a 403.
func (h *handler) Refuse(e *pipeline.Error) (int, []byte) {
	if e.Status == 401 {
		said := *e
		said.Status, said.Code, said.Err, said.Body = 403, "admin_only", errors.New(adminOnly), nil
		if e.Code == "missing_api_key" {
			said.Err = errors.New(notAuthenticated)
		}
		e = &said
	}
	return detail.Refuse(e)
}

// Handle implements pipeline.Handler.
func (h *handler) Handle(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	if ex.Policy == nil || !ex.Policy.Admin {
		if len(ex.Request.Header.Peek("Authorization")) == 0 {
			return detail.Fail(403, "admin_only", notAuthenticated)
		}
		return detail.Fail(403, "admin_only", adminOnly)
	}
	uri, query, _ := bytes.Cut(ex.Request.Header.RequestURI(), []byte{'?'})
	path := strings.Split(strings.Trim(strings.TrimPrefix(string(uri), "/admin/tenants"), "/"), "/")
	for i, segment := range path {
		if plain, err := url.PathUnescape(segment); err == nil {
			path[i] = plain
		}
	}
	method := string(ex.Request.Header.Method())
	err := h.route(ctx, ex, method, path, string(query))
	if _, ok := errors.AsType[*pipeline.Error](err); err != nil && !ok {
		h.log.Error("tenants could not be managed", "error", err)
		return detail.Fail(500, "tenants_error", "the tenants could not be read or written; the gateway's log has the details")
	}
	return err
}

func (h *handler) route(ctx context.Context, ex *pipeline.Exchange, method string, path []string, query string) error {
	var allow string
	switch {
	case path[0] == "":
		switch allow = "GET, POST"; method {
		case "GET":
			return h.list(ctx, ex, query)
		case "POST":
			return h.create(ctx, ex)
		}
	case len(path) == 1:
		switch allow = "GET, DELETE"; method {
		case "GET":
			return h.one(ctx, ex, path[0])
		case "DELETE":
			return h.remove(ctx, ex, path[0])
		}
	case len(path) == 2 && path[1] == "status":
		if allow = "PUT"; method == "PUT" {
			return h.status(ctx, ex, path[0])
		}
	case len(path) == 2 && path[1] == "api-keys":
		if allow = "POST"; method == "POST" {
			return h.createKey(ctx, ex, path[0])
		}
	case len(path) == 3 && path[1] == "api-keys":
		if allow = "DELETE"; method == "DELETE" {
			return h.revoke(ctx, ex, path[0], path[2])
		}
	default:
		return detail.Fail(404, "unknown_path", "Not Found")
	}
	return detail.NotAllowed(ex, allow)
}

type tenant struct {
	ID          string    `json:"tenant_id"`
	Name        string    `json:"name"`
	Description *string   `json:"description"`
	Status      string    `json:"status"`
	Created     time.Time `json:"created_at"`
	Updated     time.Time `json:"updated_at"`
	Scopes      []string  `json:"scopes"`
	Collections []string  `json:"collections"` // null: all
}

func public(t pipeline.Tenant) tenant {
	return tenant{t.ID, t.Name, orNull(t.Description), t.Status, t.Created, t.Updated, append([]string{}, t.Policy.Scopes...), t.Policy.Collections}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func reply(ex *pipeline.Exchange, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	ask.Set(ex, status, body)
	return nil
}

const (
	maxName        = 255  // characters of a name
	maxDescription = 4096 // and of a description
	maxNames       = 1000 // scopes or collections of a tenant
	maxList        = 1000 // tenants of one answer
)

// bound refuses a text of more than most characters.
func bound(r *detail.Reader, key, text string, most int) {
	if utf8.RuneCountInString(text) > most {
		r.Refuse(key, "string_too_long", fmt.Sprintf("String should have at most %d characters", most), map[string]int{"max_length": most})
	}
}

func (h *handler) list(ctx context.Context, ex *pipeline.Exchange, query string) error {
	values, _ := url.ParseQuery(query)
	var problems []detail.Problem
	limit := number(values, "limit", 100, 1, maxList, &problems)
	offset := number(values, "offset", 0, 0, math.MaxInt, &problems)
	if len(problems) > 0 {
		return detail.Invalid(problems...)
	}
	some, total, err := h.store.Tenants(ctx, limit, offset)
	if err != nil {
		return err
	}
	list := []tenant{}
	for _, t := range some {
		list = append(list, public(t))
	}
	return reply(ex, 200, map[string]any{"tenants": list, "total": total})
}

// number reads a number of the query. Of one sent twice the last counts.
func number(values url.Values, name string, otherwise, least, most int, problems *[]detail.Problem) int {
	if !values.Has(name) {
		return otherwise
	}
	text := values[name][len(values[name])-1]
	p := detail.Problem{Loc: []any{"query", name}, Input: chat.AppendString(nil, text)}
	n, ok := detail.Integer(text)
	switch {
	case !ok:
		p.Type, p.Msg = "int_parsing", "Input should be a valid integer, unable to parse string as an integer"
	case n < least:
		p.Type, p.Msg, p.Ctx = "greater_than_equal", fmt.Sprintf("Input should be greater than or equal to %d", least), map[string]int{"ge": least}
	case n > most:
		p.Type, p.Msg, p.Ctx = "less_than_equal", fmt.Sprintf("Input should be less than or equal to %d", most), map[string]int{"le": most}
	default:
		return n
	}
	*problems = append(*problems, p)
	return 0
}

func (h *handler) create(ctx context.Context, ex *pipeline.Exchange) error {
	r, err := detail.Read(ex)
	if err != nil {
		return err
	}
	t := pipeline.Tenant{Name: r.NeedString("name")}
	if r.Has("name") && t.Name == "" {
		r.Refuse("name", "string_too_short", "String should have at least 1 character", map[string]int{"min_length": 1})
	}
	bound(r, "name", t.Name, maxName)
	if d := r.OptString("description"); d != nil {
		t.Description = *d
		bound(r, "description", t.Description, maxDescription)
	}
	t.Policy.Scopes, t.Policy.Collections = r.OptStrings("scopes", maxNames), r.OptStrings("collections", maxNames)
	if err := r.Err(); err != nil {
		return err
	}
	made, key, err := h.store.CreateTenant(ctx, t)
	if err != nil {
		return err
	}
	return reply(ex, 201, struct {
		ID          string    `json:"tenant_id"`
		Name        string    `json:"name"`
		Description *string   `json:"description"`
		Key         string    `json:"api_key"`
		Created     time.Time `json:"created_at"`
	}{made.ID, made.Name, orNull(made.Description), key.Key, made.Created})
}

func (h *handler) one(ctx context.Context, ex *pipeline.Exchange, id string) error {
	t, err := h.store.Tenant(ctx, id)
	if err != nil {
		return err
	}
	out := struct {
		tenant
		Keys  []tenantKey `json:"api_keys"`
		Stats *int        `json:"stats"` // never told, and known to clients
	}{public(t), []tenantKey{}, nil}
	for _, k := range t.Keys {
		out.Keys = append(out.Keys, publicKey(k))
	}
	return reply(ex, 200, out)
}

// tenantKey is a key without its secret.
type tenantKey struct {
	ID      string     `json:"key_id"`
	Tenant  string     `json:"tenant_id"`
	Prefix  string     `json:"key_prefix"`
	Name    *string    `json:"name"`
	Created time.Time  `json:"created_at"`
	Expires *time.Time `json:"expires_at"`
	Used    *time.Time `json:"last_used_at"` // not noted: a request would write to the disk
	Status  string     `json:"status"`       // active or revoked
}

func publicKey(k pipeline.TenantKey) tenantKey {
	out := tenantKey{ID: k.ID, Tenant: k.Tenant, Prefix: "sk-" + k.Tenant, Name: orNull(k.Name), Created: k.Created, Expires: orNever(k.Expires), Status: "active"}
	if k.Revoked {
		out.Status = "revoked"
	}
	return out
}

// orNever is t, or null in place of no time.
func orNever(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// remove deletes a tenant.
func (h *handler) remove(ctx context.Context, ex *pipeline.Exchange, id string) error {
	t, err := h.store.SetTenantStatus(ctx, id, "deleted")
	if err != nil {
		return err
	}
	return reply(ex, 200, map[string]any{
		"status": t.Status, "tenant_id": t.ID, "job_id": nil,
		"message": fmt.Sprintf("Tenant %s is deleted: its keys open nothing any more, and what it has stored stays.", t.ID),
	})
}

func (h *handler) status(ctx context.Context, ex *pipeline.Exchange, id string) error {
	missing := detail.Invalid(detail.Problem{Type: "missing", Loc: []any{"body", "status"}, Msg: "Field required"})
	r, err := detail.Read(ex)
	if e, ok := errors.AsType[*pipeline.Error](err); ok && e.Code == "invalid_request" {
		return missing // it is the only field of this body, which is all that FastAPI knows of it
	}
	if err != nil {
		return err
	}
	if r.Raw("status") == nil {
		return missing
	}
	status := r.NeedString("status")
	if status != "active" && status != "suspended" && status != "deleted" {
		const want = "'active', 'suspended' or 'deleted'"
		r.Refuse("status", "enum", "Input should be "+want, map[string]string{"expected": want})
	}
	if err := r.Err(); err != nil {
		return err
	}
	return h.setStatus(ctx, ex, id, status)
}

func (h *handler) setStatus(ctx context.Context, ex *pipeline.Exchange, id, status string) error {
	t, err := h.store.SetTenantStatus(ctx, id, status)
	if err != nil {
		return err
	}
	return reply(ex, 200, map[string]string{"tenant_id": t.ID, "status": t.Status})
}

func (h *handler) createKey(ctx context.Context, ex *pipeline.Exchange, id string) error {
	k := pipeline.TenantKey{Tenant: id, Name: "api-key"}
	r, err := detail.Read(ex)
	if err != nil {
		return err
	}
	if s := r.OptString("name"); s != nil && *s != "" {
		k.Name = *s
		bound(r, "name", k.Name, maxName)
	}
	if raw := r.Raw("expires_at"); raw != nil {
		var wrong *notMoment
		if k.Expires, wrong = moment(raw); wrong != nil {
			var why any
			if wrong.why != "" {
				why = map[string]string{"error": wrong.why}
			}
			r.Refuse("expires_at", wrong.kind, wrong.msg+wrong.why, why)
		}
	}
	if err := r.Err(); err != nil {
		return err
	}
	made, err := h.store.CreateKey(ctx, k)
	if err != nil {
		return err
	}
	return reply(ex, 201, struct {
		ID      string     `json:"key_id"`
		Tenant  string     `json:"tenant_id"`
		Key     string     `json:"api_key"`
		Name    *string    `json:"name"`
		Created time.Time  `json:"created_at"`
		Expires *time.Time `json:"expires_at"`
	}{made.ID, made.Tenant, made.Key, orNull(made.Name), made.Created, orNever(made.Expires)})
}

func (h *handler) revoke(ctx context.Context, ex *pipeline.Exchange, id, key string) error {
	parsed, err := uuid.Parse(key)
	if err != nil {
		return detail.Invalid(detail.Problem{
			Type: "uuid_parsing", Loc: []any{"path", "key_id"}, Msg: "Input should be a valid UUID, " + err.Error(), Input: chat.AppendString(nil, key),
			Ctx: map[string]string{"error": err.Error()},
		})
	}
	if err := h.store.RevokeKey(ctx, id, parsed.String()); err != nil {
		return err
	}
	ex.Response.Reset()
	ex.Response.Header.SetStatusCode(204)
	ex.Response.SetBody(nil)
	return nil
}
