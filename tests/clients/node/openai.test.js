// openai, set up as its users set it up: a token and another base URL.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import OpenAI from "openai";
import { PIXEL, refuses, token, url } from "./house.js";

const model = "gemini-3.8-flash";
const client = (options = {}) => new OpenAI({ apiKey: token, baseURL: `${url}/v1`, maxRetries: 0, ...options });
const ai = client();
const said = (content) => [{ role: "user", content }];
const ask = (content, more = {}, from = ai) => from.chat.completions.create({ model, messages: said(content), ...more });
const tool = (name) => ({
  type: "function",
  function: { name, parameters: { type: "object", properties: { harbour: { type: "string" } }, required: ["harbour"] } },
});
const failsWith = (kind, promise, look = () => {}) =>
  refuses(promise, (error) => {
    assert.ok(error instanceof kind, `${error}`);
    look(error);
  });

describe("openai", () => {
  test("a prompt is answered with its cost", async () => {
    const answer = await ask("Name a wader.", { temperature: 0.1, seed: 3, reasoning_effort: "low" });
    assert.ok(answer.choices[0].message.content);
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.ok(answer.usage.total_tokens > 0);
    assert.ok(answer._request_id);
  });

  test("several answers, a stop and a length are respected", async () => {
    const several = await ask("Three names.", { n: 3 });
    assert.deepEqual(several.choices.map((choice) => choice.index), [0, 1, 2]);
    const word = (await ask("A long story.")).choices[0].message.content.split(" ")[4];
    assert.ok(!(await ask("A long story.", { stop: [word] })).choices[0].message.content.includes(word));
    assert.equal((await ask("A long story.", { max_tokens: 4 })).choices[0].finish_reason, "length");
  });

  test("a stream comes in pieces and ends with its cost", async () => {
    const chunks = [];
    const stream = await ask("Tell of the sea, at length.", { stream: true, stream_options: { include_usage: true } });
    for await (const chunk of stream) chunks.push(chunk);
    const last = chunks.pop();
    assert.deepEqual(last.choices, []);
    assert.ok(last.usage.total_tokens > 0 && chunks.length > 2);
    assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
    assert.ok(chunks.every((chunk) => chunk.usage === null));
  });

  test("the stream helper puts text and calls together", async () => {
    const text = await ai.chat.completions.stream({ model, messages: said("Tell of the sea.") }).finalContent();
    assert.ok(text);
    const tools = [tool("tideAt"), tool("moonAt")];
    const runner = ai.chat.completions.stream({ model, messages: said("Ask tideAt and moonAt."), tools });
    const done = [];
    runner.on("tool_calls.function.arguments.done", (event) => done.push([event.index, event.name]));
    const { choices } = await runner.finalChatCompletion();
    assert.equal(choices[0].finish_reason, "tool_calls");
    assert.deepEqual(choices[0].message.tool_calls.map((call) => call.function.name), ["tideAt", "moonAt"]);
    assert.deepEqual(done, [[0, "tideAt"], [1, "moonAt"]]);
  });

  test("functions are run by the library", async () => {
    const asked = [];
    const run = {
      type: "function",
      function: { ...tool("tideAt").function, parse: JSON.parse, function: ({ harbour }) => asked.push(harbour) && "04:10" },
    };
    const runner = ai.chat.completions.runTools({ model, messages: said("Ask tideAt."), tools: [run] });
    assert.ok(await runner.finalContent());
    assert.equal(asked.length, 1);
    assert.equal(typeof asked[0], "string");
  });

  test("JSON follows a schema", async () => {
    const properties = { harbour: { type: "string" }, metres: { type: "number" } };
    const schema = { type: "object", properties, required: ["harbour", "metres"], additionalProperties: false };
    const response_format = { type: "json_schema", json_schema: { name: "tide", schema, strict: true } };
    const answer = await ai.chat.completions.parse({ model, messages: said("Tide?"), response_format });
    assert.equal(typeof answer.choices[0].message.parsed.metres, "number");
  });

  test("a picture comes as data", async () => {
    const parts = [{ type: "text", text: "What?" }, { type: "image_url", image_url: { url: `data:image/png;base64,${PIXEL}` } }];
    assert.ok((await ask(parts)).usage.prompt_tokens > 200);
  });

  test("models are listed, texts become vectors", async () => {
    const ids = [];
    for await (const one of ai.models.list()) ids.push(one.id);
    assert.ok(ids.includes(model));
    assert.equal((await ai.models.retrieve(model)).id, model);
    const vectors = await ai.embeddings.create({ model: "gemini-embedding-001", input: ["a", "b"], dimensions: 256 });
    assert.deepEqual(vectors.data.map((one) => [one.index, one.embedding.length]), [[0, 256], [1, 256]]);
    const length = Math.hypot(...vectors.data[0].embedding);
    assert.ok(Math.abs(length - 1) < 1e-3, `${length}`);
  });

  test("trouble has its class", async () => {
    await failsWith(OpenAI.BadRequestError, ask("a", { logit_bias: { 5: 1 } }), (error) => {
      assert.deepEqual([error.status, error.type, error.param], [400, "invalid_request_error", "logit_bias"]);
    });
    await failsWith(OpenAI.AuthenticationError, ask("a", {}, client({ apiKey: "a-token-that-nobody-knows" })));
    await failsWith(OpenAI.NotFoundError, ask("a", { model: "gemini-0" }), (error) => assert.equal(error.code, "NOT_FOUND"));
    await failsWith(OpenAI.NotFoundError, ask("a", { model: "gemini-0", stream: true }));
    await failsWith(OpenAI.InternalServerError, ask("a", { model: "gemini-3.7-flash" }), (error) => {
      assert.deepEqual([error.status, error.type], [503, "server_error"]);
      assert.ok(error.requestID);
    });
  });

  test("a wait that is too long is a rate limit that tells how long", async () => {
    const scarce = { model: "gemini-3.1-flash-lite" };
    for (let n = 0; n < 3; n += 1) await ask(`One of each project. ${n}`, scarce);
    const hurried = client({ defaultHeaders: { "x-tidegate-max-wait": "0" } });
    await failsWith(OpenAI.RateLimitError, ask("One more.", scarce, hurried), (error) => {
      const seconds = Number(error.headers.get("retry-after"));
      assert.ok(seconds > 0 && seconds <= 61, `${seconds}`);
    });
  });

  test("a stream that breaks is an error and no end", async () => {
    const seen = [];
    await failsWith(OpenAI.APIError, (async () => {
      const stream = await ask("BREAKING news, at length", { stream: true });
      for await (const chunk of stream) seen.push(chunk.choices[0].finish_reason);
    })());
    assert.ok(seen.length > 0 && seen.every((reason) => reason === null));
  });

  test("a client that loses patience gets its own timeout", async () => {
    const silent = { model: "gemini-3.1-pro-preview" };
    await failsWith(OpenAI.APIConnectionTimeoutError, ask("a", silent, client({ timeout: 400 })));
    const abort = ai.chat.completions.create({ ...silent, messages: said("a") }, { signal: AbortSignal.timeout(400) });
    await failsWith(OpenAI.APIUserAbortError, abort);
    assert.ok((await ask("Hello.")).choices.length);
  });
});
