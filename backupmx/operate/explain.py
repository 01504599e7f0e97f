"""explain: the whole policy on one message from a file, and what led to it.

The same `admit` and `assess` that the door calls, with engines, milters and
DNS asked as they would be; then the next hops.  There is no queue here, so
nothing can be written to one.

    explained(...)   -> Explained        what happened
    as_json          -> one object       for programs

What nobody said is assumed and told: a client at an address that is nobody's,
the envelope from Return-Path or From, our postmaster as the recipient.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backupmx.check.finding import Finding
from backupmx.check.stamp import fields
from backupmx.config import Config
from backupmx.journal import Journal
from backupmx.mail.address import Malformed, check, domain_of
from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.headers import fields as header_block
from backupmx.mail.message import Content, Message
from backupmx.mail.reply import Reply
from backupmx.mail.verdict import Fate
from backupmx.net.dns import Answer, DNSTrouble, Resolver
from backupmx.operate.explain_client import at_the_door, unable
from backupmx.operate.report import outlook
from backupmx.operate.serve import sources
from backupmx.operate.serve.asking import verify
from backupmx.operate.serve.policy import Files
from backupmx.operate.serve.worker import admission, policy
from backupmx.queue.entry import NewRecipient, QueueTrouble
from backupmx.queue.sqlite import open_queue
from backupmx.receive.admit import Admission
from backupmx.receive.assess import Assessed, as_sent, assess
from backupmx.receive.intake import destinations
from backupmx.recipients.standing import Knowledge
from backupmx.recipients.store import StoreTrouble
from backupmx.recipients.who import Recipients
from backupmx.route.primaries import Primaries, Standing
from backupmx.rules.actions import Decision

NOBODY = "192.0.2.1"  # RFC 5737: an address for examples
_QUEUE_ID = "EXPLAIN"
_HEADERS = 100 << 10  # octets of a header: enough for any address


class Witness(Resolver):
    """A resolver that remembers what it was asked, and what it said."""

    def __init__(self, servers: Sequence[str] = ()) -> None:
        super().__init__(servers)
        self.seen: dict[tuple[str, str], Answer | DNSTrouble] = {}

    def known(self, name: str, rdtype: str) -> Answer | DNSTrouble | None:
        result = super().known(name, rdtype)
        if result is not None:
            self._note(name, rdtype, result)
        return result

    async def lookup(self, name: str, rdtype: str) -> Answer:
        try:
            answer = await super().lookup(name, rdtype)
        except DNSTrouble as trouble:
            self._note(name, rdtype, trouble)
            raise
        self._note(name, rdtype, answer)
        return answer

    def _note(self, name: str, rdtype: str, result: Answer | DNSTrouble) -> None:
        self.seen[(name.rstrip(".").lower(), rdtype.upper())] = result


@dataclass(frozen=True, slots=True)
class Said:
    """Who sends it to whom, as far as the operator said."""

    client: str = ""
    helo: str = ""
    sender: str | None = None
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explained:
    """What became of one message, and why."""

    client: Client
    envelope: Envelope
    size: int
    assumed: tuple[str, ...]
    """What nobody said: "client 192.0.2.1"."""
    admitted: tuple[tuple[str, Reply | None], ...]
    """Each recipient, and the refusal at RCPT; None: taken."""
    known: tuple[Knowledge | None, ...]
    """Of each, who says so; None: not a recipient of ours, or the store cannot be read."""
    policy: tuple[str, ...]
    """What decided about the client."""
    primaries: tuple[str, ...]
    """Of each, its next hop, how it is, and what that means: "smtp:[a] is up: relay.when_primary_up = defer"."""
    assessed: Assessed
    proposed: tuple[bytes, ...]
    """The fields our checks wanted to add."""
    removed: tuple[bytes, ...]
    """What the client sent and the primary would not get: outside copies, and what rules and milters took."""
    written: tuple[bytes, ...]
    """What the primary would get that is neither the client's nor `proposed`: our Received, rules, milters."""
    becomes: tuple[str, ...]
    """What else rules and milters changed: sender and body."""
    dns: dict[tuple[str, str], Answer | DNSTrouble]
    milters: tuple[str, ...]
    """What the log would say of them."""
    reply: Reply
    """To the final dot; when nobody is taken, to the last RCPT."""
    destinations: tuple[NewRecipient, ...]
    seconds: float


async def explained(config: Config, files: Files, content: Content, said: Said) -> Explained:
    """Asks everything that the running appliance would ask.  Raises Malformed for an address that is none."""
    resolver = Witness(config.dns.servers)
    try:
        return await _explained(config, files, content, said, resolver)
    finally:
        await resolver.close()


