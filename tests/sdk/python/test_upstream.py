"""The gateway in front of an upstream that does as it is told."""

import asyncio
import hashlib
import io
import json
import time
import uuid

import openai
import pytest

from conftest import KEYED, KEY, PLAIN


def say(text):
    return [{"role": "user", "content": text}]


def unique():
    return say(f"word {uuid.uuid4()} end")


def test_chat_and_unknown_fields(client, stub):
    messages = unique()
    r = client.chat.completions.create(
        model="echo", messages=messages, temperature=0.5, seed=7, extra_body={"x_mine": {"deep": [1, None, "ü"]}}
    )
    assert r.choices[0].message.content == messages[0]["content"]
    assert r.model_extra["x_unknown"] == {"kept": True}
    sent = json.loads(stub.last()["body"])
    assert sent["x_mine"] == {"deep": [1, None, "ü"]}
    assert sent["seed"] == 7 and sent["temperature"] == 0.5 and sent["model"] == "echo"


def test_the_clients_key_stays_here(client, stub):
    client.chat.completions.create(model="echo", messages=unique())
    assert stub.last()["header"]["Authorization"] == ["Bearer sk-upstream"]


def test_stream_in_order(client):
    messages = say(" ".join(str(i) for i in range(500)) + f" {uuid.uuid4()}")
    text, usage = "", None
    for chunk in client.chat.completions.create(
        model="echo", messages=messages, stream=True, stream_options={"include_usage": True}
    ):
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
        usage = chunk.usage or usage
    assert text == messages[0]["content"]
    assert usage.completion_tokens == 501


def test_stream_arrives_as_it_comes(client):
    stream = client.chat.completions.create(model="drip", messages=unique(), stream=True)
    times = []
    for chunk in stream:
        times.append(time.monotonic())
        if len(times) == 12:
            break
    stream.close()
    # Ten events that were sent 50 ms apart cannot have come at once.
    assert times[11] - times[1] > 0.3


def test_leaving_a_stream_stops_the_upstream(client, stub):
    stream = client.chat.completions.create(model="drip", messages=unique(), stream=True)
    next(iter(stream))
    stream.close()
    stub.wait(lambda r: r["model"] == "drip" and r["left"] and r["done"], "the upstream is told that the client left")


def test_leaving_before_the_answer_stops_the_upstream(client, stub):
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).chat.completions.create(model="hang", messages=unique())
    stub.wait(lambda r: r["model"] == "hang" and r["left"] and r["done"], "the upstream is told that the client left")


def test_tools(client):
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    r = client.chat.completions.create(model="tool", messages=unique(), tools=tools)
    assert r.choices[0].finish_reason == "tool_calls"
    assert json.loads(r.choices[0].message.tool_calls[0].function.arguments) == {"city": "Paris"}
    with client.chat.completions.stream(model="tool", messages=unique(), tools=tools) as s:
        for _ in s:
            pass
        call = s.get_final_completion().choices[0].message.tool_calls[0]
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == (
        "call_stub",
        "get_weather",
        {"city": "Paris"},
    )


def test_embeddings(client, stub):
    r = client.embeddings.create(model="e", input=["a", "b", str(uuid.uuid4())])
    assert [d.embedding[0] for d in r.data] == [0, 1, 2]
    assert json.loads(stub.last()["body"])["encoding_format"] == "base64"  # the library's own default
    r = client.embeddings.create(model="e", input=str(uuid.uuid4()), encoding_format="float", dimensions=4)
    assert r.data[0].embedding == [0, 1 / 16, 2 / 16, 3 / 16]


def test_models_come_from_upstream(client):
    assert {"echo", "tool"} <= {m.id for m in client.models.list()}
    assert client.models.retrieve("echo").id == "echo"
    with pytest.raises(openai.NotFoundError) as e:
        client.models.retrieve("no-such-model")
    assert e.value.code == "model_not_found"


@pytest.mark.parametrize(
    "status, kind",
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_upstream_errors_are_passed_on(plain, status, kind, stream):
    with pytest.raises(kind) as e:
        plain.chat.completions.create(model=f"error-{status}", messages=unique(), stream=stream)
    assert e.value.status_code == status
    assert "the stub was asked for status" in e.value.message
    assert e.value.code == "stub_error"
    assert e.value.request_id, "an error without x-request-id"
    if status in (429, 503):
        assert e.value.response.headers["retry-after"] == "1"


def test_the_library_waits_as_told(plain, stub):
    began = time.monotonic()
    r = plain.with_options(max_retries=1).chat.completions.create(model="once-429", messages=unique())
    assert r.choices[0].message.content
    assert time.monotonic() - began >= 0.9
    assert len([q for q in stub.requests() if q["model"] == "once-429"]) == 2


def test_missing_messages(client):
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model="echo", messages=None, extra_body={"messages": None})
    assert e.value.param == "messages"


def test_a_broken_stream_does_not_look_whole(plain):
    for model in ("cut", "in-stream"):
        got = []
        with pytest.raises((openai.APIError, openai.APIConnectionError)):
            for chunk in plain.chat.completions.create(model=model, messages=unique(), stream=True):
                got.append(chunk)
        assert len(got) <= 2
        assert not any(c.choices and c.choices[0].finish_reason for c in got)


def test_a_broken_body_is_an_error(plain):
    with pytest.raises(openai.InternalServerError) as e:
        plain.chat.completions.create(model="cut", messages=unique())
    assert e.value.status_code == 502


