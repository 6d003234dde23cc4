// @google/genai, set up as its users set it up: a token and another base URL.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { ApiError, createPartFromUri, createUserContent, FunctionCallingConfigMode, GoogleGenAI, Type } from "@google/genai";
import { PIXEL, refuses, token, url } from "./house.js";

const model = "gemini-3.8-flash";
const client = (options = {}, apiKey = token) => new GoogleGenAI({ apiKey, httpOptions: { baseUrl: url, ...options } });
const ai = client();
const ask = (contents, config, from = ai) => from.models.generateContent({ model, contents, config });
const all = async (stream) => {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return pieces;
};
const failsWith = (status, promise) =>
  refuses(promise, (error) => {
    assert.ok(error instanceof ApiError, `${error}`);
    assert.equal(error.status, status, error.message);
  });

describe("@google/genai", () => {
  test("a prompt is answered with its cost", async () => {
    const answer = await ask("Name a wader.", { temperature: 0.1, systemInstruction: "Be brief." });
    assert.ok(answer.text);
    assert.equal(answer.candidates[0].finishReason, "STOP");
    assert.ok(answer.usageMetadata.totalTokenCount > 0);
    assert.equal(answer.modelVersion, model);
  });

  test("a stream comes in pieces and ends with its reason", async () => {
    const pieces = await all(await ai.models.generateContentStream({ model, contents: "Tell of the sea, at length." }));
    assert.ok(pieces.length > 1);
    assert.equal(pieces.at(-1).candidates[0].finishReason, "STOP");
    assert.ok(pieces.map((piece) => piece.text).join("").trim());
  });

  test("a conversation goes on over several turns", async () => {
    const chat = ai.chats.create({ model });
    const first = await chat.sendMessage({ message: "Hello." });
    const second = await chat.sendMessage({ message: "And now?" });
    assert.ok(second.usageMetadata.promptTokenCount > first.usageMetadata.promptTokenCount);
    await all(await chat.sendMessageStream({ message: "Go on." }));
    assert.ok(chat.getHistory().length >= 6);
  });

  test("JSON follows a schema", async () => {
    const properties = { harbour: { type: Type.STRING }, metres: { type: Type.NUMBER } };
    const schema = { type: Type.OBJECT, properties, required: ["harbour", "metres"] };
    const tide = JSON.parse((await ask("Tide?", { responseMimeType: "application/json", responseSchema: schema })).text);
    assert.equal(typeof tide.harbour, "string");
    assert.equal(typeof tide.metres, "number");
  });

  test("functions are called and their results sent back", async () => {
    const parametersJsonSchema = { type: "object", properties: { harbour: { type: "string" } }, required: ["harbour"] };
    const tools = [{ functionDeclarations: [{ name: "tideAt", description: "When?", parametersJsonSchema }] }];
    const functionCallingConfig = { mode: FunctionCallingConfigMode.ANY, allowedFunctionNames: ["tideAt"] };
    const first = await ask("When?", { tools, toolConfig: { functionCallingConfig } });
    const [call] = first.functionCalls;
    assert.equal(call.name, "tideAt");
    assert.equal(typeof call.args.harbour, "string");
    const result = { functionResponse: { name: call.name, response: { high: "04:10" } } };
    const turns = [createUserContent("When?"), first.candidates[0].content, createUserContent([result])];
    assert.ok((await ask(turns, { tools })).text);
  });

  test("a picture goes inside the prompt", async () => {
    const answer = await ask([{ inlineData: { mimeType: "image/png", data: PIXEL } }, "What is it?"]);
    assert.ok(answer.usageMetadata.promptTokensDetails.some((detail) => detail.modality === "IMAGE"));
  });

  test("tokens are counted, texts become vectors, models are listed", async () => {
    assert.ok((await ai.models.countTokens({ model, contents: "a few words" })).totalTokens > 0);
    const config = { outputDimensionality: 256 };
    const { embeddings } = await ai.models.embedContent({ model: "gemini-embedding-001", contents: ["a", "b"], config });
    assert.deepEqual(embeddings.map((vector) => vector.values.length), [256, 256]);
    const names = (await all(await ai.models.list({ config: { pageSize: 3 } }))).map((one) => one.name);
    assert.ok(names.length > 3 && names.includes(`models/${model}`));
    assert.equal((await ai.models.get({ model })).name, `models/${model}`);
  });

  test("a file of 20 MB is uploaded, used, shown, listed and deleted", async () => {
    const bytes = Buffer.concat([Buffer.from(PIXEL, "base64"), randomBytes(20 * 1024 * 1024)]);
    const config = { mimeType: "image/png", displayName: "chart" };
    const file = await ai.files.upload({ file: new Blob([bytes], { type: "image/png" }), config });
    assert.equal(Number(file.sizeBytes), bytes.length);
    assert.equal((await ai.files.get({ name: file.name })).displayName, "chart");
    for (let n = 0; n < 4; n += 1) {
      const contents = createUserContent([createPartFromUri(file.uri, file.mimeType), `What is it? ${n}`]);
      assert.ok((await ask(contents)).text);
    }
    const names = (await all(await ai.files.list())).map((one) => one.name);
    assert.ok(names.includes(file.name));
    await ai.files.delete({ name: file.name });
    await refuses(ai.files.get({ name: file.name }), (error) => assert.ok([403, 404].includes(error.status)));
  });

  test("a cache is made, used and deleted", async () => {
    const contents = createUserContent("The tide comes in, the tide goes out. ".repeat(400));
    const cache = await ai.caches.create({ model, config: { contents, ttl: "600s" } });
    const answer = await ask("What of it?", { cachedContent: cache.name });
    assert.equal(answer.usageMetadata.cachedContentTokenCount, cache.usageMetadata.totalTokenCount);
    assert.ok((await all(await ai.caches.list())).some((one) => one.name === cache.name));
    await ai.caches.delete({ name: cache.name });
  });

  test("trouble has its status", async () => {
    await failsWith(400, ask("a", { temperature: 7 }));
    await failsWith(401, ask("a", {}, client({}, "a-token-that-nobody-knows")));
    await failsWith(404, ai.models.generateContent({ model: "gemini-0", contents: "a" }));
    await failsWith(404, ai.models.generateContentStream({ model: "gemini-0", contents: "a" }));
    await failsWith(503, ai.models.generateContent({ model: "gemini-3.5-flash", contents: "a" }));
  });

  test("a wait that is too long is a 429 that tells how long", async () => {
    const scarce = { model: "gemini-3.5-flash-lite" };
    for (let n = 0; n < 3; n += 1) await ai.models.generateContent({ ...scarce, contents: `One of each project. ${n}` });
    const hurried = client({ headers: { "x-tidegate-max-wait": "0" } });
    await refuses(hurried.models.generateContent({ ...scarce, contents: "One more." }), (error) => {
      assert.equal(error.status, 429);
      const { details } = JSON.parse(error.message).error;
      const seconds = parseFloat(details.find((detail) => detail["@type"].endsWith("RetryInfo")).retryDelay);
      assert.ok(seconds > 0 && seconds <= 61, `${seconds}`);
    });
  });

  test("a stream that breaks is an error and no end", async () => {
    const stream = await ai.models.generateContentStream({ model, contents: "BREAKING news, at length" });
    const seen = [];
    await refuses((async () => {
      for await (const piece of stream) seen.push(piece.candidates[0].finishReason);
    })(), (error) => assert.match(error.message, /UNAVAILABLE|INTERNAL/));
    assert.ok(seen.length > 0 && seen.every((reason) => reason === undefined));
  });

  test("a client that loses patience gets its own timeout", async () => {
    const silent = { model: "gemini-3.1-pro-preview", contents: "a" };
    await refuses(ai.models.generateContent({ ...silent, config: { httpOptions: { timeout: 400 } } }), (error) =>
      assert.match(`${error.name} ${error.message}`, /abort|timeout/i));
    await refuses(ai.models.generateContent({ ...silent, config: { abortSignal: AbortSignal.timeout(400) } }), (error) =>
      assert.match(`${error.name} ${error.message}`, /abort|timeout/i));
    assert.ok((await ask("Hello.")).text);
  });
});
