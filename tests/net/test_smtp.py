"""net/smtp.py: our side of a conversation, with peers that misbehave in every phase."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from backupmx.mail.envelope import Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.net import smtp, tls_client
from backupmx.net.smtp_transaction import Result
from backupmx.net.tls_client import Level, TlsPolicy
from tests.net.peers import CLOSE, STALL, Peer

SHORT = smtp.Timeouts(*[0.3] * 9)
LONG = smtp.Timeouts(*[20.0] * 9)


def envelope(*locals: str, sender: str = "a@client.example") -> Envelope:
    return Envelope(sender, tuple(Recipient(f"{local}@example.jp") for local in locals or ("u",)))


def message(body: bytes = b"hello\r\n") -> Message:
    return Message((b"Subject: test",), (b"\r\n" + body,))


@asynccontextmanager
async def connected(peer: Peer, timeouts: smtp.Timeouts = LONG, **more: Any) -> AsyncIterator[smtp.Connection]:
    address = ("peer.example", "127.0.0.1", peer.port) if not peer.path else (peer.path, "", 0)
    connection = await smtp.connect(*address, helo="mx2.example.net", timeouts=timeouts, lmtp=peer.lmtp, **more)
    try:
        yield connection
    finally:
        await connection.quit()


async def deliver(connection: smtp.Connection, who: Envelope, what: Message) -> Result:
    return await connection.deliver(who, what, what.size)


def codes(result: Result) -> list[int]:
    return [reply.code if reply else 0 for reply in result.replies]


@pytest.fixture
def tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("somebody-else.example").configure_cert(context)
    return context


async def test_one_message() -> None:
    """A message arrives byte for byte, dots and all, with the parameters the peer knows."""
    async with Peer() as peer, connected(peer) as connection:
        body = b".\r\n..two\r\nlast line without an end"
        result = await deliver(connection, envelope("u", "v"), message(body))
        assert codes(result) == [250, 250]
    assert peer.taken[0].content == b"Subject: test\r\n\r\n" + body + b"\r\n"
    assert peer.said[:2] == ["EHLO mx2.example.net", f"MAIL FROM:<a@client.example> SIZE={message(body).size}"]
    assert peer.said[-1] == "QUIT"


async def test_many_on_one_connection() -> None:
    """Messages that wait share one connection and arrive in order, each with its own answer."""
    answers = {"RCPT": lambda line: "550 5.1.1 no" if "bad" in line else "250 ok"}
    async with Peer(answers) as peer, connected(peer) as connection:
        names = ["one", "bad2", "three", "bad4", "five", "six"]
        results = await asyncio.gather(
            *(deliver(connection, envelope(name), message(name.encode() + b"\r\n")) for name in names)
        )
        assert [codes(result) for result in results] == [[250], [550], [250], [550], [250], [250]]
        assert connection.served == 6
    assert [t.content[17:-2] for t in peer.taken] == [b"one", b"three", b"five", b"six"]
    assert (peer.connections, peer.said.count("RSET")) == (1, 2)


async def test_without_pipelining() -> None:
    """A peer of RFC 821, which refuses EHLO, gets one command at a time."""
    answers: dict[str, Any] = {"EHLO": "500 what?", "RCPT": ["550 no", "250 ok", "550 no", "550 no", "250 ok"]}
    async with Peer(answers) as peer, connected(peer) as connection:
        assert connection.extensions == {}
        first = await deliver(connection, envelope("u", "v"), message())
        second = await deliver(connection, envelope("w", "x"), message())
        third = await deliver(connection, envelope("y"), message())
    assert [codes(r) for r in (first, second, third)] == [[550, 250], [550, 550], [250]]
    assert [line.split()[0] for line in peer.said] == (
        ["EHLO", "HELO", "MAIL", "RCPT", "RCPT", "DATA", "MAIL", "RCPT", "RCPT", "RSET", "MAIL", "RCPT", "DATA", "QUIT"]
    )


async def test_large_message() -> None:
    """A message of many pieces arrives whole, and the next one behind it."""
    body = b"".join(b"%d line with a dot\r\n.\r\n" % n for n in range(120_000))
    async with Peer() as peer, connected(peer) as connection:
        results = await asyncio.gather(*(deliver(connection, envelope(), message(body)) for _ in range(2)))
        assert [codes(result) for result in results] == [[250], [250]]
    assert [t.content for t in peer.taken] == [b"Subject: test\r\n\r\n" + body] * 2


async def test_lmtp_over_a_socket_file(tmp_path: Path) -> None:
    """LMTP answers for each recipient after the dot."""
    answers = {"DOT": ["250 2.0.0 ok", "452 4.2.2 full"]}
    async with Peer(answers, lmtp=True, path=str(tmp_path / "lmtp")) as peer, connected(peer) as connection:
        assert codes(await deliver(connection, envelope("u", "v"), message())) == [250, 452]
    assert peer.said[0] == "LHLO mx2.example.net"


@pytest.mark.parametrize(
    ("answers", "words", "status"),
    [
        ({"GREETING": "554 5.7.1 not you"}, "refused to talk to me: 554 5.7.1 not you", "4.7.1"),
        ({"GREETING": "421 4.3.2 busy"}, "refused to talk to me: 421 4.3.2 busy", "4.3.2"),
        ({"GREETING": CLOSE}, "lost connection with .* while receiving the initial server greeting", "4.4.2"),
        ({"GREETING": STALL}, "timed out while receiving the initial server greeting", "4.4.2"),
        ({"GREETING": "SSH-2.0-OpenSSH"}, "does not speak SMTP", "4.4.2"),
        ({"EHLO": "421 4.3.2 going down"}, "refused to talk to me: 421", "4.3.2"),
        ({"EHLO": CLOSE}, "lost connection with .* while performing the EHLO handshake", "4.4.2"),
        ({"EHLO": STALL}, "timed out while performing the EHLO handshake", "4.4.2"),
        ({"EHLO": "500 no", "HELO": "501 no"}, "refused to talk to me: 501 no", "4.3.0"),
    ],
)  # fmt: skip
async def test_unreachable(answers: dict[str, Any], words: str, status: str) -> None:
    """A host without a good greeting and EHLO is of no use now: never for good, always with its words."""
    async with Peer(answers) as peer:
        with pytest.raises(smtp.Unreachable, match=words) as trouble:
            async with connected(peer, SHORT):
                pass
    assert trouble.value.status == status


async def test_nobody_listens() -> None:
    """Connection refused is said as Postfix says it."""
    async with Peer() as peer:
        port = peer.port
    with pytest.raises(smtp.Unreachable, match=rf"connect to p\[127.0.0.1\]:{port}: Connection refused"):
        await smtp.connect("p", "127.0.0.1", port, helo="x", timeouts=SHORT)


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        ({"MAIL": "421 4.7.0 enough"}, [421, 421]),
        ({"RCPT": "421 4.7.0 enough"}, [421, 421]),
        ({"RCPT": ["550 5.1.1 no", "421 4.7.0 enough"]}, [550, 421]),
        ({"DATA": "421 4.7.0 enough"}, [421, 421]),
        ({"DOT": "421 4.7.0 enough"}, [421, 421]),
        ({"MAIL": "451 4.3.0 later"}, [451, 451]),
        ({"DATA": "554 5.6.0 never"}, [554, 554]),
        ({"DOT": "554 5.7.1 spam"}, [554, 554]),
        ({"RCPT": "550 5.1.1 no", "EMPTY": "354 go on", "DOT": "554 none"}, [550, 550]),
    ],
)
async def test_answers(answers: dict[str, Any], wanted: list[int]) -> None:
    """421 and refusals at any command are the answer of everybody who has none yet."""
    async with Peer(answers) as peer, connected(peer) as connection:
        result = await deliver(connection, envelope("u", "v"), message())
        assert (codes(result), connection.usable) == (wanted, 421 not in wanted)


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("how", [CLOSE, STALL, "gibberish"])
async def test_lost_before_the_dot(verb: str, how: str) -> None:
    """A connection that goes, hangs or talks nonsense before the dot: certainly not taken."""
    async with Peer({verb: how}) as peer, connected(peer, SHORT) as connection:
        with pytest.raises(smtp.Lost):
            await deliver(connection, envelope(), message())
        assert not connection.usable
        with pytest.raises(smtp.Lost):
            await deliver(connection, envelope(), message())


@pytest.mark.parametrize("how", [CLOSE, STALL])
async def test_lost_after_the_dot(how: str) -> None:
    """After the dot nobody can know: the result says so, and says why."""
    async with Peer({"DOT": how}) as peer, connected(peer, SHORT) as connection:
        result = await deliver(connection, envelope(), message())
    assert codes(result) == [0]
    assert "sending end of data -- message may be sent more than once" in result.lost


async def test_the_next_one_is_not_lost_with_it() -> None:
    """The message that rode behind a lost one was not taken, and is known not to be."""
    async with Peer({"DOT": CLOSE}) as peer, connected(peer) as connection:
        first, second = await asyncio.gather(
            *(deliver(connection, envelope(), message()) for _ in range(2)), return_exceptions=True
        )
    assert isinstance(first, Result)
    assert isinstance(second, smtp.Lost)


async def test_drop_in_the_middle_of_content() -> None:
    """A peer that closes while content is still coming has not taken it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        await reader.readline()
        writer.write(b"250-x\r\n250 PIPELINING\r\n")
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 ok\r\n250 ok\r\n354 go\r\n")
        await reader.readexactly(1000)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        connection = await smtp.connect("p", "127.0.0.1", port, helo="x", timeouts=LONG)
        with pytest.raises(smtp.Lost, match="while sending message body"):
            await deliver(connection, envelope(), message(b"x" * 78 + b"\r\n" * 4_000_000))