async def _explained(config: Config, files: Files, content: Content, said: Said, resolver: Witness) -> Explained:
    started, lines, assumed = time.monotonic(), list[bytes](), list[str]()
    journal = Journal(sink=lines.append, stamped=False)
    primaries = await _primaries(config, files)
    asking = verify(config, files, resolver, journal)
    store = sources.store(config)
    door = admission(config, files, store, journal, lambda: primaries, asking, None)
    rules = policy(config, files, resolver, journal)
    envelope = _envelope(said, content, door, files.routes.postmaster or f"postmaster@{config.hostname}", assumed)
    client = await _client(said, resolver, assumed)
    who = sources.recipients(config, files.known, store)
    known = tuple(_known(who, address) if files.routes.is_ours(address) else None for address in envelope.addresses)
    door_says = await at_the_door(config, files, resolver, primaries, client, envelope.sender)
    client, size = door_says.client, len(content.data)
    refusals = [
        door_says.refusal
        or await _admitted(door, client, envelope.sender, address)
        or unable(files, primaries, envelope.sender, address, size)
        for address in envelope.addresses
    ]
    admitted = tuple(zip(envelope.addresses, refusals, strict=True))
    await asking.close()
    store.close()
    lines.clear()
    taken = tuple(Recipient(address) for address, refusal in admitted if refusal is None)
    given = replace(envelope, recipients=taken or envelope.recipients)
    assessed = await assess(rules, journal, client, given, content, _QUEUE_ID, time.time())
    verdict = assessed.verdict
    kept = taken and not verdict.refuses and (verdict.fate is not Fate.DISCARD or rules.quarantine)
    going = destinations(assessed.mail.envelope, verdict, files.routes.next_hop, assessed.refused) if kept else ()
    sent = as_sent(content, b"")
    proposed = fields(assessed.findings, config.hostname) if assessed.added else ()
    return Explained(
        client,
        envelope,
        len(content.data),
        tuple(assumed),
        admitted,
        known,
        door_says.told,
        tuple(_primary(config, files, primaries, address) for address in envelope.addresses),
        assessed,
        proposed,
        *_changes(sent.headers[1:], assessed.mail.message.headers, proposed),
        tuple(_becomes(sent, envelope.sender, assessed.mail.message, assessed.mail.envelope.sender)),
        resolver.seen,
        tuple(_about_milters(lines)),
        _reply(assessed, admitted),
        tuple(going),
        time.monotonic() - started,
    )


