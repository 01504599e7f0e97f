"""What clients read from us is what they read from Postfix, word for word, where we do not differ on purpose."""

import asyncio
import smtplib
from collections.abc import Iterator

import pytest

from tests.neighbours.postfix import postfix
from tests.receive.doors import running

pytestmark = pytest.mark.neighbours

HELLO = ["EHLO client.example"]
MAIL = [*HELLO, "MAIL FROM:<a@b.example>"]
RCPT = [*MAIL, "RCPT TO:<user@example.jp>"]

ADDRESSES = [
    "<a@example.jp>", "a@example.jp", " <a@example.jp>", "<a..b@example.jp>", "<.a@example.jp>", "<a.@example.jp>",
    "<a@example.jp.>", "<a_b@exa_mple.jp>", "<a'b=c/d+e@example.jp>", '<"a b"@example.jp>', "<@x,@y:a@example.jp>",
    f"<{'v' * 100}@example.jp>", "<-a@example.jp>", "<a b@example.jp>", "<a@example.jp", "<a@example.jp>x", "<a@>",
    "<a@b..example.jp>", "<a@-b.example.jp>", f"<a@{'b' * 64}.example.jp>", "<a@[1.2.3]>", "<a;b@example.jp>",
    "<a,b@example.jp>", "<a@[IPv6:::1]x>",
]  # fmt: skip
PARAMETERS = [
    "SIZE=1000", "SIZE=ten", "SIZE=", "SIZE=999999999999", "BODY=7BIT", "body=8bitmime", "BODY=BINARYMIME", "SMTPUTF8",
    "SMTPUTF8=1", "RET=FULL", "RET=X", "RET=HDRS RET=HDRS", "ENVID=a+2Bb", "ENVID=a+2bb", "ENVID=", "ENVID=+", "XFOO=1",
]  # fmt: skip
RECIPIENT_PARAMETERS = [
    "NOTIFY=NEVER", "NOTIFY=success,delay", "NOTIFY=NEVER,DELAY", "NOTIFY=", "NOTIFY=NEVER NOTIFY=NEVER",
    "ORCPT=rfc822;a@b.example", "ORCPT=rfc822;a+2Bb", "ORCPT=rfc822", "ORCPT=;x", "ORCPT=rfc822;a+zz", "FOO",
]  # fmt: skip

SCRIPTS = [
    *([*HELLO, f"MAIL FROM:{address}"] for address in ADDRESSES),
    *([*MAIL, f"RCPT TO:{address}"] for address in ADDRESSES),
    *([*HELLO, f"MAIL FROM:<a@b.example> {parameters}"] for parameters in PARAMETERS),
    *([*MAIL, f"RCPT TO:<user@example.jp> {parameters}"] for parameters in RECIPIENT_PARAMETERS),
    [*HELLO, "MAIL"], [*HELLO, "MAIL FROM"], [*HELLO, "MAIL FROM:"], [*HELLO, "MAIL FROM <a@b.example>"],
    [*MAIL, "RCPT"], [*MAIL, "RCPT TO"], [*MAIL, "RCPT TO:"], [*MAIL, "RCPT TO:<>"],
    [*HELLO, "RCPT TO:<user@example.jp>"], [*HELLO, "DATA"], [*MAIL, "MAIL FROM:<c@d.example>"],
    [*MAIL, "RCPT TO:<user@elsewhere.example>"], [*MAIL, "RCPT TO:<user%elsewhere.example@example.jp>"],
    [*MAIL, "RCPT TO:<elsewhere.example!user@example.jp>"], [*MAIL, "RCPT TO:<user@elsewhere.example>", "DATA"],
    [*RCPT, "DATA now"], [*RCPT, "RSET", "DATA"], [*RCPT, "EHLO again", "DATA"], [*RCPT, "DATA"],
    ["FOO"], [""], ["   "], ["RSET"], ["RSET now"], ["NOOP"], ["NOOP x"], ["noop"], ["QUIT"], ["VRFY"],
    ["STARTTLS now"], ["GET / HTTP/1.0"], ["HELO x", "MAIL FROM:<>"], ["HELO x", "MAIL FROM:<a@b.example> SIZE=1"],
]  # fmt: skip


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Postfix that is secondary MX for example.jp; its port."""
    settings = {
        "relay_domains": "example.jp", "smtpd_error_sleep_time": "0", "message_size_limit": "52428800",
        "smtpd_relay_restrictions": "reject_unauth_destination", "smtpd_recipient_restrictions": "",
    }  # fmt: skip
    with postfix(tmp_path_factory.mktemp("reference"), domains=["box.example"], settings=settings) as instance:
        yield instance.port


def last_reply(port: int, script: list[str]) -> str:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        for command in script[:-1]:
            client.docmd(command)
        code, text = client.docmd(script[-1])
        client.close()
    return f"{code} {text.decode()}"


async def test_word_for_word(reference: int) -> None:
    """Paths, parameters, and commands in and out of order."""

    def both() -> dict[str, tuple[str, str]]:
        said = {" | ".join(s[-2:]): (last_reply(reference, s), last_reply(door.port, s)) for s in SCRIPTS}
        return {script: replies for script, replies in said.items() if replies[0] != replies[1]}

    async with running() as door:
        assert await asyncio.to_thread(both) == {}
