"""Pure.  milter_draft: a message as milters see it, and what their edits make of it.

    top      what milters put above our own Received
    ours     our Received, and the fields our own checks added: hidden
    below    the client's headers as the rules left them

A milter sees top and below; the headers it counts, changes and deletes are
those.  An insertion counts our Received too, as Postfix does (index 0: on top
of everything, 1: after our Received); the fields of our own checks count for
nobody and stay under it.

`Work(draft, show, is_ours)` takes the edits in their order, so many at a time
as the caller likes: there may be one for each line of a large header, and they
are rules' work.  `show` is milter_header_checks: each header that is added,
inserted or changed passes it.

    IGNORE on a changed header drops the change: the old one stays (Postfix)
    a deletion is shown to nobody
    a change to a header that is not there adds it; such a deletion is nothing

Recipients that a milter adds must be ours to relay; others are not added, and
that is said.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeAlias

from backupmx.check.milter_headers import Lines
from backupmx.mail.address import Malformed, domain_of, local_of, parse_path
from backupmx.mail.envelope import Envelope, Recipient
from backupmx.mail.headers import rendered
from backupmx.mail.message import Buffer, Message, Spool, canonical
from backupmx.net.milter_answers import (
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    DeleteRecipient,
    Edit,
    InsertHeader,
    Quarantine,
    ReplaceBody,
)
from backupmx.net.milter_codec import CHUNK

HEADER_LIMIT = 60_000
"""Postfix's KLUDGE_HEADER_LIMIT: a header must fit into a frame of libmilter."""

_NOTIFY = re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*")

_Same: TypeAlias = tuple[str, str]
Show = Callable[[bytes], bytes | None]
"""A header -> as it is to be written; None: not at all."""


@dataclass(frozen=True, slots=True)
class Draft:
    top: tuple[bytes, ...]
    ours: tuple[bytes, ...]
    trace: int
    """How many of `ours` are our Received."""
    below: tuple[bytes, ...]
    body: tuple[Buffer, ...]
    spool: Spool | None
    sender: str
    recipients: tuple[Recipient, ...]
    smtputf8: bool = False
    """The client declared it: addresses may be UTF-8 (RFC 6531)."""
    held: str = ""
    """Why a milter wants it in quarantine."""
    remarks: tuple[str, ...] = ()
    """Edits that were not made, for the log."""

    @property
    def message(self) -> Message:
        return Message(self.top + self.ours + self.below, self.body, self.spool)

    def headers(self, leading_space: bool) -> Iterator[tuple[bytes, bytes]]:
        """Name and value of each that a milter sees; the one blank after the colon is sendmail's to eat."""
        for header in (*self.top, *self.below):
            name, _, value = header.partition(b":")
            yield name, value if leading_space or value[:1] != b" " else value[1:]

    def chunks(self) -> Iterator[bytes]:
        """The body in frames; not the empty line before it."""
        rest, skipped = bytearray(), 0
        for piece in self.body:
            at = min(2 - skipped, len(piece))
            skipped += at
            while at < len(piece):
                taken = piece[at : at + CHUNK - len(rest)]
                at += len(taken)
                rest += taken
                if len(rest) == CHUNK:
                    yield bytes(rest)
                    rest.clear()
        if rest:
            yield bytes(rest)


def draft(message: Message, envelope: Envelope, hidden: int, trace: int) -> Draft:
    """`hidden` headers at the front are ours, the first `trace` of them our Received."""
    ours, below = message.headers[:hidden], message.headers[hidden:]
    return Draft(
        (), ours, trace, below, message.body, message.spool, envelope.sender, envelope.recipients, envelope.smtputf8
    )


