"""run: one probe goes the whole way: in by our own port, held, released, to the primary's 250.

    ready       the appliance runs, the address is ours, its domain is not paused
    accepted    our port answers as to a client from outside, checks and rules and all
    held        the queue has it and does not try it (queue/drill): the primary is "down"
    delivered   released: the relay brings it, and the primary says 250
    cleared     nothing of it is left here

The probe has the null sender, so that whatever becomes of it nobody gets a notice.
It comes from this machine: what is held against strangers (client policy, limits) is
not rehearsed, nor is the way from outside to our port.

Trouble
    A step that fails ends the rehearsal; the probe is deleted, wherever it waits.  A
    rehearsal that was killed leaves its probe held, by the name the queue keeps: the
    next one clears it.  Two at once: the second is told so.
"""

import asyncio
import fcntl
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from backupmx.config import Config
from backupmx.mail.address import domain_of
from backupmx.mail.envelope import Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.net import smtp
from backupmx.net.smtp import SmtpTrouble, Timeouts
from backupmx.operate.rehearsal.step import Step
from backupmx.operate.serve.lock import is_running
from backupmx.queue.drill import DRILL
from backupmx.queue.entry import State
from backupmx.queue.sqlite import SqliteQueue
from backupmx.route.routes import Routes

_LOOK = 0.1
_HELD_ONLY = frozenset({State.HELD})


class Failed(Exception):
    """A step did not do what it should; the text says why."""


class Busy(Exception):
    """Another rehearsal runs."""


