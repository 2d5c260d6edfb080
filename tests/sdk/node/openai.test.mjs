// The official OpenAI library for Node against running gateways, which the Go test
// beside this folder starts and names in the environment.

import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

// The packages are installed outside the source tree.
const require = createRequire(process.env.HEADRACE_TEST_NODE + '/package.json');
const { OpenAI, AzureOpenAI } = require('openai');
const { toFile } = require('openai/uploads');

const { HEADRACE_TEST_DEFAULTS, HEADRACE_TEST_PLAIN, HEADRACE_TEST_SHIPPED, HEADRACE_TEST_KEYED, HEADRACE_TEST_KEY } =
  process.env;
const stub = process.env.HEADRACE_TEST_STUB.replace(/\/v1$/, '');

const connect = (baseURL, more = {}) => new OpenAI({ baseURL, apiKey: 'any', maxRetries: 0, timeout: 30_000, ...more });
const say = (content) => [{ role: 'user', content }];
const unique = () => say(`word ${randomUUID()} end`);
const requests = async () => (await fetch(stub + '/_stub/requests')).json();

async function until(what, cond) {
  for (let end = Date.now() + 20_000; !(await cond()); await sleep(20)) {
    assert.ok(Date.now() < end, `waited in vain: ${what}`);
  }
}

async function rejects(promise, kind, status) {
  try {
    await promise;
  } catch (e) {
    assert.ok(e instanceof kind, `${e.constructor.name} where ${kind.name} was expected: ${e.message}`);
    if (status) assert.equal(e.status, status);
    return e;
  }
  assert.fail(`no ${kind.name}`);
}

test('answers from documents', async (t) => {
  const client = connect(HEADRACE_TEST_DEFAULTS);
  const input = 'Who opens the spillway gate of Tarn Dyke?';
  const rag = { collection: 'sdk-node', include: ['annotations', 'citations'], top_k: 1 };
  const chunks = [{ doc_id: 'handbook', chunk_id: 'gate', text: 'The crew of the dam opens the spillway gate of Tarn Dyke.' }];
  await client.post('/../index/chunks', { body: { collection: 'sdk-node', chunks } });

  const cites = (text, annotations) => {
    assert.ok(annotations.length > 0);
    for (const a of annotations) {
      const c = a.url_citation ?? a;
      assert.equal(c.url, 'urn:rag:handbook#gate');
      assert.equal(text.slice(c.start_index, c.end_index), '[1]');
    }
  };

  await t.test('chat', async () => {
    const r = await client.chat.completions.create({ model: 'kb-answer', messages: say(input), rag });
    cites(r.choices[0].message.content, r.choices[0].message.annotations);
  });

  await t.test('chat, stream helper', async () => {
    const stream = client.chat.completions.stream({ model: 'kb-answer', messages: say(input), rag });
    const r = await stream.finalChatCompletion();
    assert.match(r.choices[0].message.content, /spillway/);
  });

  await t.test('response', async () => {
    const r = await client.responses.create({ model: 'kb-answer', input, rag });
    cites(r.output_text, r.output[0].content[0].annotations);
  });

  await t.test('response, stream helper', async () => {
    const stream = client.responses.stream({ model: 'kb-answer', input, rag });
    const added = [];
    for await (const e of stream) if (e.type === 'response.output_text.annotation.added') added.push(e.annotation);
    const r = await stream.finalResponse();
    cites(r.output_text, r.output[0].content[0].annotations);
    cites(r.output_text, added);
  });
});

