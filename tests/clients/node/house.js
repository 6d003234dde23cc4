// Where the gateway is, what to show it, and what the tests share.
import assert from "node:assert/strict";

export const url = process.env.TIDEGATE_URL;
export const token = process.env.TIDEGATE_TOKEN;
export const PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==";

/** Waits for a promise to fail and has a look at its error. */
export async function refuses(promise, look) {
  let answer;
  try {
    answer = await promise;
  } catch (error) {
    look(error);
    return;
  }
  assert.fail(`there is an answer: ${JSON.stringify(answer).slice(0, 300)}`);
}
