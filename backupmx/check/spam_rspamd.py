"""spam_rspamd: rspamd's scanner over HTTP, POST /checkv2.

rspamd is told what it would see in a session of its own: the client's address
and name, HELO, the envelope, the queue id, TLS.  From these and the message it
makes its own SPF, DKIM, DMARC and reputation.  It does not see our
Received.  Client-Marks (PREGREET) and Client-Dnsbl (3), what the door saw of the
client, are there for rules of the site's own.

    its answer          what becomes of it
    score, symbols      X-Spam-Status in SpamAssassin's shape: one parser on the
                        primary reads both; heaviest symbols first
    action reject,      a rule of rspamd's own wants it whatever the score (GTUBE, a
    forced              blacklist): spam, also under `required_score`
    other actions       told in the log, not done: greylisting and rewriting are for
                        rspamd as a milter (docs/milters.md)

    connection refused, no rspamd behind it, 403     EngineAway
    another HTTP status, an answer without a score   Unscannable
    silence, closed                                  Lost

Why no HTTP library?  One POST with HTTP/1.0 on a local socket needs none of what
they are for (pools, redirects, chunks, TLS), and ours has the same turns,
deadline and bounds as the other engines (`wire`).

Standards: https://docs.rspamd.com/developers/protocol; RFC 1945.
"""

import hashlib
import json
import math
import re
from collections.abc import Hashable, Iterator

from backupmx.check.aside import aside
from backupmx.check.field import plain
from backupmx.check.finding import Findings, Mail
from backupmx.check.spam import Score
from backupmx.check.trouble import EngineAway, Lost, Unscannable
from backupmx.check.wire import dialogue, places
from backupmx.mail.message import Buffer
from backupmx.net.endpoint import Endpoint

_LARGEST = 50 << 20
# rspamd's own max_message.
_MOST_RECIPIENTS = 200
# Its HTTP parser takes 80 KB of header.
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ?([^\r\n]{0,200})")
_SERVER = re.compile(rb"^Server: (rspamd/[^\s]{1,40})", re.MULTILINE | re.IGNORECASE)
_LONGEST_ANSWER = 8 << 20
"""Octets.  It repeats every host that a message names, up to 10,240 of up to 253 octets, and as many addresses
(max_urls): whoever writes so many must not be without a score for it."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


class Rspamd:
    name = "rspamd"
    largest = _LARGEST

    def __init__(self, address: Endpoint, seconds: float) -> None:
        self._address = address
        self._seconds = seconds
        self._turn = places()
        self._times_away = 0

    async def score(self, mail: Mail, authentication: Findings) -> Score:
        """It makes its own SPF, DKIM and DMARC; `authentication` is not told to it."""
        message = mail.as_sent
        try:
            answer = await self._ask(b"POST /checkv2", context(mail), message.size, *message.chunks())
        except EngineAway:
            self._times_away += 1  # who comes back may be of another version
            raise
        return await aside(len(answer[1]), score_of, *answer)

    def depends_on(self, mail: Mail) -> Hashable:
        """Its settings may be a recipient's own.  A digest: there may be a thousand recipients."""
        client = mail.client
        who = (client.address, client.helo, client.marks, client.dnsbl, mail.envelope.sender, *mail.envelope.addresses)
        return self._times_away, hashlib.sha256(repr(who).encode("utf-8", "surrogatepass")).digest()

    async def ping(self) -> str:
        version, _ = await self._ask(b"GET /ping", b"", 0)
        return version

    async def _ask(self, request: bytes, context: bytes, size: int, *pieces: Buffer) -> tuple[str, bytes]:
        """-> its version and the body of its answer.  Raises EngineAway, Unscannable."""
        head = request + b" HTTP/1.0\r\n" + context + b"Content-Length: %d\r\n\r\n" % size
        async with dialogue(self._address, self._seconds, self._turn) as rspamd:
            await rspamd.send(head, *pieces)
            answer = await rspamd.receive(longest=_LONGEST_ANSWER)
        return accepted(answer)


def context(mail: Mail) -> bytes:
    """Pure.  Who sends it and to whom, as header fields of the request."""
    return "".join(f"{name}: {_CONTROLS.sub('?', value)}\r\n" for name, value in _context(mail)).encode(
        "utf-8", "replace"
    )


def _context(mail: Mail) -> Iterator[tuple[str, str]]:
    client = mail.client
    yield "IP", client.address
    yield "Helo", client.helo
    if client.name != "unknown":
        yield "Hostname", client.name
    yield "From", mail.envelope.sender
    for address in mail.envelope.addresses[:_MOST_RECIPIENTS]:
        yield "Rcpt", address
    yield "Queue-Id", mail.queue_id
    if client.marks:
        yield "Client-Marks", " ".join(client.marks)
    if client.dnsbl:
        yield "Client-Dnsbl", str(client.dnsbl)
    if client.tls:
        yield "TLS-Version", client.tls.version
        yield "TLS-Cipher", client.tls.cipher


def accepted(answer: bytes) -> tuple[str, bytes]:
    """Pure.  An HTTP answer -> "rspamd 3.4" and its body.  Raises EngineAway, Unscannable."""
    if not answer:
        raise Lost("it closed the connection while scanning")
    head, blank, body = answer.partition(b"\r\n\r\n")
    status, server = _STATUS.match(head), _SERVER.search(head)
    if status is None or server is None:
        raise EngineAway(f"this is no rspamd, it says {plain(answer[:60].decode('latin-1'))!r}")
    if status[1] in (b"401", b"403"):
        raise EngineAway(plain(f"it does not want us: {status[1].decode()} {status[2].decode('latin-1')}"))
    if status[1] != b"200" or not blank:
        raise Unscannable(plain(f"{status[1].decode()} {status[2].decode('latin-1')}"))
    return plain(server[1].decode("latin-1").replace("/", " ")), body


def score_of(version: str, body: bytes) -> Score:
    """Pure.  What /checkv2 says -> score, symbols, action.  Raises Unscannable."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise Unscannable("an answer that is no JSON") from None
    score = _number(told.get("score")) if isinstance(told, dict) else None
    if score is None:
        raise Unscannable("an answer without a score")
    action, limit = told.get("action"), _number(told.get("required_score"))
    forced = told.get("is_skipped") is True or (limit is not None and score < limit)
    symbols = told.get("symbols")
    return Score(
        score,
        tuple(_by_weight(symbols)) if isinstance(symbols, dict) else (),
        version,
        certain=action == "reject" and forced,
        action=plain(action, 40) if isinstance(action, str) else "",
    )


def _by_weight(symbols: dict[str, object]) -> Iterator[str]:
    def weight(name: str) -> float:
        symbol = symbols[name]
        return abs(_number(symbol.get("score")) or 0.0) if isinstance(symbol, dict) else 0.0

    yield from sorted(symbols, key=lambda name: (-weight(name), name))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e9 or math.isnan(value):
        return None
    return float(value)
