"""One dialogue against a real socket: what scripts in tests/dialogues cannot say."""

import asyncio
import os
import re
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.reply import Reply
from backupmx.queue.entry import QueueFull, QueueTrouble
from tests.receive.doors import Recorder, Taken, running


async def test_envelope_and_client() -> None:
    """What the client said of itself and of the message reaches accept() complete."""
    async with running() as door:
        talk = await door.connect()
        await talk.say("EHLO client.example")
        await talk.say("MAIL FROM:<a@b.example> SIZE=9 BODY=8BITMIME RET=HDRS ENVID=x1 SMTPUTF8")
        await talk.say("RCPT TO:<User@example.jp> NOTIFY=NEVER ORCPT=rfc822;u@x", "RCPT TO:<postmaster>", "DATA")
        await talk.say("Subject: x\r\n\r\nbody\r\n.")
        taken = door.recorder.messages[0]
        recipients = (Recipient("User@example.jp", "NEVER", "rfc822;u@x"), Recipient("postmaster@example.jp"))
        assert Envelope("a@b.example", recipients, "8BITMIME", True, "HDRS", "x1") == taken.envelope
        port = talk.writer.get_extra_info("sockname")[1]
        daemon = tuple(talk.writer.get_extra_info("peername"))
        assert Client("127.0.0.1", port, "unknown", "client.example", "ESMTP", daemon=daemon) == taken.client
        await talk.close()


async def test_helo_is_made_harmless() -> None:
    """What a client calls itself cannot break out of a Received: field."""
    async with running() as door:
        talk = await door.connect()
        await talk.say(b'HELO a(b)<c>;"d\\e\xff\x07 f@g [192.0.2.1]')
        await talk.say("MAIL FROM:<>", "RCPT TO:<user@example.jp>", "DATA")
        await talk.say(".")
        assert door.recorder.messages[0].client.helo == "a?b??c???d?e???f?g?[192.0.2.1]"
        assert door.recorder.messages[0].client.protocol == "SMTP"
        await talk.close()


async def test_log_of_a_session() -> None:
    """grep QUEUEID tells where a message came from; the last line counts what was said."""
    async with running() as door:
        talk = await door.connect()
        await talk.begin()
        reply = await talk.say(".")
        await talk.say("RCPT TO:<user@example.jp>", "QUIT")
        await talk.closed()
        await talk.close()
    queue_id = door.recorder.messages[0].queue_id
    assert f"250 2.0.0 Ok: queued as {queue_id}" == reply
    assert [
        "connect from unknown[127.0.0.1]",
        f"{queue_id}: client=unknown[127.0.0.1]",
        "disconnect from unknown[127.0.0.1] ehlo=1 mail=1 rcpt=1/2 data=1 quit=1 commands=5/6",
    ] == door.lines