def test_large_answer_and_large_prompt(client):
    assert len(client.chat.completions.create(model="large", messages=unique()).choices[0].message.content) == 1 << 20
    messages = say("y" * (3 << 20) + str(uuid.uuid4()))
    assert client.chat.completions.create(model="echo", messages=messages).choices[0].message.content == messages[0]["content"]


def test_raw_and_streaming_response(client):
    messages = unique()
    raw = client.chat.completions.with_raw_response.create(model="echo", messages=messages)
    assert raw.http_response.headers["content-type"].startswith("application/json")
    assert raw.headers["x-request-id"]
    assert raw.parse().choices[0].message.content == messages[0]["content"]
    with client.chat.completions.with_streaming_response.create(model="echo", messages=messages) as response:
        assert json.loads(b"".join(response.iter_bytes()))["object"] == "chat.completion"


def test_responses(client):
    text = str(uuid.uuid4())
    assert client.responses.create(model="echo", input=text).output_text == text
    with client.responses.stream(model="echo", input=text) as stream:
        kinds = [e.type for e in stream]
        assert stream.get_final_response().output_text == text
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert client.responses.retrieve("resp_17").id == "resp_17"


def test_a_response_in_one_piece_is_streamed(client):
    text = str(uuid.uuid4())
    with client.responses.stream(model="unstreamed", input=text) as stream:
        events = list(stream)
        assert stream.get_final_response().output_text == text
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == text


def test_an_error_event_of_a_response_is_an_event(client):
    events = list(client.responses.create(model="in-stream", input="x", stream=True))
    assert [e.type for e in events] == ["response.created", "response.in_progress", "error"]
    assert (events[-1].code, events[-1].message) == ("server_error", "the stub was told to fail")


def test_a_stored_prompt_names_its_model(client, stub):
    assert client.responses.create(prompt={"id": "pmpt_1", "variables": {"a": "b"}}).id == "resp_stub"
    assert json.loads(stub.last()["body"]) == {"prompt": {"id": "pmpt_1", "variables": {"a": "b"}}}


def test_base_url_without_version(client, stub):
    # The vendors' own suites use such a base.
    with client.with_options(base_url=str(client.base_url).replace("/v1/", "/")) as c:
        messages = unique()
        assert c.chat.completions.create(model="echo", messages=messages).choices[0].message.content == messages[0]["content"]
        assert c.responses.retrieve("resp_17", include=["a", "b"]).id == "resp_17"
        assert c.files.delete("file-stub").deleted
        assert c.audio.speech.create(model="tts", voice="alloy", input="hello").content.startswith(b"ID3")
        assert [(r["path"], r["query"]) for r in stub.requests()] == [
            ("/v1/chat/completions", ""),
            ("/v1/responses/resp_17", "include%5B%5D=a&include%5B%5D=b"),
            ("/v1/files/file-stub", ""),
            ("/v1/audio/speech", ""),
        ]


def test_completions(client):
    text = str(uuid.uuid4())
    assert client.completions.create(model="m", prompt=text).choices[0].text == text + "!"
    assert "".join(c.choices[0].text for c in client.completions.create(model="m", prompt=text, stream=True)) == text + "!"


def test_files(client, stub):
    content = hashlib.sha256(b"seed").digest() * (20 << 15)  # 20 MiB: more than a JSON body may have
    f = client.files.create(file=("data.jsonl", io.BytesIO(content)), purpose="batch")
    assert (f.id, f.bytes, f.filename, f.purpose) == ("file-stub", len(content), "data.jsonl", "batch")
    assert stub.last()["size"] > len(content)
    assert len(client.files.content("file-stub").read()) == 64 * 4096 * 4
    assert client.files.delete("file-stub").deleted


def test_audio(client):
    t = client.audio.transcriptions.create(model="whisper", file=("a.wav", b"x" * 1000))
    assert t.text == "a.wav has 1000 bytes for whisper"
    speech = client.audio.speech.create(model="tts", voice="alloy", input="hello")
    assert speech.content.startswith(b"ID3\x00\xff")


def test_unknown_path_reaches_the_upstream(client):
    with pytest.raises(openai.NotFoundError) as e:
        client.get("/no/such/thing", cast_to=object)
    assert e.value.code == "unknown_url"


def test_keys():
    for key in ("sk-wrong", "x" * 5000):
        with openai.OpenAI(base_url=KEYED, api_key=key, max_retries=0) as c:
            with pytest.raises(openai.AuthenticationError) as e:
                c.chat.completions.create(model="echo", messages=unique())
            assert e.value.type == "authentication_error"
            with pytest.raises(openai.AuthenticationError):
                c.models.list()
    with openai.OpenAI(base_url=KEYED, api_key=KEY, max_retries=0) as c:
        assert c.chat.completions.create(model="echo", messages=unique()).choices


def test_tenants_do_not_share_answers():
    messages = unique()

    def ask(key):
        with openai.OpenAI(base_url=KEYED, api_key=key, max_retries=0) as c:
            r = c.chat.completions.with_raw_response.create(model="echo", messages=messages)
            return r.headers["x-headrace-cache"]

    assert [ask(KEY), ask(KEY), ask("sk-other-key"), ask("sk-other-key")] == ["miss", "hit", "miss", "hit"]


def test_async(stub):
    async def go():
        async with openai.AsyncOpenAI(base_url=PLAIN, api_key="any", max_retries=0) as c:
            texts = [f"{i} {uuid.uuid4()}" for i in range(50)]

            async def one(text):
                out = ""
                async for chunk in await c.chat.completions.create(model="echo", messages=say(text), stream=True):
                    out += chunk.choices[0].delta.content or ""
                return out

            assert await asyncio.gather(*(one(t) for t in texts)) == texts

    asyncio.run(go())
