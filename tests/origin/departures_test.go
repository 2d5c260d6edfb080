package origin

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
)

// departures are the cases that are answered otherwise on purpose, with the
// status that they get. docs/replaced-service.md gives the reasons.
var departures = map[string]int{
	// Answers of upstreams keep their meaning.
	"chat_400":            400,
	"embed_429":           429,
	"probe_429":           429,
	"v1_chat_404":         404,
	"v1_chat_bad_message": 400,
	"v1_chat_500":         503,
	// The paths below /v1 speak OpenAI's language.
	"v1_chat":                 200,
	"v1_chat_any_model":       200,
	"v1_chat_tools":           200,
	"v1_chat_many_fields":     200,
	"v1_chat_extra_body":      200,
	"v1_chat_text_plain":      200,
	"v1_chat_unknown_field":   200,
	"v1_chat_client_argument": 200,
	"v1_chat_no_model":        400,
	"v1_chat_missing":         200,
	"v1_chat_string":          400,
	"v1_chat_bad_json_no_key": 401,
	"v1_chat_list":            400,
	"v1_chat_body_string":     400,
	"v1_chat_no_body":         400,
	"v1_embed_base64_dropped": 400,
	"v1_embed_tokens":         400,
	"v1_embed_missing":        400,
	"v1_embed_empty_list":     400,
	"v1_embed_empty_string":   400,
	"v1_embed_list_body":      400,
	"v1_embed_no_key":         401,
	"v1_embed_down":           400,
	"not_found":               404,
	"not_found_v1":            400,
	// Requests that make no sense are the caller's fault.
	"chat_nan_temperature": 422,
	"search_top0":          422,
	"search_top_negative":  422,
	"retrieve_top0":        422,
	"upsert_blank_type":    422,
	// Filters work, and deleting deletes.
	"search_filter":      200,
	"delete_doc":         200,
	"delete_doc_unknown": 200,
	// Half a search is better than none.
	"search_embed_429": 200,
	"retrieve":         200,
	"retrieve_hops2":   200,
	// A store that is not set up is 503.
	"retrieve_unconfigured":      503,
	"delete_vector_unconfigured": 503,
	"delete_graph_unconfigured":  503,
	// Repairs are repairs.
	"extract_not_json_repair": 422,
	// The embedded store is always there.
	"index_store_fails":     200,
	"search_store_fails":    200,
	"upsert_down":           200,
	"admin_db_down":         200,
	"whoami_tenant_db_down": 401,
	// Queries that could do more than read are refused.
	"query_set_tab":        400,
	"query_create_paren":   400,
	"query_call_dbms":      400,
	"query_two_statements": 400,
	// The embedded store has no query language.
	"query":                     503,
	"query_params":              503,
	"query_no_rows":             503,
	"query_node":                503,
	"query_path":                503,
	"query_big_int":             503,
	"query_date":                503,
	"query_datetime":            503,
	"query_point":               503,
	"query_unnamed":             503,
	"query_param_named_query":   503,
	"query_param_missing":       503,
	"query_tenant_param_forced": 503,
	"query_in_string":           503,
	"query_in_comment":          503,
	"query_call_sub":            503,
	"query_other_tenant":        503,
	"query_explain":             503,
	// What is open, and what is not.
	"health_head":         200,
	"whoami_empty_bearer": 200,
	"metrics":             401,
	"metrics_ignores_key": 401,
	"openapi":             401,
	"docs":                401,
}

// Scores differ in what they mean and not in their type, so that the cases are as
// recorded to the replay.
func TestScoresThatDiffer(t *testing.T) {
	page, err := os.ReadFile("../../docs/replaced-service.md")
	if err != nil {
		t.Fatal(err)
	}
	base, v := start(t, map[string]string{"UPSTREAM": upstream(t).URL + "/v1", "STORES": "on"}), values{}
	for _, r := range load(t, "setup.jsonl") {
		send(t, base, &r, v)
	}
	type hit struct {
		Score   float64
		Payload struct{ Text string }
		Scores  struct{ Vector *float64 }
	}
	hits := func(r recorded) (list []hit) {
		t.Helper()
		status, body := send(t, base, &r, v)
		var answer struct{ Hits []hit }
		if err := json.Unmarshal(body, &answer); err != nil || status != 200 || len(answer.Hits) == 0 {
			t.Fatalf("%s: %d %s", r.Name, status, body)
		}
		return answer.Hits
	}
	cases := 0
	for _, r := range load(t, "golden.jsonl") {
		if r.Name != "search" && r.Name != "search_zh" {
			continue
		}
		cases++
		if !strings.Contains(string(page), "`"+r.Name+"`") {
			t.Errorf("%s: not on the page", r.Name)
		}
		var q struct{ Query string }
		if err := json.Unmarshal(r.Request, &q); err != nil {
			t.Fatal(err)
		}
		near := func(x float64, h hit) bool { return math.Abs(x-cosine(vector(q.Query), vector(h.Payload.Text))) < 1e-6 }
		for _, h := range hits(r) {
			if h.Score > 2.0/61 || h.Scores.Vector == nil || !near(*h.Scores.Vector, h) {
				t.Errorf("%s: %+v", r.Name, h)
			}
		}
		r.Request = append(r.Request[:len(r.Request)-1:len(r.Request)-1], `,"mode":"dense"}`...)
		for _, h := range hits(r) {
			if !near(h.Score, h) {
				t.Errorf("%s, dense: %+v", r.Name, h)
			}
		}
	}
	if cases != 2 {
		t.Errorf("%d cases", cases)
	}
}
