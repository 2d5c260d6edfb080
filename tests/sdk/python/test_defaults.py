"""The gateway as it comes: no key, no server, the built-in models."""

import asyncio
import uuid

import openai
import pytest

from conftest import DEFAULTS


def ask(text):
    # A text of its own for each call, so that no answer comes from the cache by accident.
    return [{"role": "user", "content": f"{text} {uuid.uuid4()}"}]


def test_chat(defaults):
    r = defaults.chat.completions.create(model="gpt-4o-mini", messages=ask("hello"))
    assert r.object == "chat.completion"
    assert r.choices[0].message.role == "assistant"
    assert r.choices[0].message.content
    assert r.choices[0].finish_reason == "stop"
    assert r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens > 0


def test_any_model_name_is_kept(defaults):
    r = defaults.chat.completions.create(model="my-own/model:7b", messages=ask("hello"))
    assert r.model == "my-own/model:7b"


def test_stream_is_the_same_answer_in_pieces(defaults):
    messages = ask("tell me more")
    whole = defaults.chat.completions.create(model="m", messages=messages, extra_headers={"X-Headrace-Skip": "cache"})
    pieces, ids, finish = [], set(), []
    with defaults.chat.completions.create(model="m", messages=messages, stream=True) as stream:
        for chunk in stream:
            assert chunk.object == "chat.completion.chunk"
            ids.add(chunk.id)
            for choice in chunk.choices:
                pieces.append(choice.delta.content or "")
                finish.append(choice.finish_reason)
    assert "".join(pieces) == whole.choices[0].message.content
    assert len(pieces) > 2, "the answer came in one piece"
    assert len(ids) == 1
    assert [f for f in finish if f] == ["stop"] and finish[-1] == "stop"


def test_stream_usage(defaults):
    chunks = list(
        defaults.chat.completions.create(
            model="m", messages=ask("hello"), stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens > 0
    assert all(c.usage is None for c in chunks[:-1])


def test_stream_helper(defaults):
    with defaults.chat.completions.stream(model="m", messages=ask("hello")) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
FORCED = {"type": "function", "function": {"name": "get_weather"}}


def test_forced_tool_call(defaults):
    r = defaults.chat.completions.create(model="m", messages=ask("weather"), tools=TOOLS, tool_choice=FORCED)
    call = r.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert call.id
    import json

    assert isinstance(json.loads(call.function.arguments), dict)


def test_forced_tool_call_streamed(defaults):
    with defaults.chat.completions.stream(model="m", messages=ask("weather"), tools=TOOLS, tool_choice=FORCED) as s:
        for _ in s:
            pass
        call = s.get_final_completion().choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather"


def test_embeddings(defaults):
    r = defaults.embeddings.create(model="m", input=["cats eat mice", "cats eat mice", "stock markets fell"])
    assert [d.index for d in r.data] == [0, 1, 2]
    assert r.data[0].embedding == r.data[1].embedding != r.data[2].embedding
    floats = defaults.embeddings.create(model="m", input="cats eat mice", encoding_format="float")
    assert floats.data[0].embedding == pytest.approx(r.data[0].embedding, abs=1e-6)
    short = defaults.embeddings.create(model="m", input="cats eat mice", dimensions=16)
    assert len(short.data[0].embedding) == 16


def test_models(defaults):
    names = [m.id for m in defaults.models.list()]
    assert "offline" in names
    assert defaults.models.retrieve("offline").id == "offline"


def test_cache_hit(defaults):
    messages = ask("the same twice")
    first = defaults.chat.completions.with_raw_response.create(model="m", messages=messages)
    second = defaults.chat.completions.with_raw_response.create(model="m", messages=messages)
    assert first.headers["x-headrace-cache"] == "miss"
    assert second.headers["x-headrace-cache"] == "hit"
    assert "age" in second.headers
    assert first.parse() == second.parse()
    third = defaults.chat.completions.with_raw_response.create(
        model="m", messages=messages, extra_headers={"X-Headrace-Skip": "cache"}
    )
    assert third.headers.get("x-headrace-cache") != "hit"


def test_cached_stream(defaults):
    messages = ask("the same stream twice")

    def go():
        r = defaults.chat.completions.with_raw_response.create(model="m", messages=messages, stream=True)
        return r.headers["x-headrace-cache"], [c.model_dump() for c in r.parse()]

    first, second = go(), go()
    assert (first[0], second[0]) == ("miss", "hit")
    assert first[1] == second[1]


def test_missing_messages(defaults):
    with pytest.raises(openai.BadRequestError) as e:
        defaults.chat.completions.create(model="m", messages=None, extra_body={"messages": None})
    assert e.value.status_code == 400
    assert e.value.type == "invalid_request_error"


def test_logprobs(defaults):
    messages = ask("hello")
    choice = defaults.chat.completions.create(model="any", messages=messages, logprobs=True, top_logprobs=2).choices[0]
    assert "".join(t.token for t in choice.logprobs.content) == choice.message.content
    with defaults.chat.completions.stream(model="any", messages=messages, logprobs=True) as stream:
        for _ in stream:
            pass
        streamed = stream.get_final_completion().choices[0]
    assert [t.token for t in streamed.logprobs.content] == [t.token for t in choice.logprobs.content]


def test_completions(defaults):
    r = defaults.completions.create(model="m", prompt="hello")
    assert r.object == "text_completion" and r.choices[0].text


def test_responses(defaults):
    r = defaults.responses.create(model="m", input="hello")
    assert r.output_text and r.status == "completed"


def test_responses_stream(defaults):
    events = list(defaults.responses.create(model="m", input="hello", stream=True))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert [e.sequence_number for e in events] == list(range(len(events)))
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == events[-1].response.output_text != ""


def test_responses_stream_helper(defaults):
    with defaults.responses.stream(model="m", input="hello") as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text


def test_async(defaults):
    async def go():
        async with openai.AsyncOpenAI(base_url=DEFAULTS, api_key="any", max_retries=0) as c:
            answers = await asyncio.gather(
                *(c.chat.completions.create(model="m", messages=ask(f"question {i}")) for i in range(20))
            )
            assert all(a.choices[0].message.content for a in answers)
            text = ""
            async with await c.chat.completions.create(model="m", messages=ask("hello"), stream=True) as stream:
                async for chunk in stream:
                    text += chunk.choices[0].delta.content or ""
            assert text

    asyncio.run(go())


def test_large_prompt(defaults):
    r = defaults.chat.completions.create(model="m", messages=ask("x" * (2 << 20)))
    assert r.choices[0].message.content