@pytest.mark.parametrize("what", [message(), message(b"x" * 78 + b"\r\n" * 4_000_000)], ids=["small", "large"])
async def test_drop_by_drop(what: Message) -> None:
    """A peer that is never late by much and never done does not hold a message for ever."""
    limits = replace(LONG, message=0.5) if what.size < 10_000 else replace(LONG, block=0.5)
    async with Peer(slow=0.1) as peer, connected(peer, limits) as connection:
        with pytest.raises(smtp.Lost, match="timed out while sending"):
            await deliver(connection, envelope(*(f"u{n}" for n in range(20))), what)


async def test_idle_connection_closes() -> None:
    """A kept connection that says 421 or goes is no longer usable."""
    async with Peer() as peer, connected(peer) as connection:
        await peer.stop()
        for _ in range(100):
            if not connection.usable:
                break
            await asyncio.sleep(0.02)
        assert not connection.usable


async def test_starttls(tls: ssl.SSLContext) -> None:
    """STARTTLS is used where it is offered, whoever the certificate is for (level may)."""
    async with Peer(tls=tls) as peer, connected(peer, tls=smtp.opportunistic()) as connection:
        assert connection.tls
        assert codes(await deliver(connection, envelope(), message())) == [250]
    assert [t.tls for t in peer.taken] == [True]
    assert [line.split()[0] for line in peer.said[:3]] == ["EHLO", "STARTTLS", "EHLO"]


