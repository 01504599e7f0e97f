"""queue import: messages from files into the queue.

    ID.eml beside ID.json     what `queue export` wrote
    a .eml alone              with --from and --to
    `postcat -q ID` output    the queue file of a Postfix that is to go

A message keeps its id where it never was in this queue.  What waits here already, or
was delivered or returned since, is not put a second time; what an operator deleted here comes back
under an id made of its own.  Each message is durable before the next is read.  So an import that
was broken off can be begun anew, also while the relay takes away what came in first.  Only a .eml
without a .json has nothing to be known by.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
from pydantic import ValidationError

from backupmx.mail.address import Malformed, check
from backupmx.mail.envelope import Client
from backupmx.mail.message import Message
from backupmx.operate import postcat
from backupmx.operate.cli.options import config_option, load_config, say
from backupmx.operate.cli.queue_access import with_queue
from backupmx.operate.cli.queue_export import PARCEL
from backupmx.queue.account import Life
from backupmx.queue.entry import NewEntry, State, new_id
from backupmx.queue.parcel import Consignee, Parcel, Unusable, content, entry_of, usable_id
from backupmx.queue.sqlite import SqliteQueue

_HERE = Client("127.0.0.1", 0, "localhost", "localhost", "ESMTP")


@dataclass(frozen=True, slots=True)
class Said:
    """The envelope of a .eml without a .json, as far as the operator said."""

    sender: str | None
    recipients: tuple[str, ...]


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE…|DIR")
@click.option(
    "--from", "sender", metavar="ADDRESS", help='The sender of a .eml without a .json; "" is the null sender.'
)
@click.option("--to", "recipients", multiple=True, metavar="ADDRESS", help="Its recipient; may repeat.")
@click.option("--again", is_flag=True, help="Also what had its end here already: it is delivered once more.")
@config_option
def command(
    files: tuple[str, ...], sender: str | None, recipients: tuple[str, ...], again: bool, config_file: str | None
) -> None:
    """Take messages into the queue: what `queue export` wrote, a .eml, or the output of `postcat -q ID`.

    Status 1 when one of them could not be taken; the others are in.
    """
    from backupmx.operate.serve.policy import read_routes

    config = load_config(config_file)
    routes = read_routes(config)
    said = Said(sender, recipients)

    async def work(queue: SqliteQueue) -> bool:
        good = True
        for path in _each(files):
            try:
                parcel, message = read(path, said)
                told = await take(queue, parcel, message, routes.next_hop, routes.signature, again)
            except Unusable as trouble:
                good = False
                say(f"backupmx: {path}: {trouble}", err=True)
            else:
                say(f"{path}: {told}")
        return good

    sys.exit(0 if with_queue(config, work) else 1)


def _each(files: tuple[str, ...]) -> Iterator[str]:
    """Files, and in a directory those that a message begins with."""
    for name in files:
        path = Path(name)
        if path.is_dir():
            yield from (str(one) for one in sorted(path.iterdir()) if one.suffix not in (".json", ".part"))
        else:
            yield str(path.with_suffix(".eml")) if path.suffix == ".json" else name


def read(name: str, said: Said) -> tuple[Parcel, Message]:
    """Raises Unusable."""
    raw = _octets(name)
    if raw.startswith(postcat.MAGIC):
        parcel, raw = postcat.parse(raw)
        return parcel, content(raw)
    beside = Path(name).with_suffix(".json")
    if name != "-" and beside.exists():
        return _exported(raw, _octets(str(beside)), beside), content(raw)
    if not name.endswith(".eml") and name != "-":
        raise Unusable("neither a .eml nor the output of `postcat -q ID`")
    return _alone(said), content(raw)


def _octets(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Unusable(f"{error.strerror}; the queue's owner, user {os.geteuid()}, must be able to read it") from None


def _exported(raw: bytes, json: bytes, path: Path) -> Parcel:
    try:
        parcel = PARCEL.validate_json(json)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Unusable(
            f"{path.name}: {where + ': ' if where else ''}{first['msg']}: export it again, or mend it"
        ) from None
    if hashlib.sha256(raw).hexdigest() != parcel.sha256:
        raise Unusable(
            f"is not what was exported (sha256 differs from {path.name}): copy it again; if it was changed on purpose,"
            " move the .json away and say --from and --to"
        )
    return parcel


def _alone(said: Said) -> Parcel:
    if said.sender is None or not said.recipients:
        raise Unusable("has no .json beside it: say who sends it to whom with --from and --to")
    try:
        sender = check(said.sender) if said.sender else ""
        recipients = tuple(Consignee(check(address)) for address in dict.fromkeys(said.recipients))
    except Malformed as error:
        raise Unusable(f"--from or --to: {error}") from None
    ascii = all(address.isascii() for address in (sender, *(r.address for r in recipients)))
    return Parcel("", time.time(), sender, recipients, body="8BITMIME", smtputf8=not ascii, client=_HERE)


async def take(
    queue: SqliteQueue, parcel: Parcel, message: Message, next_hop: Callable[[str], str], signature: str,
    again: bool = False,
) -> str:  # fmt: skip
    """-> what was done.  Raises Unusable."""
    id = parcel.queue_id if usable_id(parcel.queue_id) else new_id()
    while life := await queue.life(id):
        if _is(life, parcel, message) and (done := _done(life, parcel, again)):
            return f"{id} {done}: nothing done"
        id = _next(id)
    entry = entry_of(_named(parcel, message), message, id, next_hop, signature)
    await queue.put(entry)
    was = f", was {parcel.queue_id}" if parcel.queue_id not in ("", id) else ""
    return f"{id}{was}: {_states(entry)}"


def _is(life: Life, parcel: Parcel, message: Message) -> bool:
    """Pure.  Not another one of the same id: a Postfix with short ids uses them again."""
    size = sum(len(chunk) for chunk in message.chunks())
    return (life.arrived, life.sender, life.size) == (parcel.arrival_time, parcel.sender, size)


def _done(life: Life, parcel: Parcel, again: bool) -> str:
    """Pure.  Why it is not put; "": an operator deleted it here, or wants it once more."""
    named = {one.address for one in parcel.recipients}
    fates = [fate for fate in life.fates if fate.address in named]
    if any(fate.ended is None for fate in fates):
        return "waits here already"
    ends = dict.fromkeys(fate.state for fate in fates if fate.state != State.DELETED)
    return f"was {', '.join(ends)} here (--again brings it once more)" if ends and not again else ""


def _next(id: str) -> str:
    """Pure.  The id of one that comes back: the same each time, so that a second run finds the first one's."""
    return f"{id}r" if usable_id(f"{id}r") else new_id()


def _named(parcel: Parcel, message: Message) -> Parcel:
    """With the Message-ID that its own header says, where nothing else did."""
    if parcel.message_id or not (ids := _message_ids(message)):
        return parcel
    return replace(parcel, message_id=ids[0])


def _message_ids(message: Message) -> list[str]:
    from backupmx.mail.headers import fields

    found, _ = fields(message.head, 0, 1 << 16)
    return [v.decode("utf-8", "replace") for v in Message(tuple(f.text for f in found)).values(b"Message-ID")]


def _states(entry: NewEntry) -> str:
    counts: dict[str, int] = {}
    for recipient in entry.recipients:
        counts[recipient.state] = counts.get(recipient.state, 0) + 1
    return ", ".join(f"{many} {state}" for state, many in counts.items())
