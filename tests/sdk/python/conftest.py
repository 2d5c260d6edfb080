"""Clients of the running gateways. The Go test beside this folder starts them and
names them in the environment; nothing but base URL and key differs from a client
of OpenAI."""

import json
import os
import time
import urllib.request

import openai
import pytest

KEY = os.environ["HEADRACE_TEST_KEY"]
# Where each gateway is reached: on its built-in models, in front of a scripted
# upstream with the plain file and with the shipped one, and with keys set.
DEFAULTS = os.environ["HEADRACE_TEST_DEFAULTS"]
PLAIN = os.environ["HEADRACE_TEST_PLAIN"]
SHIPPED = os.environ["HEADRACE_TEST_SHIPPED"]
KEYED = os.environ["HEADRACE_TEST_KEYED"]
STUB = os.environ["HEADRACE_TEST_STUB"].removesuffix("/v1")


@pytest.fixture
def defaults():
    with openai.OpenAI(base_url=DEFAULTS, api_key="any", max_retries=0) as c:
        yield c


@pytest.fixture(params=["plain", "shipped"])
def client(request):
    """A client in front of the scripted upstream, once with each file."""
    url = {"plain": PLAIN, "shipped": SHIPPED}[request.param]
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=30) as c:
        yield c


@pytest.fixture
def plain():
    """The plain file has no breaker, so that failures in a row stay what they are."""
    with openai.OpenAI(base_url=PLAIN, api_key="any", max_retries=0, timeout=30) as c:
        yield c


@pytest.fixture
def stub():
    return Stub()


class Stub:
    """What the upstream received."""

    def __init__(self):
        urllib.request.urlopen(urllib.request.Request(STUB + "/_stub/reset", method="POST"))

    def requests(self):
        return json.load(urllib.request.urlopen(STUB + "/_stub/requests"))

    def last(self):
        return self.requests()[-1]

    def wait(self, cond, what):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if any(cond(r) for r in self.requests()):
                return
            time.sleep(0.02)
        raise AssertionError(f"waited in vain: {what}; got {self.requests()}")
