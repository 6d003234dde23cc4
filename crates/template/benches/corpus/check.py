"""Proves the labels: every quote of questions.jsonl stands exactly once in its document, in one piece.

"In one piece" means on one line of a text, in one run of text of a page, in one cell of a table and in
one value of a JSON document, so that any reader of the format finds it unbroken. Exits 1 with the faults.
"""

import csv
import io
import json
import sys
from html.parser import HTMLParser
from pathlib import Path

HERE = Path(__file__).parent
LEAST_DOCUMENTS, LEAST_QUESTIONS = 30, 140
KNOWN = {"id", "question", "field", "document", "quote", "cross"}


class Runs(HTMLParser):
    """The visible runs of text of a page."""

    def __init__(self):
        super().__init__()
        self.runs, self.hidden = [], 0

    def handle_starttag(self, tag, _):
        self.hidden += tag in ("style", "script", "title")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("style", "script", "title")

    def handle_data(self, data):
        if not self.hidden:
            self.runs += data.split("\n")


def pieces(path: Path) -> list[str]:
    """What a reader of the format sees as undivided."""
    raw = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        page = Runs()
        page.feed(raw)
        return page.runs
    if path.suffix == ".csv":
        return [cell for row in csv.reader(io.StringIO(raw)) for cell in row]
    if path.suffix == ".json":
        return list(values(json.loads(raw)))
    return raw.split("\n")


def values(node):
    if isinstance(node, dict):
        for child in node.values():
            yield from values(child)
    elif isinstance(node, list):
        for child in node:
            yield from values(child)
    else:
        yield str(node)


def faults(documents: dict[str, Path], questions: list[dict]):
    seen = set()
    for label in questions:
        name = label.get("id", "?")
        if set(label) - KNOWN or not {"id", "question", "field", "document", "quote"} <= set(label):
            yield f"{name}: the keys are {sorted(label)}"
            continue
        if name in seen:
            yield f"{name}: the id occurs twice"
        seen.add(name)
        if label["document"] not in documents:
            yield f"{name}: no document {label['document']}"
            continue
        path, quote = documents[label["document"]], label["quote"]
        in_file = path.read_text(encoding="utf-8").count(quote)
        in_pieces = sum(piece.count(quote) for piece in pieces(path))
        if in_file != 1 or in_pieces != 1:
            yield f"{name}: {quote!r} stands {in_file} times in {path.name}, {in_pieces} times in one piece"
    for unasked in sorted(set(documents) - {label.get("document") for label in questions}):
        yield f"{unasked}: no question asks about it"


def main():
    documents = {path.name: path for path in sorted((HERE / "documents").iterdir())}
    lines = (HERE / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    found = list(faults(documents, questions))
    if len(documents) < LEAST_DOCUMENTS or len(questions) < LEAST_QUESTIONS:
        found.append(f"only {len(documents)} documents and {len(questions)} questions")
    for fault in found:
        print(fault)
    cross = sum(label.get("cross", False) for label in questions)
    print(f"{len(documents)} documents, {len(questions)} questions ({cross} cross-language), {len(found)} faults")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
