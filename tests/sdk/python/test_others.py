"""Clients that ask for the same in other ways: Azure's paths and keys, and Cohere's
rerank."""

import uuid

import cohere
import openai
import pytest

from conftest import DEFAULTS, KEY, KEYED, SHIPPED

ROOT = DEFAULTS.removesuffix("/v1")


def azure(url, **more):
    return openai.AzureOpenAI(
        **{"azure_endpoint": url.removesuffix("/v1"), "api_version": "2024-10-21", "api_key": "any", "max_retries": 0, **more}
    )


def say():
    return [{"role": "user", "content": f"hello {uuid.uuid4()}"}]


def test_azure():
    with azure(DEFAULTS) as c:
        r = c.chat.completions.create(model="gpt-4o", messages=say())
        assert r.model == "gpt-4o" and r.choices[0].message.content
        stream = c.chat.completions.create(model="gpt-4o", messages=say(), stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        assert c.embeddings.create(model="e", input="x").data[0].embedding
        assert c.completions.create(model="m", prompt="x").choices[0].text
        assert c.responses.create(model="m", input="x").output_text
        assert [m.id for m in c.models.list()]
        with pytest.raises(openai.BadRequestError) as e:
            c.chat.completions.create(model="gpt-4o", messages=[])
        assert e.value.param == "messages"


def test_azure_names_the_deployment_in_the_path(stub):
    with azure(SHIPPED, azure_deployment="org/echo") as c:
        c.chat.completions.create(model="another", messages=say())
    sent = stub.last()
    assert sent["path"] == "/v1/chat/completions" and '"model":"org/echo"' in sent["body"]
    assert "api-version" not in str(sent) and "Api-Key" not in sent["header"]


def test_azure_keys():
    with azure(KEYED, api_key=KEY) as c:
        assert c.chat.completions.create(model="echo", messages=say()).choices
    with azure(KEYED, api_key="wrong") as c, pytest.raises(openai.AuthenticationError):
        c.chat.completions.create(model="echo", messages=say())


def test_azure_version_1():
    with openai.OpenAI(base_url=ROOT + "/openai/v1/", api_key="any", max_retries=0) as c:
        assert c.chat.completions.create(model="m", messages=say()).model == "m"


@pytest.mark.parametrize("client", [cohere.ClientV2, cohere.Client])
def test_cohere_rerank(client):
    r = client(api_key="any", base_url=ROOT).rerank(
        model="rerank-v3.5", query="capital of France", documents=["Berlin", "Paris is the capital of France"], top_n=1
    )
    assert [(hit.index, hit.relevance_score > 0) for hit in r.results] == [(1, True)]
    assert r.id and r.meta.billed_units.search_units == 1


def test_cohere_is_told_what_to_use():
    c = cohere.ClientV2(api_key="any", base_url=ROOT)
    with pytest.raises(cohere.NotFoundError) as e:
        c.chat(model="m", messages=say())
    assert "/v1/chat/completions" in e.value.body["error"]["message"]
    with pytest.raises(cohere.NotFoundError) as e:
        c.embed(model="m", texts=["a"], input_type="search_query", embedding_types=["float"])
    assert "/v1/embeddings" in e.value.body["error"]["message"]