class Work:
    """A draft in pieces, for the edits of one milter; begun when its last word is there."""

    def __init__(self, before: Draft, show: Show, is_ours: Callable[[str], bool], leading_space: bool = False) -> None:
        self._before, self._show, self._is_ours = before, show, is_ours
        self._blank = b"" if leading_space else b" "
        self._lines = Lines(before.top, before.below)
        self._body: list[bytes] | None = None
        self._sender = before.sender
        self._recipients: dict[_Same, list[Recipient]] = {}
        for recipient in before.recipients:
            self._recipients.setdefault(_same(recipient.address), []).append(recipient)
        self._held, self._remarks = before.held, list(before.remarks)

    def done(self) -> Draft:
        """What became of it.  A new body is looked through as a whole: of a large one that is work for a thread."""
        before, body, spool = self._before, self._before.body, self._before.spool
        if self._body is not None:
            text = canonical(b"".join(self._body))
            body, spool = (b"\r\n", text if text.endswith(b"\r\n") or not text else text + b"\r\n"), None
        return replace(
            before, top=self._lines.top, below=self._lines.below, body=body, spool=spool, sender=self._sender,
            recipients=tuple(chain.from_iterable(self._recipients.values())), held=self._held,
            remarks=tuple(self._remarks),
        )  # fmt: skip

    def do(self, edit: Edit) -> None:
        match edit:
            case AddHeader(name, value):
                self._add(name, value)
            case InsertHeader(index, name, value):
                self._insert(index, name, value)
            case ChangeHeader(index, name, value):
                self._change(index, name, value)
            case ReplaceBody(chunk):
                self._body = self._body if self._body is not None else []
                self._body.append(chunk)
            case AddRecipient(path, parameters):
                self._add_recipient(path, parameters)
            case DeleteRecipient(path):
                self._recipients.pop(_same(_plain(path)), None)
            case ChangeSender(path):
                self._change_sender(path)
            case Quarantine(reason):
                self._held = self._held or reason or "quarantine"

    def _shown(self, name: bytes, value: bytes) -> bytes | None:
        text = canonical(name + b":" + self._blank + value).replace(b"\r\n", b"\n").rstrip(b"\n")
        return self._show(rendered(text, HEADER_LIMIT))

    def _add(self, name: bytes, value: bytes) -> None:
        if (header := self._shown(name, value)) is not None:
            self._lines.add(header)

    def _insert(self, index: int, name: bytes, value: bytes) -> None:
        if (header := self._shown(name, value)) is not None:
            self._lines.insert(index, header, self._before.trace)

    def _change(self, index: int, name: bytes, value: bytes) -> None:
        """Index 0 is 1, as in sendmail."""
        number, key = max(1, index), name.lower()
        if not self._lines.has(key, number):
            if value:
                self._add(name, value)
        elif not value:
            self._lines.delete(key, number)
        elif (header := self._shown(name, value)) is not None:
            self._lines.change(key, number, header)

    def _add_recipient(self, path: bytes, parameters: bytes) -> None:
        try:
            address = self._address(path)
        except Malformed as why:
            self._remarks.append(f"recipient {_text(path)} not added: {why}")
            return
        if not self._is_ours(address):
            self._remarks.append(f"recipient <{address}> not added: not in a domain we relay")
        elif _same(address) not in self._recipients:
            self._recipients[_same(address)] = [Recipient(address, _notify(_text(parameters)))]

    def _address(self, path: bytes) -> str:
        return parse_path(b"<" + path.strip(b"<> ") + b">", utf8=self._before.smtputf8)[0]

    def _change_sender(self, path: bytes) -> None:
        try:
            self._sender = self._address(path)
        except Malformed as why:
            self._remarks.append(f"sender {_text(path)} not changed: {why}")


def _notify(parameters: str) -> str:
    words = (word.partition("=") for word in parameters.upper().split())
    return next((value for key, _, value in words if key == "NOTIFY" and _NOTIFY.fullmatch(value)), "")


def _plain(path: bytes) -> str:
    return _text(path).strip("<> ")


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")


def _same(address: str) -> _Same:
    """Two addresses are one when their domains differ only in case."""
    return local_of(address), domain_of(address)
