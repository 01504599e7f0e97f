"""queue export: messages as files, enough to bring them back: ID.eml beside ID.json.

Both are written whole or not at all: under another name first, the .json last,
on the disk before the command says so.  Nothing is overwritten.  A copy is not a
removal: the message stays in the queue.
"""

import hashlib
import os
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import click
from pydantic import TypeAdapter

from backupmx.config import Housed
from backupmx.mail.message import Buffer, Message
from backupmx.operate.cli.options import config_option, load_home, say
from backupmx.operate.cli.queue_access import with_queue
from backupmx.operate.cli.verbs import unknown
from backupmx.operate.desk import entries
from backupmx.queue.bodies import sync_folder
from backupmx.queue.legible import is_marked
from backupmx.queue.parcel import Parcel
from backupmx.queue.sqlite import SqliteQueue

PARCEL = TypeAdapter(Parcel)


class NotWritten(Exception):
    """A file could not be made.  The text says which, why, and what helps."""


@click.command("export")
@click.argument("ids", nargs=-1, metavar="ID…")
@click.option("--all", "everything", is_flag=True, help="All that waits, quarantine too.")
@click.option("--to", "folder", metavar="DIR", help="Write ID.eml and ID.json there.")
@config_option
def command(ids: tuple[str, ...], everything: bool, folder: str | None, config_file: str | None) -> None:
    """Write messages as files, with all that `queue import` needs to bring them back.

    Without --to one message goes to standard output, byte for byte as it would be relayed.
    Status 1 when one is not there or is damaged: what is left of it is written.
    """
    if bool(ids) == everything:
        raise click.UsageError("name IDs, or --all")
    if folder is None and (everything or len(ids) > 1):
        raise click.UsageError("several messages want --to DIR")
    config = load_home(config_file)
    try:
        good = to_output(config, ids[0]) if folder is None else _to_folder(config, ids, folder)
    except NotWritten as trouble:
        say(f"backupmx: {trouble}", err=True)
        good = False
    sys.exit(0 if good else 1)


def to_output(config: Housed, id: str) -> bool:
    async def work(queue: SqliteQueue) -> tuple[Message, str] | None:
        return await queue.message(id)

    found = with_queue(config, work)
    if found is None:
        unknown(id)
        return False
    message, damage = found
    for chunk in message.chunks():
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()
    if damage:
        say(f"backupmx: {id} is damaged: {damage}; this is what is left of it", err=True)
    return not damage


def _to_folder(config: Housed, ids: tuple[str, ...], folder: str) -> bool:
    async def work(queue: SqliteQueue) -> bool:
        path = _made(folder)
        good, many = True, 0
        async for id in _each(queue, ids):
            found = await queue.parcel(id)
            if found is None:
                if ids or is_marked((id,)):  # else, of all that waited, it has gone meanwhile
                    good = False
                    unknown(id)
                continue
            parcel, message = found
            write(path, parcel, message)
            many += 1
            if parcel.damaged:
                good = False
                say(f"backupmx: {id} is damaged: {parcel.damaged}; what is left of it is in {path}", err=True)
        sync_folder(str(path))
        say(f"{many} message{'s' if many != 1 else ''} in {path}")
        return good

    return with_queue(config, work)


async def _each(queue: SqliteQueue, ids: tuple[str, ...]) -> AsyncIterator[str]:
    for id in ids:
        yield id
    if ids:
        return
    async for entry in entries(queue.waiting):
        yield entry.id
    async for entry in entries(queue.quarantined):
        if not await queue.waiting(id=entry.id):  # else it was among the first
            yield entry.id


def _made(folder: str) -> Path:
    path = Path(folder)
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        sync_folder(str(path.parent))
    except OSError as error:
        raise NotWritten(f"{path}: {error.strerror}; name a directory that user {os.geteuid()} may write") from None
    return path


def write(folder: Path, parcel: Parcel, message: Message) -> None:
    """ID.eml, then ID.json.  Raises NotWritten, and then neither is there."""
    eml, json = folder / f"{parcel.queue_id}.eml", folder / f"{parcel.queue_id}.json"
    if any(path.exists() for path in (eml, json)):
        raise NotWritten(f"{eml}: there already, and not overwritten; name another directory")
    total = hashlib.sha256()

    def summed() -> Iterable[Buffer]:
        for chunk in message.chunks():
            total.update(chunk)
            yield chunk

    made: list[Path] = []
    try:
        _whole(eml, summed(), made)
        said = replace(parcel, sha256=total.hexdigest())
        _whole(json, [PARCEL.dump_json(said, indent=2) + b"\n"], made)
    except OSError as error:
        for path in made:
            path.unlink(missing_ok=True)
        raise NotWritten(
            f"{folder}: {error.strerror}; {parcel.queue_id} and what follows it is not there, what came before is"
        ) from None


def _whole(path: Path, chunks: Iterable[Buffer], made: list[Path]) -> None:
    """A file that is there as a whole, on the disk.  `made`: what is to be removed if it fails."""
    part = path.with_suffix(path.suffix + ".part")
    made.append(part)
    with open(part, "wb", opener=_private) as out:
        out.writelines(chunks)
        out.flush()
        os.fsync(out.fileno())
    part.rename(path)
    made.append(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
