"""A model with retrieval, as a client of OpenAI sees it that knows of none."""

import json
import urllib.request

import pytest

from conftest import DEFAULTS

QUESTION = "Who opens the spillway gate of Tarn Dyke?"
RAG = {"rag": {"collection": "sdk", "include": ["annotations", "citations"], "top_k": 1}}


@pytest.fixture(scope="module", autouse=True)
def documents():
    chunks = [
        {"doc_id": "handbook", "chunk_id": "gate", "text": "The crew of the dam opens the spillway gate of Tarn Dyke 水."},
        {"doc_id": "wheels", "chunk_id": "0", "text": "An undershot wheel turns where the stream has no fall."},
    ]
    body = json.dumps({"collection": "sdk", "chunks": chunks}).encode()
    url = DEFAULTS.removesuffix("/v1") + "/index/chunks"
    urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"}))


def cites(text, annotations):
    """Whether what is annotated is what the text says of the passage."""
    assert annotations
    for a in annotations:
        assert a.type == "url_citation"
        c = getattr(a, "url_citation", a)
        assert (c.url, c.title) == ("urn:rag:handbook#gate", "handbook")
        assert text[c.start_index : c.end_index] == "[1]"


def test_chat(defaults):
    r = defaults.chat.completions.with_raw_response.create(
        model="kb-answer", messages=[{"role": "user", "content": QUESTION}], extra_body=RAG
    )
    assert r.headers["x-rag-status"] == "hit" and r.headers["x-rag-sources"] == "1=handbook#gate"
    r = r.parse()
    cites(r.choices[0].message.content, r.choices[0].message.annotations)
    assert r.rag["citations"][0]["doc_id"] == "handbook"


def test_chat_stream_helper(defaults):
    messages = [{"role": "user", "content": QUESTION}]
    with defaults.chat.completions.stream(model="kb-answer", messages=messages, extra_body=RAG) as stream:
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0].message
    assert "spillway" in message.content and message.annotations


def test_response(defaults):
    r = defaults.responses.create(model="kb-answer", input=QUESTION, extra_body=RAG)
    cites(r.output_text, r.output[0].content[0].annotations)
    assert r.rag["citations"][0]["doc_id"] == "handbook"


def test_response_stream(defaults):
    events = list(defaults.responses.create(model="kb-answer", input=QUESTION, stream=True, extra_body=RAG))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    last = events[-1].response
    added = [e.annotation for e in events if e.type == "response.output_text.annotation.added"]
    final = last.output[0].content[0].annotations
    assert [a["url"] if isinstance(a, dict) else a.url for a in added] == [a.url for a in final]
    cites(last.output_text, final)
    assert last.rag["status"] == "hit"


def test_response_stream_helper(defaults):
    turns = [{"role": "user", "content": [{"type": "input_text", "text": QUESTION}]}]
    with defaults.responses.stream(model="kb-answer", input=turns, extra_body=RAG) as stream:
        for _ in stream:
            pass
        last = stream.get_final_response()
    cites(last.output_text, last.output[0].content[0].annotations)


def test_completion(defaults):
    r = defaults.completions.create(model="kb-answer", prompt=[QUESTION], extra_body=RAG)
    assert "spillway" in r.choices[0].text and r.rag["status"] == "hit"


def test_nothing_unknown_unless_asked_for(defaults):
    r = defaults.responses.create(model="kb-answer", input=QUESTION)
    assert not hasattr(r, "rag") and r.output[0].content[0].annotations is not None
    r = defaults.chat.completions.create(model="kb-answer", messages=[{"role": "user", "content": QUESTION}])
    assert not hasattr(r, "rag")
