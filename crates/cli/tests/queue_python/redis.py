"""As much of the client library `redis` as the programs in docs/queue.md use, for machines where it is not installed."""

import socket
from urllib.parse import urlparse


class Redis:
    def __init__(self, host, port):
        self.file = socket.create_connection((host, port)).makefile("rwb")

    @staticmethod
    def from_url(url, decode_responses):
        assert decode_responses
        where = urlparse(url)
        return Redis(where.hostname, where.port)

    def xadd(self, key, fields):
        return self._ask("XADD", key, "*", *[part for pair in fields.items() for part in pair])

    def xrange(self, key, min, count):
        entries = self._ask("XRANGE", key, min, "+", "COUNT", str(count))
        return [(entry, dict(zip(fields[::2], fields[1::2]))) for entry, fields in entries]

    def _ask(self, *words):
        parts = [word.encode() for word in words]
        self.file.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        self.file.flush()
        return self._answer()

    def _answer(self):
        kind, rest = (line := self.file.readline()[:-2])[:1], line[1:]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        return rest.decode()