test('built-in models', async (t) => {
  const client = connect(HEADRACE_TEST_DEFAULTS);

  await t.test('chat', async () => {
    const r = await client.chat.completions.create({ model: 'gpt-4o-mini', messages: unique() });
    assert.ok(r.choices[0].message.content);
    assert.equal(r.choices[0].finish_reason, 'stop');
    assert.ok(r.usage.total_tokens > 0);
  });

  await t.test('stream', async () => {
    const stream = await client.chat.completions.create({
      model: 'm',
      messages: unique(),
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const c of stream) chunks.push(c);
    assert.ok(chunks.length > 3);
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.ok(chunks.at(-1).usage.total_tokens > 0);
    assert.equal(chunks.at(-2).choices[0].finish_reason, 'stop');
  });

  await t.test('stream helper', async () => {
    const runner = client.chat.completions.stream({ model: 'm', messages: unique() });
    assert.ok(await runner.finalContent());
  });

  await t.test('forced tool call', async () => {
    const r = await client.chat.completions.create({
      model: 'm',
      messages: unique(),
      tools: [{ type: 'function', function: { name: 'get_weather', parameters: { type: 'object' } } }],
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
    });
    const call = r.choices[0].message.tool_calls[0];
    assert.equal(call.function.name, 'get_weather');
    JSON.parse(call.function.arguments);
  });

  await t.test('embeddings', async () => {
    const r = await client.embeddings.create({ model: 'm', input: ['one', 'two'] });
    assert.equal(r.data.length, 2);
    const f = await client.embeddings.create({ model: 'm', input: 'one', encoding_format: 'float', dimensions: 16 });
    assert.equal(f.data[0].embedding.length, 16);
  });

  await t.test('models', async () => {
    const names = [];
    for await (const m of client.models.list()) names.push(m.id);
    assert.ok(names.includes('offline'));
  });

  await t.test('cache', async () => {
    const body = { model: 'm', messages: unique() };
    const first = await client.chat.completions.create(body).withResponse();
    const second = await client.chat.completions.create(body).withResponse();
    assert.equal(first.response.headers.get('x-headrace-cache'), 'miss');
    assert.equal(second.response.headers.get('x-headrace-cache'), 'hit');
    assert.deepEqual(first.data, second.data);
  });

  await t.test('responses', async () => {
    assert.ok((await client.responses.create({ model: 'm', input: 'hello' })).output_text);
    const stream = client.responses.stream({ model: 'm', input: 'hello' });
    assert.ok((await stream.finalResponse()).output_text);
  });
});

for (const [name, url] of Object.entries({ plain: HEADRACE_TEST_PLAIN, shipped: HEADRACE_TEST_SHIPPED })) {
  test(`upstream, ${name} file`, async (t) => {
    const client = connect(url);

    await t.test('chat keeps unknown fields', async () => {
      const messages = unique();
      const r = await client.chat.completions.create({ model: 'echo', messages, x_mine: { deep: [1, null, 'ü'] } });
      assert.equal(r.choices[0].message.content, messages[0].content);
      assert.deepEqual(r.x_unknown, { kept: true });
      const sent = (await requests()).find((q) => q.body.includes(messages[0].content));
      assert.deepEqual(JSON.parse(sent.body).x_mine, { deep: [1, null, 'ü'] });
    });

    await t.test('stream in order', async () => {
      const text = Array.from({ length: 500 }, (_, i) => i).join(' ') + ' ' + randomUUID();
      let got = '';
      for await (const c of await client.chat.completions.create({ model: 'echo', messages: say(text), stream: true })) {
        got += c.choices[0].delta.content ?? '';
      }
      assert.equal(got, text);
    });

    await t.test('leaving a stream stops the upstream', async () => {
      const messages = unique();
      const stream = await client.chat.completions.create({ model: 'drip', messages, stream: true });
      for await (const _ of stream) break;
      await until('the upstream is told', async () =>
        (await requests()).some((q) => q.body.includes(messages[0].content) && q.left && q.done),
      );
    });

    await t.test('leaving before the answer stops the upstream', async () => {
      const messages = unique();
      const gone = new AbortController();
      const call = client.chat.completions.create({ model: 'hang', messages }, { signal: gone.signal });
      const mine = (q) => q.body.includes(messages[0].content);
      const failed = rejects(call, OpenAI.APIUserAbortError);
      await until('the upstream is asked', async () => (await requests()).some(mine));
      gone.abort();
      await failed;
      await until('the upstream is told', async () => (await requests()).some((q) => mine(q) && q.left && q.done));
    });

    await t.test('streamed tool call', async () => {
      const tools = [{ type: 'function', function: { name: 'get_weather', parameters: { type: 'object' } } }];
      const runner = client.chat.completions.stream({ model: 'tool', messages: unique(), tools });
      const call = (await runner.finalMessage()).tool_calls[0];
      assert.deepEqual(JSON.parse(call.function.arguments), { city: 'Paris' });
    });

    await t.test('embeddings', async () => {
      const r = await client.embeddings.create({ model: 'e', input: ['a', 'b', randomUUID()] });
      assert.deepEqual(r.data.map((d) => d.embedding[0]), [0, 1, 2]);
    });

    await t.test('models', async () => {
      assert.equal((await client.models.retrieve('echo')).id, 'echo');
      assert.equal((await rejects(client.models.retrieve('nope'), OpenAI.NotFoundError, 404)).code, 'model_not_found');
    });

    await t.test('files', async () => {
      const content = Buffer.alloc(9 << 20, createHash('sha256').update('seed').digest());
      const f = await client.files.create({ file: await toFile(content, 'data.jsonl'), purpose: 'batch' });
      assert.equal(f.bytes, content.length);
      const back = await (await client.files.content('file-stub')).arrayBuffer();
      assert.equal(back.byteLength, 64 * 4096 * 4);
    });

    await t.test('responses', async () => {
      const text = randomUUID();
      assert.equal((await client.responses.create({ model: 'echo', input: text })).output_text, text);
      assert.equal((await client.responses.stream({ model: 'echo', input: text }).finalResponse()).output_text, text);
    });
  });
}

test('errors', async (t) => {
  const client = connect(HEADRACE_TEST_PLAIN);
  for (const [status, kind] of [
    [400, OpenAI.BadRequestError],
    [401, OpenAI.AuthenticationError],
    [403, OpenAI.PermissionDeniedError],
    [404, OpenAI.NotFoundError],
    [429, OpenAI.RateLimitError],
    [500, OpenAI.InternalServerError],
  ]) {
    await t.test(`${status}`, async () => {
      const call = client.chat.completions.create({ model: `error-${status}`, messages: unique() });
      const e = await rejects(call, kind, status);
      assert.equal(e.code, 'stub_error');
      assert.ok(e.requestID);
      if (status === 429) assert.equal(e.headers.get('retry-after'), '1');
    });
  }

  await t.test('the library waits as told', async () => {
    const model = 'once-429';
    await fetch(stub + '/_stub/reset', { method: 'POST' });
    const began = performance.now();
    await connect(HEADRACE_TEST_PLAIN, { maxRetries: 1 }).chat.completions.create({ model, messages: unique() });
    assert.ok(performance.now() - began >= 900);
  });

  await t.test('a broken stream does not look whole', async () => {
    const stream = await client.chat.completions.create({ model: 'cut', messages: unique(), stream: true });
    await assert.rejects(async () => {
      for await (const c of stream) assert.equal(c.choices[0].finish_reason, null);
    });
  });

  await t.test('keys', async () => {
    const wrong = connect(HEADRACE_TEST_KEYED, { apiKey: 'sk-wrong' });
    await rejects(wrong.chat.completions.create({ model: 'echo', messages: unique() }), OpenAI.AuthenticationError, 401);
    const right = connect(HEADRACE_TEST_KEYED, { apiKey: HEADRACE_TEST_KEY });
    assert.ok((await right.chat.completions.create({ model: 'echo', messages: unique() })).choices.length);
  });
});

test('as an Azure client, and from a page', async (t) => {
  await t.test('azure', async () => {
    const endpoint = HEADRACE_TEST_DEFAULTS.replace(/\/v1$/, '');
    const client = new AzureOpenAI({ endpoint, apiVersion: '2024-10-21', apiKey: 'any', maxRetries: 0 });
    const r = await client.chat.completions.create({ model: 'gpt-4o', messages: unique() });
    assert.equal(r.model, 'gpt-4o');
    assert.ok((await client.embeddings.create({ model: 'e', input: 'x' })).data[0].embedding.length > 0);
  });

  // What a browser does with dangerouslyAllowBrowser, by the Fetch Standard.
  await t.test('page', async () => {
    const origin = 'https://app.example';
    const asked = 'authorization,content-type,x-stainless-lang';
    const before = await fetch(HEADRACE_TEST_KEYED + '/chat/completions', {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': asked },
    });
    assert.ok(before.ok);
    assert.equal(before.headers.get('access-control-allow-headers'), asked);
    for (const [apiKey, status] of [[HEADRACE_TEST_KEY, 200], ['wrong', 401]]) {
      const after = await fetch(HEADRACE_TEST_KEYED + '/models', { headers: { origin, authorization: `Bearer ${apiKey}` } });
      assert.equal(after.status, status);
      for (const h of [before.headers, after.headers]) assert.ok(['*', origin].includes(h.get('access-control-allow-origin')));
    }
  });
});