async def test_starttls_refused(tls: ssl.SSLContext) -> None:
    """A peer that offers STARTTLS and then refuses it gets the mail over the same connection."""
    async with Peer({"STARTTLS": "454 4.7.0 no"}, tls=tls) as peer, connected(peer, tls=smtp.opportunistic()) as c:
        assert codes(await deliver(c, envelope(), message())) == [250]
        assert not c.tls


@pytest.mark.parametrize(
    "sent", [b"this is no handshake", b"\x16\x03\x01", b"250 injected", STALL.encode(), CLOSE.encode()]
)
async def test_starttls_broken(tls: ssl.SSLContext, sent: bytes) -> None:
    """A handshake that fails, hangs or begins with injected text is TlsTrouble: the caller comes again in clear."""
    async with Peer(tls=tls, after_starttls=sent) as peer:
        with pytest.raises(smtp.TlsTrouble):
            async with connected(peer, SHORT, tls=smtp.opportunistic()):
                pass


@pytest.mark.parametrize(
    ("answers", "offered", "sent", "words", "status"),
    [
        ({}, False, None, "TLS is required, but was not offered by host", "4.7.4"),
        ({"STARTTLS": "454 4.7.0 no"}, True, None, "TLS is required, but host .* refused to start TLS: 454", "4.7.4"),
        ({"STARTTLS": CLOSE}, True, None, "lost connection .* while sending STARTTLS", "4.4.2"),
        ({"STARTTLS": STALL}, True, None, "timed out while sending STARTTLS", "4.4.2"),
        ({}, True, b"this is no handshake", "handshake failure|does not speak SMTP", ""),  # as it comes: with the 220?
        ({}, True, STALL.encode(), "Cannot start TLS with .* handshake failure", "4.7.5"),
        ({}, True, CLOSE.encode(), "Cannot start TLS with .* handshake failure", "4.7.5"),
        ({"EHLO": ["250 peer.example", CLOSE]}, True, None, r"lost connection .* \(under TLS\)", "4.4.2"),
    ],
)  # fmt: skip
async def test_tls_or_nothing(
    tls: ssl.SSLContext, answers: dict[str, Any], offered: bool, sent: bytes | None, words: str, status: str
) -> None:
    """At level encrypt whatever goes wrong with TLS is the end of this try: no mail in clear, and the reason."""
    encrypt = TlsPolicy(Level.ENCRYPT, tls_client.context(Level.ENCRYPT))
    async with Peer(answers, tls=tls if offered else None, after_starttls=sent) as peer:
        with pytest.raises(smtp.Unreachable, match=words) as trouble:
            async with connected(peer, SHORT, tls=encrypt):
                pass
        assert trouble.value.status == (status or trouble.value.status)
        assert not any(line.startswith("MAIL") for line in peer.said)


