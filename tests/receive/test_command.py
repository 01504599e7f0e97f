"""The arguments of MAIL and RCPT."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.mail.envelope import Recipient
from backupmx.mail.reply import Reply
from backupmx.receive.command import Mail, mail, rcpt


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (b"FROM:<>", Mail("")),
        (b"from:<>", Mail("")),
        (b"FROM: <a@b.example>", Mail("a@b.example")),
        (b"FROM:<a@b.example> AUTH=<>", Mail("a@b.example")),
        (b"FROM:a@b.example", Mail("a@b.example")),
        (b"FROM:<@x.example,@y.example:a@b.example>", Mail("a@b.example")),
        (b'FROM:<"a b>c"@b.example> SIZE=5', Mail('"a b>c"@b.example', size=5)),
        (b"FROM:<a@b.example> SIZE=1000 BODY=8BITMIME", Mail("a@b.example", 1000, "8BITMIME")),
        (b"FROM:<a@b.example> ret=full envid=x+2By", Mail("a@b.example", ret="FULL", envid="x+2By")),
        ("FROM:<あ@b.example> SMTPUTF8".encode(), Mail("あ@b.example", smtputf8=True)),
        (b"FROM:<a@b.example> smtputf8", Mail("a@b.example", smtputf8=True)),
    ],
)  # fmt: skip
def test_mail(argument: bytes, expected: Mail) -> None:
    """What MAIL says, with every parameter that EHLO offers."""
    assert expected == mail(argument, 1000)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (b"", "501 5.5.4"), (b"FROM", "501 5.5.4"), (b"FROM:", "501 5.5.4"), (b"<a@b.example>", "501 5.5.4"),
        (b"FROM:<a@b.example", "501 5.1.7"), (b"FROM:<a>", "501 5.1.7"), (b"FROM:<a@>", "501 5.1.7"),
        (b"FROM:<@b.example>", "501 5.1.7"), (b"FROM:<a@b.example>x", "501 5.1.7"), (b"FROM:<a@b..c>", "501 5.1.7"),
        (b"FROM:<a\x07@b.example>", "501 5.1.7"), (b"FROM:<\xff@b.example>", "501 5.1.7"),
        (b"FROM:<" + b"a" * 600 + b"@b.example>", "501 5.1.7"),
        (b"FROM:<a@" + b"b" * 300 + b">", "501 5.1.7"),
        (b"FROM:<a@b.example> SIZE", "501 5.5.4"), (b"FROM:<a@b.example> SIZE=-1", "501 5.5.4"),
        ("FROM:<a@b.example> SIZE=١".encode(), "501 5.5.4"),
        (b"FROM:<a@b.example> SIZE=1001", "552 5.3.4"),
        (b"FROM:<a@b.example> SIZE=100000000000000000000000", "501 5.5.4"),
        (b"FROM:<a@b.example> RET=FULL RET=HDRS", "501 5.5.4"),
        (b"FROM:<a@b.example> ENVID=+4", "501 5.5.4"), (b"FROM:<a@b.example> ENVID=" + b"x" * 101, "501 5.5.4"),
        (b"FROM:<a@b.example> SMTPUTF8=YES", "555 5.5.4"), (b"FROM:<a@b.example> AUTH", "555 5.5.4"),
        ("FROM:<あ@b.example>".encode(), "553 5.6.7"),
    ],
)  # fmt: skip
def test_mail_refused(argument: bytes, expected: str) -> None:
    """What MAIL must not say, in Postfix's codes."""
    answer = mail(argument, 1000)
    assert isinstance(answer, Reply)
    assert expected == str(answer)[: len(expected)]


def test_no_size_limit() -> None:
    """message_size_limit 0 takes any declared size."""
    assert Mail("", size=10**15) == mail(b"FROM:<> SIZE=1000000000000000", 0)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (b"TO:<user@example.jp>", Recipient("user@example.jp")),
        (b"to: user@example.jp", Recipient("user@example.jp")),
        (b"TO:<Postmaster>", Recipient("Postmaster")),
        (b"TO:<u@example.jp> NOTIFY=never", Recipient("u@example.jp", "NEVER")),
        (b"TO:<u@example.jp> NOTIFY=Success,FAILURE", Recipient("u@example.jp", "SUCCESS,FAILURE")),
        (b"TO:<u@example.jp> ORCPT=rfc822;Bob+2BX@x", Recipient("u@example.jp", "", "rfc822;Bob+2BX@x")),
        ("TO:<u@example.jp> ORCPT=utf-8;あ@x".encode(), Recipient("u@example.jp", "", "utf-8;あ@x")),
    ],
)  # fmt: skip
def test_rcpt(argument: bytes, expected: Recipient) -> None:
    """What RCPT says, with what RFC 3461 adds."""
    assert expected == rcpt(argument, smtputf8=False)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (b"", "501 5.5.4"), (b"TO:", "501 5.5.4"), (b"TO:<>", "501 5.1.3"), (b"TO:<user>", "501 5.1.3"),
        (b"TO:<u@example.jp> NOTIFY=", "501 5.5.4"), (b"TO:<u@example.jp> NOTIFY=NEVER,DELAY", "501 5.5.4"),
        (b"TO:<u@example.jp> ORCPT=;x", "501 5.5.4"), (b"TO:<u@example.jp> ORCPT=rfc822;a=b", "501 5.5.4"),
        (b"TO:<u@example.jp> ORCPT=rfc822;" + b"x" * 500, "501 5.5.4"),
        ("TO:<u@example.jp> ORCPT=rfc822;あ".encode(), "501 5.5.4"),
        (b"TO:<u@example.jp> BODY=7BIT", "555 5.5.4"), ("TO:<あ@example.jp>".encode(), "553 5.6.7"),
    ],
)  # fmt: skip
def test_rcpt_refused(argument: bytes, expected: str) -> None:
    """What RCPT must not say, in Postfix's codes."""
    answer = rcpt(argument, smtputf8=False)
    assert isinstance(answer, Reply)
    assert expected == str(answer)[: len(expected)]


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes(argument: bytes, utf8: bool) -> None:
    """No bytes from a client raise anything; what is taken is free of control bytes."""
    sender = mail(b"FROM:" + argument, 0)
    recipient = rcpt(b"TO:" + argument, utf8)
    assert not isinstance(sender, Mail) or not any(ord(c) < 32 for c in sender.sender + sender.envid)
    assert not isinstance(recipient, Recipient) or not any(ord(c) < 32 for c in recipient.address + recipient.orcpt)
