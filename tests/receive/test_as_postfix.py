"""What clients read from us is what they read from Postfix, word for word, where we do not differ on purpose."""

import asyncio
import re
import smtplib
import socket
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


EHLO, FROM, TO = (f"{script[-1]}\r\n".encode() for script in (HELLO, MAIL, RCPT))
BEGUN = EHLO + FROM + TO
LARGE = b"BDAT 52428801\r\n" + b"x" * 52428801
STREAMS = [
    BEGUN + b"BDAT 3\r\na\r\nBDAT 3\r\nb\r\nBDAT 0 LAST\r\n" + FROM + b"QUIT\r\n",
    BEGUN + b"BDAT 0 LAST\r\nQUIT\r\n",
    BEGUN + b"BDAT 0\r\nBDAT 0\r\nBDAT 0 LAST\r\nQUIT\r\n",
    EHLO + b"BDAT 0\r\nBDAT 0 LAST\r\nQUIT\r\n",
    BEGUN + b"bdat 003 last\r\na\r\nBDAT 3 LAST\r\na\r\n" + FROM + b"QUIT\r\n",
    BEGUN + b"BDAT 24 LAST\r\nX: a\n\n\r\n.\r\n..b\r\rcd\0\r\r\ny\rQUIT\r\n",
    BEGUN + b"BDAT 4\r\nX:\r\rBDAT 2 LAST\r\n\nyQUIT\r\n",
    BEGUN + b"BDAT 3\r\na\r\n" + TO + b"DATA\r\n" + FROM + b"NOOP\r\nBDAT 3 LAST\r\nb\r\nQUIT\r\n",
    BEGUN + b"BDAT 3\r\na\r\nRSET\r\nBDAT 3 LAST\r\nb\r\n" + FROM + b"QUIT\r\n",
    BEGUN + b"BDAT 3\r\na\r\nHELO y\r\nBDAT 3\r\nb\r\nBDAT 3 LAST\r\nb\r\n" + FROM + b"QUIT\r\n",
    EHLO + b"BDAT 6\r\nRSET\r\nBDAT 6 LAST\r\nRSET\r\n" + FROM + b"BDAT 3 LAST\r\na\r\n" + TO + b"QUIT\r\n",
    EHLO + FROM + b"RCPT TO:<a@b.example>\r\nBDAT 6\r\nRSET\r\n" + FROM + TO + b"DATA\r\nBDAT 6 LAST\r\nRSET\r\n" + TO,
    BEGUN + LARGE + FROM + b"BDAT 6 LAST\r\nRSET\r\n" + FROM + b"QUIT\r\n",
    *(BEGUN + f"BDAT{bad}\r\na\r\nQUIT\r\n".encode() for bad in ("", " x", " -3", " +3", " 3 X", " 3 LAST x", " 0x3")),
    BEGUN + b"BDAT 99999999999999999999\r\n",
    BEGUN + b"DATA\r\nx\r\n.\r\nBDAT 3 LAST\r\na\r\nQUIT\r\n",
]
SPOKEN = [
    "XCLIENT", "XCLIENT foo", "XCLIENT NAME=", "XCLIENT NAME=a b", "XCLIENT FOO=bar", "XCLIENT ADDR=foo",
    "XCLIENT ADDR=1.2.3", "XCLIENT ADDR=IPv6:::zz", "XCLIENT ADDR=::1", "XCLIENT PORT=abc", "XCLIENT PROTO=FOO",
    "XCLIENT NAME=a..b", f"XCLIENT NAME={'x' * 300}", "XCLIENT DESTADDR=foo", "XCLIENT DESTPORT=x",
    "XCLIENT NAME=1.2.3.4",
    "XCLIENT REVERSE_NAME=a..b", "XCLIENT PORT=123456", "XCLIENT FOO=1 ADDR=zz", "xclient name=-a",
]  # fmt: skip
"""What a trusted client can get wrong."""
_QUEUE_ID = re.compile(r"(?<=queued as )\w+")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Postfix that is secondary MX for example.jp; its port."""
    settings = {
        "relay_domains": "example.jp", "smtpd_authorized_xclient_hosts": "127.0.0.1",
        "smtpd_error_sleep_time": "0", "message_size_limit": "52428800",
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


def all_replies(port: int, stream: bytes) -> list[str]:
    """What a client reads that sends all of this and listens to the end; what was said to EHLO left out."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client, client.makefile("rb") as said:
        said.readline()
        try:
            client.sendall(stream)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has hung up: what it said is there to be read
        try:
            lines = [line.decode().rstrip() for line in said]
        except ConnectionError:
            lines = ["reset"]
    return [_QUEUE_ID.sub("ID", line) for line in lines if not re.match(r"250[ -](?!2\.)", line)]


async def test_chunks_word_for_word(reference: int) -> None:
    """BDAT in and out of order, pipelined as far as it goes: the same replies in the same order."""

    def both() -> dict[int, tuple[list[str], list[str]]]:
        said = {n: (all_replies(reference, s), all_replies(door.port, s)) for n, s in enumerate(STREAMS)}
        return {n: replies for n, replies in said.items() if replies[0] != replies[1]}

    async with running(limit_exceptions=("127.0.0.0/8",)) as door:
        assert await asyncio.to_thread(both) == {}


async def test_xclient_word_for_word(reference: int) -> None:
    """XCLIENT with anything wrong in it, and in a transaction."""
    scripts = [*([script] for script in SPOKEN), [*MAIL, "XCLIENT ADDR=192.0.2.1"]]

    def both() -> dict[str, tuple[str, str]]:
        said = {script[-1]: (last_reply(reference, script), last_reply(door.port, script)) for script in scripts}
        return {script: replies for script, replies in said.items() if replies[0] != replies[1]}

    async with running(xclient_from=("127.0.0.1",)) as door:
        assert await asyncio.to_thread(both) == {}