async def test_cancelled() -> None:
    """An attempt that is cancelled takes its connection with it: nobody else reads its replies."""
    async with Peer({"DATA": STALL}) as peer, connected(peer) as connection:
        task = asyncio.create_task(deliver(connection, envelope(), message()))
        await peer.heard("DATA")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not connection.usable


REPLIES = st.sampled_from(
    [b"220 hi\r\n", b"250 ok\r\n", b"250-PIPELINING\r\n", b"354 go\r\n", b"421 bye\r\n", b"550 no\r\n"]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(REPLIES | st.binary(max_size=30), max_size=12), st.booleans())
def test_any_peer(chunks: list[bytes], lmtp: bool) -> None:
    """Whatever a peer sends, and whenever: an answer for each recipient, or a trouble with a name."""

    served: list[asyncio.Task[Any] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        for chunk in chunks:
            writer.write(chunk)
            await asyncio.sleep(0)
        writer.transport.close()

    async def converse(port: int) -> None:
        with suppress(smtp.SmtpTrouble):
            connection = await smtp.connect(
                "p", "127.0.0.1", port, helo="x", lmtp=lmtp, timeouts=smtp.Timeouts(*[0.05] * 9)
            )
            try:
                result = await deliver(connection, envelope("u", "v"), message())
                assert all(reply is not None or result.lost for reply in result.replies)
            finally:
                await connection.quit()

    async def whole() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            await converse(server.sockets[0].getsockname()[1])
            await asyncio.gather(*(task for task in served if task), return_exceptions=True)
            await asyncio.sleep(0.01)  # both ends see the connection close

    asyncio.run(whole())
