"""primary: the real Postfix with a mailbox that a journey can read byte for byte."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.neighbours.postfix import Postfix, postfix

DOMAINS = ("example.jp", "sub.example.jp", "example.net")


@dataclass(frozen=True, slots=True)
class Arrived:
    """One message in a mailbox, LF line ends."""

    recipient: str
    sender: str
    own: bytes
    """What Postfix put on top, its Received the last of it."""
    content: bytes
    """All that follows: the message as we relayed it."""

    def values(self, name: str) -> list[str]:
        """Values of a header field, folds as they are."""
        return header_values(self.content, name)


def header_values(content: bytes, name: str) -> list[str]:
    head = content.partition(b"\n\n")[0]
    found = re.findall(rb"(?im)^" + re.escape(name.encode()) + rb":[ \t]*(.*(?:\n[ \t].*)*)", head)
    return [value.decode("utf-8", "surrogateescape") for value in found]


@dataclass
class Primary:
    postfix: Postfix

    @property
    def port(self) -> int:
        return self.postfix.port

    def start(self) -> None:
        self.postfix.start()

    def stop(self) -> None:
        self.postfix.stop()

    @property
    def log(self) -> str:
        return self.postfix.log()

    def messages(self) -> list[Arrived]:
        """What arrived for any of its domains."""
        return [_read(raw) for domain in DOMAINS for raw in self.postfix.contents(domain)]


def _read(raw: bytes) -> Arrived:
    own = re.match(rb"(?:[A-Z][\w-]*: .*\n(?:[ \t].*\n)*?)*?Received: .*\n(?:[ \t].*\n)*", raw)
    assert own is not None
    recipient = header_values(own[0], "Delivered-To")[0]
    sender = header_values(own[0], "Return-Path")[0].strip("<>")
    return Arrived(recipient, sender, own[0], raw[own.end() :])


@contextmanager
def real_primary(
    *, tls: Path | None = None, replies: Mapping[str, str] | None = None, **more: str
) -> Iterator[Primary]:
    """`replies`: recipient -> what its RCPT is answered; `more`: settings of main.cf.

    Not in pytest's folder: that is closed to the user postfix.
    """
    with tempfile.TemporaryDirectory(prefix="primary-") as folder:
        Path(folder).chmod(0o755)
        with _configured(Path(folder), tls, replies or {}, more) as primary:
            yield primary


@contextmanager
def _configured(
    folder: Path, tls: Path | None, replies: Mapping[str, str], more: Mapping[str, str]
) -> Iterator[Primary]:
    (folder / "replies").write_text("".join(f"{address} {reply}\n" for address, reply in replies.items()))
    settings = {
        "header_checks": "",  # byte for byte, without a mark of Postfix's own
        "local_header_rewrite_clients": "",
        "smtpd_recipient_restrictions": f"check_recipient_access texthash:{folder}/replies, reject_unauth_destination",
        "message_size_limit": "104857600",
        "virtual_mailbox_limit": "0",
        "smtpd_error_sleep_time": "0",
        "smtpd_client_connection_count_limit": "0",
        "smtpd_tls_received_header": "yes",
        **more,
    }
    with postfix(folder, domains=DOMAINS, tls=tls, settings=settings) as instance:
        yield Primary(instance)
