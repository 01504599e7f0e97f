"""net/smtp_commands.py: what we say, fitted to what a peer offers."""

import pytest

from backupmx.mail.envelope import Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.net.smtp_commands import group, offered, unfit

ENVELOPE = Envelope(
    "a@client.example",
    (Recipient("u@example.jp", "SUCCESS,FAILURE", "rfc822;u@old.jp"), Recipient("v@example.jp")),
    "8BITMIME", ret="HDRS", envid="x+2By",
)  # fmt: skip
MESSAGE = Message((b"Subject: x",), (b"\r\nbody\r\n",))


def test_offered() -> None:
    """Keywords in any case, parameters after a blank or the = of old AUTH."""
    lines = [b"peer.example at your service", b"size 1000", b"PIPELINING", b"AUTH=LOGIN PLAIN"]
    assert offered(lines) == {"SIZE": "1000", "PIPELINING": "", "AUTH": "LOGIN PLAIN"}


def test_everything_offered() -> None:
    """SIZE, BODY, RET, ENVID, NOTIFY and ORCPT go along where they are offered."""
    assert b"".join(group(ENVELOPE, 500, {"SIZE": "", "8BITMIME": "", "DSN": "", "SMTPUTF8": ""})) == (
        b"MAIL FROM:<a@client.example> SIZE=500 BODY=8BITMIME RET=HDRS ENVID=x+2By\r\n"
        b"RCPT TO:<u@example.jp> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;u@old.jp\r\n"
        b"RCPT TO:<v@example.jp>\r\n"
    )


def test_nothing_offered() -> None:
    """A peer of RFC 821 gets plain commands."""
    assert b"".join(group(ENVELOPE, 500, {})) == (
        b"MAIL FROM:<a@client.example>\r\nRCPT TO:<u@example.jp>\r\nRCPT TO:<v@example.jp>\r\n"
    )


def test_too_large() -> None:
    """A message over the peer's SIZE is not sent at all; SIZE 0 and SIZE alone mean no limit."""
    sizes = [unfit(ENVELOPE, MESSAGE, 1001, {"SIZE": limit}) for limit in ("1000", "0", "", "1001")]
    assert [reply and (reply.code, reply.status) for reply in sizes] == [(552, "5.3.4"), None, None, None]


@pytest.mark.parametrize(
    ("sender", "header", "extensions", "fits"),
    [
        ("a@b.example", b"Subject: x", {}, True),
        ("ä@b.example", b"Subject: x", {}, False),
        ("a@b.example", "Subject: ä".encode(), {}, False),
        ("ä@b.example", b"Subject: x", {"SMTPUTF8": ""}, True),
    ],
)
def test_smtputf8(sender: str, header: bytes, extensions: dict[str, str], fits: bool) -> None:
    """SMTPUTF8 is needed only where something is not ASCII; without it such a message cannot be sent."""
    envelope = Envelope(sender, (Recipient("u@example.jp"),), smtputf8=True)
    assert (unfit(envelope, Message((header,)), 10, extensions) is None) is fits


def test_control_bytes() -> None:
    """An address with a line end in it never reaches the wire."""
    with pytest.raises(ValueError, match="control byte"):
        group(Envelope("a@b.example", (Recipient("u@example.jp>\r\nRCPT TO:<x@y.example"),)), 1, {})
