"""guard: who gets an answer: every request passes here before anything looks at it.

    Host      one of ours, else 421: a name of somebody else's that leads here is DNS rebinding
    Origin    ours or none, else 403; also where only the browser says it (Sec-Fetch-Site)
    visitor   by bearer token or session; nobody: 401, or the login
    place     metrics reads /metrics, the owner of a domain his page, the operator everything: 403
    body      at most so large, within so many seconds, a form or JSON: 413, 408, 415; of nobody none is read
              but the login's
    CSRF      what changes something by a session has the session's word: 403

Every answer has headers that let a browser run, show and send nothing but ours.  What goes
wrong behind it is a traceback in the log and a 500 that tells nothing.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backupmx.journal import Journal
from backupmx.operate.page import tokens
from backupmx.operate.page.tokens import METRICS, Tokens, Visitor

COOKIE = "backupmx"
HOST_COOKIE = "__Host-backupmx"
"""Behind TLS: browsers let no other host of the domain, and nothing in clear, set one of this name."""
LARGEST = 64 << 10
LARGEST_OF = {"/workbench": 4 << 20, "/api/workbench": 4 << 20, "/login": 1 << 10}
"""Octets of a body."""
SECONDS = 20.0
"""For a body to arrive."""
_OPEN = ("/login", "/healthz")
_FOR_METRICS = ("/metrics",)
_FOR_OWNERS = ("/", "/mine", "/logout", "/api/mine", "/api/openapi.json")
_SAFE = ("GET", "HEAD")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # not no-referrer: with that a browser's own forms have the Origin "null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

Form = Mapping[str, str]
"""A form's fields, or the members of a JSON object, as text."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the page is, as browsers name it."""

    hosts: frozenset[str]
    """Host headers that mean us: "127.0.0.1:8025"."""
    proxied: frozenset[str]
    """Those of them that a reverse proxy shows with TLS: their cookies are Secure."""