def _changes(
    sent: Sequence[bytes], ends: Sequence[bytes], proposed: Sequence[bytes]
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Pure.  -> removed, written; of equal fields each is counted."""
    return _without(sent, ends), _without(_without(ends, sent), proposed)


def _becomes(sent: Message, sender: str, ends: Message, new: str) -> Iterator[str]:
    """Pure.  "from <...>", "a body of ... octets"."""
    if new != sender:
        yield f"from <{new}>"
    if (body := b"".join(ends.body)) != b"".join(sent.body):
        yield f"another body, {len(body):,} octets with its blank line"


def _without(these: Sequence[bytes], those: Sequence[bytes]) -> tuple[bytes, ...]:
    left = Counter(those)
    kept = list[bytes]()
    for header in these:
        if left[header]:
            left[header] -= 1
        else:
            kept.append(header)
    return tuple(kept)


async def _admitted(door: Admission, client: Client, sender: str, recipient: str) -> Reply | None:
    refusal = door.recipient(client, sender, recipient)
    return refusal if refusal is None or isinstance(refusal, Reply) else await refusal


def _known(who: Recipients, recipient: str) -> Knowledge | None:
    try:
        return who.know(recipient)
    except StoreTrouble:
        return None


def _has_queue(config: Config) -> bool:
    return os.path.exists(config.queue_store.partition(":")[2])


async def _primaries(config: Config, files: Files) -> Primaries:
    """As the relay left them; nothing is known where there is no queue yet."""
    if not _has_queue(config):
        return Primaries()
    try:
        queue = await open_queue(config.queue_store)
        try:
            return outlook.read(await queue.hop_states(), files.routes.next_hops)
        finally:
            await queue.close()
    except QueueTrouble:
        return Primaries()


def _primary(config: Config, files: Files, primaries: Primaries, recipient: str) -> str:
    if not files.routes.is_ours(recipient):
        return ""
    hop, mode = files.routes.next_hop(recipient), config.relay.mode_of(domain_of(recipient))
    told = f"{hop} is {primaries.state(hop)}"
    return f"{told}; relay.when_primary_up = {mode}" if primaries.state(hop) is Standing.UP else told


def _reply(assessed: Assessed, admitted: Sequence[tuple[str, Reply | None]]) -> Reply:
    last = admitted[-1][1]
    if last is not None and all(refusal for _, refusal in admitted):
        return last
    verdict = assessed.verdict
    return verdict.reply if verdict.refuses and verdict.reply else Reply(250, "2.0.0", f"Ok: queued as {_QUEUE_ID}")


async def _client(said: Said, resolver: Resolver, assumed: list[str]) -> Client:
    if not said.client:
        assumed.append(f"client {NOBODY}")
    address = said.client or NOBODY
    name = await resolver.reverse(address)
    helo = said.helo or (name if name != "unknown" else f"[{address}]")
    if not said.helo:
        assumed.append(f"helo {helo}")
    return Client(address, 0, name, helo, "ESMTP")


def _envelope(said: Said, content: Content, door: Admission, postmaster: str, assumed: list[str]) -> Envelope:
    sender = said.sender
    if sender is None:
        sender = _sender_of(content)
        assumed.append(f"from <{sender}>")
    elif sender:
        sender = check(sender)
    if not said.recipients:
        assumed.append(f"to <{postmaster}>")
    addresses = [check(door.resolve(address)) for address in said.recipients] or [postmaster]
    return Envelope(sender, tuple(Recipient(address) for address in addresses))


def _sender_of(content: Content) -> str:
    """Return-Path, else the last word of From that is an address, else the null sender."""
    sent = Message(tuple(field.text for field in header_block(content.data, 0, _HEADERS)[0]))
    for value in (*sent.values(b"Return-Path"), *sent.values(b"From")):
        for word in reversed(value[:4096].decode("utf-8", "replace").replace("<", " ").replace(">", " ").split()):
            try:
                return check(word.strip(",;"))
            except Malformed:
                continue
    return ""


def _about_milters(lines: Sequence[bytes]) -> Iterator[str]:
    """Everything from the first milter's word on: nothing but milters comes after it."""
    told = (
        line.decode("utf-8", "replace").strip().partition("]: ")[2].removeprefix(f"{_QUEUE_ID}: ") for line in lines
    )
    begun = False
    for line in told:
        begun = begun or line.startswith(("check: milter=", "milter-reject", "milter-discard", "milter-hold"))
        if begun:
            yield line


def as_json(name: str, e: Explained) -> dict[str, Any]:
    """Pure.  One object: what a program wants to know of it."""
    return {
        "file": name,
        "size": e.size,
        "client": {"address": e.client.address, "name": e.client.name, "helo": e.client.helo},
        "client_policy": list(e.policy),
        "sender": e.envelope.sender,
        "recipients": [
            {
                "address": address,
                "reply": str(refusal) if refusal else "250 2.1.5 Ok",
                "standing": known and str(known.standing),
                "source": known and known.source,
                "at": known and known.at and int(known.at),
                "primary": primary,
            }
            for (address, refusal), known, primary in zip(e.admitted, e.known, e.primaries, strict=True)
        ],
        "assumed": list(e.assumed),
        "rules": [_decision(decision) for decision in e.assessed.judged.decisions],
        "findings": [_finding(finding) for finding in e.assessed.findings],
        "dns": [_record(*question, answer) for question, answer in e.dns.items()],
        "adds": [_text(field) for field in e.proposed],
        "removes": [_text(field) for field in e.removed],
        "adds_too": [_text(field) for field in e.written],
        "becomes": list(e.becomes),
        "rules_on_ours": [_decision(d) for d in (e.assessed.added.decisions if e.assessed.added else ())],
        "milters": list(e.milters),
        "headers": [_text(header) for header in e.assessed.mail.message.headers],
        "action": str(e.assessed.verdict.fate),
        "reason": e.assessed.verdict.reason,
        "code": e.reply.code,
        "text": f"{e.reply.status} {e.reply.text}".strip(),
        "destinations": [{"address": d.address, "next_hop": d.next_hop, "state": str(d.state)} for d in e.destinations],
        "seconds": round(e.seconds, 3),
    }


def _decision(decision: Decision) -> dict[str, object]:
    return {
        "table": decision.table,
        "line": decision.line,
        "action": decision.action,
        "text": decision.text,
        "header": _text(decision.header),
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "check": finding.check,
        "engine": finding.engine,
        "seen": str(finding.seen),
        "detail": finding.detail,
        "facts": {key: list(value) if isinstance(value, tuple) else value for key, value in finding.facts.items()},
        "seconds": round(finding.seconds, 4),
    }


def _record(name: str, rdtype: str, answer: Answer | DNSTrouble) -> dict[str, object]:
    if isinstance(answer, DNSTrouble):
        return {"name": name, "type": rdtype, "trouble": str(answer)}
    records = [_printable(r) for r in answer.records]
    return {"name": name, "type": rdtype, "exists": answer.exists, "records": records, "secure": answer.secure}


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