async def test_refusals_are_logged() -> None:
    """A refused recipient is one line, as pflogsumm counts it."""
    async with running() as door:
        talk = await door.connect()
        await talk.say("HELO x", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>")
        await talk.close()
    assert door.lines[1] == (
        "NOQUEUE: reject: RCPT from unknown[127.0.0.1]: 554 5.7.1 <c@d.example>: Relay access denied;"
        " from=<a@b.example> to=<c@d.example> proto=SMTP helo=<x>"
    )


async def test_queue_ids_are_the_messages_own() -> None:
    """Two messages of one session have two ids."""
    async with running() as door:
        talk = await door.connect()
        for _ in range(2):
            await talk.begin()
            await talk.say(".")
        first, second = (taken.queue_id for taken in door.recorder.messages)
        assert first != second
        await talk.close()


@pytest.mark.parametrize("trouble", [QueueTrouble("disk"), QueueFull("disk")])
async def test_queue_trouble(trouble: QueueTrouble) -> None:
    """A queue that cannot write says so itself; the session goes on."""

    async def fail(taken: Taken) -> None:
        raise trouble

    async with running(Recorder(before=fail)) as door:
        talk = await door.connect()
        await talk.begin()
        assert str(trouble.reply) == await talk.say(".")
        assert await talk.say("NOOP") == "250 2.0.0 Ok"
        await talk.close()


async def test_a_bug_in_accept() -> None:
    """An exception nobody thought of is 451, a traceback in the log, and the next message goes through."""

    async def fail(taken: Taken) -> Reply | None:
        if not taken.content:
            raise ZeroDivisionError("secret")
        return None

    async with running(Recorder(before=fail)) as door:
        talk = await door.connect()
        await talk.begin()
        assert await talk.say(".") == "451 4.3.0 Error: internal trouble, try again later"
        await talk.begin()
        assert (await talk.say("x\r\n.")).startswith("250 2.0.0 Ok: queued as ")
        await talk.close()
    assert door.door.service.journal.counters["bug"] == 1
    assert any("ZeroDivisionError: secret" in line for line in door.lines)


async def test_a_bug_in_a_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same at any command."""
    async with running() as door:

        def fail(client: Client, sender: str) -> Reply | None:
            raise RuntimeError("secret")

        monkeypatch.setattr(door.door.service.admission, "sender", fail)
        talk = await door.connect()
        assert await talk.say("HELO x", "MAIL FROM:<>") == "451 4.3.0 Error: internal trouble, try again later"
        assert await talk.say("NOOP") == "250 2.0.0 Ok"
        await talk.close()
    assert any("RuntimeError: secret" in line for line in door.lines)


@pytest.mark.parametrize("how", ["closes", "resets"])
async def test_a_client_that_hangs_up_does_not_stop_the_commit(how: str) -> None:
    """What runs behind the final dot runs to its end (RFC 5321 6.1)."""
    entered, leave = asyncio.Event(), asyncio.Event()

    async def commit(taken: Taken) -> Reply | None:
        entered.set()
        await leave.wait()
        return None

    async with running(Recorder(before=commit)) as door:
        talk = await door.connect()
        await talk.begin()
        talk.writer.write(b"x\r\n.\r\n")
        await entered.wait()
        if how == "resets":
            linger = struct.pack("ii", 1, 0)
            talk.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        talk.writer.transport.abort()
        if how == "resets":
            await door.gone()
        leave.set()
        await door.door.service.empty()
        assert [taken.content for taken in door.recorder.messages] == [b"x\r\n"]


async def test_a_client_that_only_stops_sending_gets_its_reply() -> None:
    """A half-closed connection is answered: what was sent counts."""
    async with running() as door:
        talk = await door.connect()
        await talk.begin()
        talk.writer.write(b"x\r\n.\r\n")
        talk.writer.write_eof()
        assert (await talk.reply()).startswith("250 2.0.0 Ok: queued as")
        assert await talk.closed()
        await talk.close()


async def test_half_a_message_is_no_message() -> None:
    """A connection that breaks within DATA leaves nothing."""
    async with running() as door:
        talk = await door.connect()
        await talk.begin()
        talk.writer.write(b"x\r\n.\r")
        await talk.close()
        await door.door.service.empty()
        assert door.recorder.messages == []
    assert "lost connection after DATA from unknown[127.0.0.1]" in door.lines


async def test_large_messages_are_spooled(tmp_path: Path) -> None:
    """Beyond the limit a message lies in the body folder; the queue keeps the file or it goes."""
    for adopt, expected in ((False, 0), (True, 1)):
        recorder = Recorder(adopt=adopt)
        async with running(recorder, spool_folder=str(tmp_path), spool_above=1000) as door:
            talk = await door.connect()
            await talk.begin()
            await talk.say(b"0123456789abc\r\n" * 100_000 + b".")
            await talk.close()
        assert [taken.content for taken in recorder.messages] == [b"0123456789abc\r\n" * 100_000]
        assert recorder.messages[0].spooled
        assert expected == len(os.listdir(tmp_path))


class Uncertain(QueueTrouble):
    """As the queue's: whether it was committed only a crash would tell."""


@pytest.mark.parametrize(
    ("raises", "expected"),
    [(QueueTrouble("disk"), 0), (QueueFull("disk"), 0), (Uncertain(), 1), (ValueError("bug"), 1)],
)
async def test_spool_files_after_trouble(tmp_path: Path, raises: Exception, expected: int) -> None:
    """The file goes when nothing was stored, and stays for the sweep where the queue may have taken it."""

    async def fail(taken: Taken) -> None:
        raise raises

    async with running(Recorder(before=fail), spool_folder=str(tmp_path), spool_above=10) as door:
        talk = await door.connect()
        await talk.begin()
        assert (await talk.say(b"0123456789abc\r\n" * 10 + b".")).startswith("45")
        await talk.close()
    assert len(os.listdir(tmp_path)) == expected


async def test_a_spool_that_cannot_be_written(tmp_path: Path) -> None:
    """No folder, no promise: 451 at the end, and the session goes on."""
    async with running(spool_folder=str(tmp_path / "missing"), spool_above=10) as door:
        talk = await door.connect()
        await talk.begin()
        assert str(QueueTrouble.reply) == await talk.say(b"0123456789abc\r\n" * 100_000 + b".")
        await talk.begin()
        assert (await talk.say("small\r\n.")).startswith("250 ")
        await talk.close()


async def test_below_the_floor(tmp_path: Path) -> None:
    """A large message is refused when it is announced, or at its end when it was not; a small one is the queue's."""
    async with running(spool_folder=str(tmp_path), spool_above=1000, min_free=1 << 60) as door:
        talk = await door.connect()
        assert await talk.say("EHLO x", "MAIL FROM:<> SIZE=1001") == str(QueueFull.reply)
        assert await talk.say("MAIL FROM:<> SIZE=1000") == "250 2.1.0 Ok"
        await talk.begin()
        assert await talk.say(b"0123456789abc\r\n" * 100 + b".") == str(QueueFull.reply)
        await talk.begin()
        assert (await talk.say("small\r\n.")).startswith("250 ")
        await talk.close()
    assert os.listdir(tmp_path) == []


async def test_too_large_leaves_no_file(tmp_path: Path) -> None:
    """A message beyond message_size_limit is read to its end and forgotten on the way."""
    async with running(spool_folder=str(tmp_path), spool_above=10, message_size_limit=1_000_000) as door:
        talk = await door.connect()
        await talk.begin()
        assert await talk.say(b"0123456789abc\r\n" * 100_000 + b".") == "552 5.3.4 Error: message file too big"
        await talk.close()
    assert os.listdir(tmp_path) == []
    assert any("reject: END-OF-MESSAGE" in line and "552 5.3.4" in line for line in door.lines)


async def test_name_is_there_when_it_is_needed() -> None:
    """MAIL waits for the client's name; the greeting does not."""
    found = asyncio.Event()

    class Slow:
        async def reverse(self, ip: str) -> str:
            await found.wait()
            return "mail.b.example"

    async with running(resolver=Slow()) as door:
        talk = await door.connect()
        await talk.say("EHLO x")
        talk.writer.write(b"MAIL FROM:<>\r\nRCPT TO:<user@example.jp>\r\nDATA\r\n")
        await asyncio.sleep(0)
        found.set()
        assert [await talk.reply(), await talk.reply()] == ["250 2.1.0 Ok", "250 2.1.5 Ok"]
        await talk.reply()
        await talk.say(".")
        assert door.recorder.messages[0].client.name == "mail.b.example"
        assert door.recorder.messages[0].client.helo == "x"
        await talk.close()
    assert door.lines[0] == "connect from mail.b.example[127.0.0.1]"


async def test_a_resolver_with_a_bug() -> None:
    """Mail goes on without a name; the log has the traceback."""

    class Broken:
        async def reverse(self, ip: str) -> str:
            raise LookupError("secret")

    async with running(resolver=Broken()) as door:
        talk = await door.connect()
        await talk.begin()
        assert (await talk.say(".")).startswith("250 ")
        await talk.close()
    assert door.recorder.messages[0].client.name == "unknown"
    assert door.door.service.journal.counters["bug"] == 1


ODD = [
    b"", b"\0" * 1000, b"\r" * 5000, b"X: y\r\n" * 10_000 + b"\r\nbody\r\n", b"X: " + b"y" * 1_000_000 + b"\r\n\r\n",
    b"X: y\r\n " * 10_000 + b"\r\n", b"\xff" * 100_000, b":\r\n:\r\n", b"Received: x\r\n" * 10_000, b".\r\n" * 1000,
]  # fmt: skip


@pytest.mark.parametrize("content", ODD, ids=range(len(ODD)))
async def test_odd_messages_get_a_reply(content: bytes) -> None:
    """NULs, bare CRs, ten thousand headers, a header line of a megabyte: each gets a reply."""
    async with running() as door:
        talk = await door.connect()
        await talk.begin()
        stuffed = re.sub(rb"(?m)^\.", b"..", content)
        assert (await talk.say(stuffed + b"\r\n.")).startswith("250 2.0.0 Ok: queued as ")
        assert await talk.say("QUIT") == "221 2.0.0 Bye"
        await talk.close()


WORDS = [
    b"EHLO x", b"HELO", b"MAIL FROM:<a@b.example>", b"MAIL FROM:<>", b"RCPT TO:<user@example.jp>", b"DATA", b".",
    b"RSET", b"NOOP", b"VRFY x", b"HELP", b"\0", b"\xff\xfe", b" ", b"SIZE=1", b"STARTTLS", b"\r", b"\n", b"\r\n",
    b"\r\n.\r\n", b"BDAT 3\r\n", b"BDAT 2 LAST\r\nx\n", b"BDAT 0 LAST", b"ETRN example.jp", b"XCLIENT ADDR=192.0.2.1",
]  # fmt: skip
BARE = re.compile(rb"220 mx2|354 |250[ -](mx2\.example\.net|[A-Z0-9]+( [A-Z0-9_=]+)*)$")
"""Replies without an enhanced code: the greeting, those to HELO and EHLO, and to DATA (RFC 2034 section 3)."""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=30)), max_size=30).map(b"".join))
def test_any_bytes_get_replies_only(stream: bytes) -> None:
    """No bytes from a client raise anything but replies, and no reply speaks of our insides."""

    async def flush(domain: str) -> int:
        return 0

    async def play() -> None:
        async with running(error_delay=0, xclient_from=("127.0.0.1",), etrn_from=("127.0.0.1",), flush=flush) as door:
            talk = await door.connect()
            talk.writer.write(stream)
            talk.writer.write_eof()
            async with asyncio.timeout(10):
                said = await talk.reader.read()
            await talk.close()
        assert door.door.service.journal.counters["bug"] == 0, door.lines
        for line in said.split(b"\r\n")[:-1]:
            assert BARE.match(line) or re.fullmatch(rb"([245])\d\d[ -]\1\.\d\.\d+ .*", line), line
            assert not re.search(rb"Error: \(|Traceback|Exception|[A-Z]\w+Error\b", line), line

    asyncio.run(play())
