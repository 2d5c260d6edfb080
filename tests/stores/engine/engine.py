"""Qdrant's engine behind a line protocol: one JSON request a line on standard
input, one JSON answer a line on standard output. engine.go speaks gRPC in front
of it. Requests are the messages of Qdrant's API in their JSON form."""

import json
import os
import sys

import qdrant_edge as q

shards = {}
folder = sys.argv[1]


def number(v):
    return None if v is None else float(v)


def boolean(v):
    """A boolean as a word that is no other value. The binding takes a boolean to
    be matched for an integer, which no boolean in a payload equals."""
    return "\x00true" if v else "\x00false"


def value(v):
    """A payload value as Python has it."""
    if "structValue" in v:
        return payload(v["structValue"].get("fields", {}))
    if "listValue" in v:
        return [value(x) for x in v["listValue"].get("values", [])]
    if "integerValue" in v:
        return int(v["integerValue"])
    if "doubleValue" in v:
        return float(v["doubleValue"])
    return boolean(v["boolValue"]) if "boolValue" in v else v.get("stringValue")


def payload(fields):
    return {k: value(v) for k, v in fields.items()}


def condition(c):
    if "filter" in c:
        return make_filter(c["filter"])
    if "hasId" in c:
        return q.HasIdCondition({i["uuid"] for i in c["hasId"].get("hasId", [])})
    field = c["field"]
    if "range" in field:
        r = field["range"]
        return q.FieldCondition(field["key"], range=q.RangeFloat(
            gte=number(r.get("gte")), gt=number(r.get("gt")), lte=number(r.get("lte")), lt=number(r.get("lt"))))
    m = field["match"]
    if "keywords" in m:
        return q.FieldCondition(field["key"], match=q.MatchAny(m["keywords"].get("strings", [])))
    return q.FieldCondition(field["key"], match=q.MatchValue(m["keyword"] if "keyword" in m else boolean(m["boolean"])))


def make_filter(f):
    if f is None:
        return None
    part = lambda name: [condition(c) for c in f[name]] if f.get(name) else None
    return q.Filter(must=part("must"), should=part("should"), must_not=part("mustNot"))


def vector(v):
    if "sparse" in v:
        return q.SparseVector(v["sparse"].get("indices", []), v["sparse"].get("values", []))
    return v["dense"]["data"]


def create(name, r):
    path = os.path.join(folder, str(len(shards)))
    os.mkdir(path)
    dense = {k: q.EdgeVectorParams(size=int(v["size"]), distance=q.Distance.Cosine)
             for k, v in r.get("vectorsConfig", {}).get("paramsMap", {}).get("map", {}).items()}
    sparse = {k: q.EdgeSparseVectorParams(modifier=q.Modifier.Idf)
              for k in r.get("sparseVectorsConfig", {}).get("map", {})}
    shards[name] = q.EdgeShard.create(path, q.EdgeConfig(vectors=dense or None, sparse_vectors=sparse))
    for field in ("tenant", "doc_id"):
        shards[name].update(q.UpdateOperation.create_field_index(field, q.PayloadSchemaType.Keyword))


def upsert(name, r):
    points = [q.Point(p["id"]["uuid"], {k: vector(v) for k, v in p.get("vectors", {}).get("vectors", {}).get("vectors", {}).items()},
                      payload(p.get("payload", {}))) for p in r["points"]]
    shards[name].update(q.UpdateOperation.upsert_points(points))


def delete(name, r):
    points = r["points"]
    if "filter" in points:
        shards[name].update(q.UpdateOperation.delete_points_by_filter(make_filter(points["filter"])))
    else:
        shards[name].update(q.UpdateOperation.delete_points([i["uuid"] for i in points["points"]["ids"]]))


def get(name, r):
    return [{"id": str(p.id), "payload": p.payload} for p in
            shards[name].retrieve([i["uuid"] for i in r["ids"]], with_payload=True, with_vector=False)]


def scroll(name, r):
    points, following = shards[name].scroll(q.ScrollRequest(
        offset=r["offset"]["uuid"] if "offset" in r else None, limit=r["limit"],
        filter=make_filter(r.get("filter")), with_payload=True, with_vector=False))
    return {"points": [{"id": str(p.id), "payload": p.payload} for p in points], "next": str(following) if following else ""}


def count(name, r):
    return shards[name].count(q.CountRequest(exact=True, filter=make_filter(r.get("filter"))))


def query(name, r):
    corpus = r.get("params", {}).get("idf", {}).get("corpus")
    params = q.SearchParams(idf=q.IdfParams(corpus=make_filter(corpus))) if corpus else None
    hits = shards[name].query(q.QueryRequest(
        limit=int(r["limit"]), query=q.Query.Nearest(vector(r["query"]["nearest"]), using=r["using"]),
        filter=make_filter(r.get("filter")), params=params, with_payload=True))
    return [{"id": str(p.id), "score": p.score, "payload": p.payload} for p in hits]


calls = {f.__name__: f for f in (create, upsert, delete, get, scroll, count, query)}
print("ready engine", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"result": calls[request["call"]](request["name"], request["body"])}
    except Exception as e:  # the engine's word is the answer of the call
        answer = {"error": f"{type(e).__name__}: {e}"}
    print(json.dumps(answer), flush=True)