@dataclass(frozen=True, slots=True)
class Drill:
    config: Config
    routes: Routes
    address: str
    patience: float
    """Seconds for the primary's 250."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One rehearsal at a time.  Raises Busy, OSError."""
    folder.mkdir(mode=0o750, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Busy from None
    finally:
        os.close(descriptor)


async def rehearse(queue: SqliteQueue, drill: Drill) -> AsyncIterator[Step]:
    """Step by step.  Whatever happens the probe does not stay."""
    await _clear(queue)  # of one that was killed
    message_id = f"<rehearsal.{secrets.token_hex(16)}@{drill.config.hostname}>"
    id = ""
    steps = _Steps()
    try:
        yield steps.good("ready", await _ready(queue, drill))
        await queue.put_once(DRILL, "", message_id, None)
        id, words = await _send(drill, message_id)
        yield steps.good("accepted", words)
        yield steps.good("held", await _held(queue, id, drill.address))
        hop = drill.routes.next_hop(drill.address)
        before = await _failures(queue, hop)
        await queue.change(id, "", State.QUEUED, now=time.time(), reason="", was=_HELD_ONLY)
        await queue.look_again([hop])
        yield steps.good("delivered", await _delivered(queue, id, hop, before, drill.patience))
    except Failed as trouble:
        yield steps.bad(str(trouble))
    finally:
        left = await asyncio.shield(_clear(queue))
    if left:
        yield steps.good("cleared", "the probe is deleted; nothing of it is left")


class _Steps:
    """Names and times them."""

    _NAMES = ("ready", "accepted", "held", "delivered")

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._done = 0

    def good(self, name: str, text: str) -> Step:
        self._done += 1
        return self._step(name, True, text)

    def bad(self, text: str) -> Step:
        return self._step(self._NAMES[self._done], False, text)

    def _step(self, name: str, good: bool, text: str) -> Step:
        now = time.monotonic()
        step = Step(name, good, text, now - self._began, time.time())
        self._began = now
        return step


async def _ready(queue: SqliteQueue, drill: Drill) -> str:
    if not is_running(drill.config):
        raise Failed("the appliance does not run: start backupmx serve")
    domain = domain_of(drill.address)
    if any(one.domain == domain for one in await queue.paused()):
        raise Failed(f"{domain} is paused: backupmx resume {domain} first")
    route = drill.routes.route(drill.address)
    return f"runs; {drill.address} goes to {route} ({route.source})"


async def _send(drill: Drill, message_id: str) -> tuple[str, str]:
    """-> the queue id and our own port's words.  Raises Failed."""
    host, port = door(drill.config.smtp.listen[0])
    patience = Timeouts(connect=5.0, greeting=30.0, hello=30.0, mail=30.0, rcpt=60.0, data=60.0)
    envelope = Envelope("", (Recipient(drill.address),))
    message = probe(drill.config.hostname, drill.address, message_id, time.time())
    try:
        connection = await smtp.connect(
            "our own port", host, port, helo=drill.config.hostname, tls=smtp.opportunistic(), forward="off",
            timeouts=patience,
        )  # fmt: skip
        try:
            result = await connection.deliver(envelope, message, message.size)
        finally:
            await connection.quit()
    except SmtpTrouble as trouble:
        raise Failed(str(trouble)) from None
    (reply,) = result.replies
    if reply is None or reply.code >= 300:
        raise Failed(f"our own port says: {reply or result.lost}")
    return reply.text.rpartition(" ")[2], f"{host}:{port} says {reply}"


def door(listen: str) -> tuple[str, int]:
    """Pure.  Where a client on this machine finds it: "0.0.0.0:25" -> ("127.0.0.1", 25)."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host), int(port)  # noqa: S104 looked up, not bound


def probe(hostname: str, address: str, message_id: str, now: float) -> Message:
    """Pure.  The message: harmless, and says what it is."""
    headers = (
        f"From: backupmx rehearsal <postmaster@{hostname}>",
        f"To: {address}",
        "Subject: backupmx rehearsal",
        f"Date: {formatdate(now)}",
        f"Message-ID: {message_id}",
        "Auto-Submitted: auto-generated",
        "X-Backupmx-Rehearsal: yes",
    )
    body = (
        f"\r\nThis is a rehearsal: {hostname} took this message as if your server were down,\r\n"
        "kept it, and brought it. Nothing is to be done.\r\n"
    )
    return Message(tuple(header.encode("utf-8", "replace") for header in headers), (body.encode("utf-8", "replace"),))


async def _held(queue: SqliteQueue, id: str, address: str) -> str:
    for entry in await queue.waiting(id=id):
        states = {recipient.state for recipient in entry.recipients}
        if states == {State.HELD}:
            return f"{id} is kept on disk and not tried"
        raise Failed(f"{id} is {', '.join(sorted(states))}: {entry.reason or 'not as a rehearsal should be'}")
    for entry in await queue.quarantined(id=id):
        raise Failed(f"{id} is in quarantine: {entry.reason}; real mail like it would be too")
    raise Failed(f"{id} for {address} is not in the queue: backupmx trace {id}")


async def _failures(queue: SqliteQueue, hop: str) -> int:
    """So many tries in a row found it down."""
    state = (await queue.hop_states()).get(hop)
    return state.failures if state is not None and state.up is False else 0


async def _delivered(queue: SqliteQueue, id: str, hop: str, failures: int, patience: float) -> str:
    """The primary's words.  Raises Failed with them; also when other mail found the next hop down meanwhile."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        for life in await queue.trace(id):
            for fate in life.fates:
                if fate.state == State.DELIVERED:
                    return f"{fate.relay} says {fate.reason}"
                if fate.ended is not None or fate.state in (State.DEFERRED, State.REFUSED, State.UNRETURNED):
                    raise Failed(f"{fate.state}: {fate.reason} ({fate.relay})")
        if await _failures(queue, hop) > failures:
            raise Failed(f"the primary is down: {(await queue.hop_states())[hop].error}")
        await asyncio.sleep(_LOOK)
    raise Failed(f"no word from the relay in {patience:g} s: backupmx status")


async def _clear(queue: SqliteQueue) -> int:
    """The probe the queue knows of goes, and is known no more.  -> how many recipients went."""
    message_id = await queue.fact(DRILL)
    if not message_id:
        return 0
    left = 0
    for life in await queue.trace(message_id):
        if any(fate.ended is None for fate in life.fates):
            left += await queue.change(life.id, "", State.DELETED, now=time.time(), reason="rehearsal ended")
    await queue.put_once(DRILL, message_id, "", None)
    return left