class _Refused(Exception):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Guard:
    """ASGI in, ASGI out.  Behind it `scope["visitor"]` is a Visitor or None, `scope["form"]` what was sent."""

    def __init__(
        self, app: ASGIApp, keys: Tokens, place: Place, journal: Journal, clock: Callable[[], float] = time.time
    ) -> None:
        self._app, self._tokens, self._place, self._journal, self._clock = app, keys, place, journal, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        answered = False

        async def guarded(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            answer, replay = await self._admit(scope, receive)
            await (answer or self._app)(scope, replay, guarded)
        except _Refused as refused:
            self._journal.page_refused(scope["method"], path, str(refused))
            await PlainTextResponse(f"{refused}\n", refused.status)(scope, receive, guarded)
        except Exception as error:
            self._journal.bug(f"page {path}", error)
            if not answered:
                words = "Something went wrong that nobody thought of; the log has it.\n"
                await PlainTextResponse(words, 500)(scope, receive, guarded)

    async def _admit(self, scope: Scope, receive: Receive) -> tuple[Response | None, Receive]:
        """-> an answer at once, or None: it may pass; and its body again.  Raises _Refused."""
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        host = headers.get("host", "").lower()
        if host not in self._place.hosts:
            raise _Refused(421, f"This is not {host!r}: open it by its own address, or write the name into admin.hosts")
        _same_origin(headers, host, method)
        scope["cookie"] = cookie = HOST_COOKIE if host in self._place.proxied else COOKIE
        scope["visitor"] = visitor = self._visitor(headers, cookie)
        closed = path not in _OPEN and not path.startswith("/static/")
        if closed and visitor is None:
            return _who_are_you(path, method, "hx-request" in headers), _again(b"")
        if closed and visitor is not None:
            _stays_in_his_place(visitor, path)
        body = await _body(receive, headers, LARGEST_OF.get(path, LARGEST)) if method not in _SAFE else b""
        scope["form"] = _form(headers, body) if body else {}
        if closed and visitor is not None and method not in _SAFE:
            _from_his_session(visitor, headers, scope["form"])
        return None, _again(body)

    def _visitor(self, headers: Headers, cookie: str) -> Visitor | None:
        known = self._tokens.read()
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return tokens.bearer(known, token.strip())
        # Cookies know no ports: those of every other program on this host are here too, in whatever shape.
        jar = cookie_parser(headers.get("cookie", ""))
        return tokens.visitor(known, jar[cookie], self._clock()) if cookie in jar else None


def _stays_in_his_place(visitor: Visitor, path: str) -> None:
    """Raises _Refused."""
    places = _FOR_METRICS if visitor.who == METRICS else _FOR_OWNERS if visitor.domain else None
    if places is not None and path not in places:
        raise _Refused(403, f"The token of {visitor.who} does not open this")


def _from_his_session(visitor: Visitor, headers: Headers, form: Form) -> None:
    """Raises _Refused."""
    given = headers.get("x-csrf-token", "") or form.get("csrf", "")
    if visitor.csrf and not tokens.same(given, visitor.csrf):
        raise _Refused(403, "This form was made for another login: go back, load the page anew, and try again")


def _same_origin(headers: Headers, host: str, method: str) -> None:
    """Raises _Refused for what another site's page sends."""
    origin = headers.get("origin")
    if origin is not None:
        try:
            sent_by = urlsplit(origin).netloc.lower()
        except ValueError:
            sent_by = ""
        if sent_by != host:
            raise _Refused(403, "Sent by a page of another site")
    if method not in _SAFE and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise _Refused(403, "Sent by a page of another site")


async def _body(receive: Receive, headers: Headers, largest: int) -> bytes:
    """All of it.  Raises _Refused; what is too large by its own word is not read."""
    said = headers.get("content-length", "").lstrip("0")
    if len(said) > 18 or (said.isdecimal() and int(said) > largest):
        raise _Refused(413, f"At most {largest >> 10} KiB")
    parts, octets = [], 0
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise _Refused(400, "Broken off")
                parts.append(message.get("body", b""))
                octets += len(parts[-1])
                if octets > largest:
                    raise _Refused(413, f"At most {largest >> 10} KiB")
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise _Refused(408, f"Not all of it came within {SECONDS:.0f} s") from None


def _form(headers: Headers, body: bytes) -> dict[str, str]:
    """What was sent, by name; of JSON true is "yes", false and null "".  Raises _Refused."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/x-www-form-urlencoded", "application/json"):
        raise _Refused(415, "Send a form or JSON")
    try:
        if kind == "application/json":
            return {name: _word(value) for name, value in json.loads(body).items()}
        text = body.decode("utf-8", "replace")
        return {name: values[-1] for name, values in parse_qs(text, True, max_num_fields=100).items()}
    except (ValueError, AttributeError, RecursionError):
        raise _Refused(400, "Neither a form nor a JSON object") from None


def _word(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return "yes" if value else ""
    return value if isinstance(value, str) else json.dumps(value)


def _again(body: bytes) -> Receive:
    """The body that was read, for who reads it."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _who_are_you(path: str, method: str, refreshes: bool) -> Response:
    """People are shown the login, programs told how to come in; a page that refreshes itself becomes the login."""
    if refreshes:
        return PlainTextResponse("Sign in again\n", 401, {"hx-redirect": "/login"})
    if path.startswith("/api/") or path == "/metrics" or method not in _SAFE:
        return PlainTextResponse("A token is wanted\n", 401, {"www-authenticate": 'Bearer realm="backupmx"'})
    return RedirectResponse("/login", 303)


def place(listen: str, hosts: Iterable[str]) -> Place:
    """Pure.  What the settings admit."""
    proxied = frozenset(hosts)
    if listen.startswith("unix:"):
        return Place(proxied | {"localhost"}, proxied)
    host, _, port = listen.rpartition(":")
    loopback = ("localhost", "127.0.0.1", "[::1]")
    own = {host, *loopback} if host in (*loopback, "0.0.0.0", "[::]") else {host}  # noqa: S104 compared, not bound
    named = {f"{name}:{port}" for name in own} | (own if int(port) == 80 else set())  # browsers leave out 80
    return Place(proxied | {name.lower() for name in named}, proxied)
