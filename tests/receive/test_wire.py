"""The connection: what a client can do to us."""

import asyncio
import os
import socket
import ssl

import pytest
import trustme

from backupmx.mail.reply import Reply
from backupmx.net.tls import ServerTls
from backupmx.receive.admit import Admission
from tests.receive.doors import PATIENCE, Recorder, RelayDomains, Taken, Talk, running


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    file = tmp_path_factory.mktemp("tls") / "chain.pem"
    authority.issue_cert("mx2.example.net").private_key_and_cert_chain_pem.write_to_path(str(file))
    return ServerTls([file])


@pytest.fixture
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_silence_ends_the_session() -> None:
    """Who says nothing is told so and disconnected."""
    async with running(timeout=0.05) as door:
        talk = await door.connect()
        assert await talk.reply() == "421 4.4.2 mx2.example.net Error: timeout exceeded"
        assert await talk.closed()
        await talk.close()
        await door.gone()
    assert "timeout after CONNECT from unknown[127.0.0.1] [smtp.timeout=0.05s]" in door.lines


async def test_octets_without_a_command_are_silence() -> None:
    """A client that sends an octet now and then does not hold the connection."""
    async with running(timeout=0.2) as door:
        talk = await door.connect()
        talk.writer.write(b"N")
        await asyncio.sleep(0.1)
        talk.writer.write(b"O")
        assert (await talk.reply()).startswith("421 4.4.2")
        await talk.close()


async def test_data_must_make_progress() -> None:
    """Within DATA too: octets count at 500 a second, not as proof of life."""
    async with running(timeout=0.2) as door:
        talk = await door.connect()
        await talk.begin()
        async with asyncio.timeout(PATIENCE):
            while not talk.reader._buffer:  # type: ignore[attr-defined]
                talk.writer.write(b"x")
                await asyncio.sleep(0.01)
        assert (await talk.reply()).startswith("421 4.4.2")
        await talk.close()
    assert "timeout after DATA from unknown[127.0.0.1] [smtp.timeout=0.2s]" in door.lines


async def test_a_long_commit_is_not_silence() -> None:
    """The client waits for us, not we for it: no time limit runs while a message is judged and stored."""

    async def slow(taken: Taken) -> None:
        await asyncio.sleep(0.3)

    async with running(Recorder(before=slow), timeout=0.1) as door:
        talk = await door.connect()
        await talk.begin()
        assert (await talk.say(".")).startswith("250 ")
        await talk.close()


async def test_a_client_that_reads_nothing() -> None:
    """Its commands wait, its replies do not pile up, and at the end it is dropped."""
    loop = asyncio.get_running_loop()
    async with running(timeout=1000, error_delay=0, junk_command_limit=10**9) as door:
        with socket.create_connection(("127.0.0.1", door.port)) as client:
            client.setblocking(False)
            flood = asyncio.create_task(loop.sock_sendall(client, b"NOOP\r\n" * 5_000_000))
            await asyncio.wait([flood], timeout=0.5)
            assert not flood.done()
            (session,) = door.door.service.sessions
            assert session.transport is not None
            assert session.transport.get_write_buffer_size() < 200_000
            assert len(session._buffer) < 600_000
            session.timed_out()
            assert session.parting
            session.timed_out()
            await door.gone()
            await asyncio.wait([flood])
            assert isinstance(flood.exception(), ConnectionError)


async def test_replies_after_a_pause() -> None:
    """A client that reads late misses nothing."""
    async with running(junk_command_limit=10**9) as door:
        talk = await door.connect()
        talk.writer.write(b"NOOP\r\n" * 100_000 + b"QUIT\r\n")
        async with asyncio.timeout(30):
            said = await talk.reader.read(10_000_000) + await talk.reader.read(-1)
        assert said == b"250 2.0.0 Ok\r\n" * 100_000 + b"221 2.0.0 Bye\r\n"
        await talk.close()


async def test_a_client_that_is_done_but_reads_slowly() -> None:
    """Who has closed its side and reads late still gets an answer to each command."""
    async with running(junk_command_limit=10**9) as door:
        talk = await door.connect()
        talk.writer.write(b"NOOP\r\n" * 300_000)
        talk.writer.write_eof()
        await asyncio.sleep(0.1)
        async with asyncio.timeout(30):
            assert (await talk.reader.read(-1)).count(b"250 2.0.0 Ok\r\n") == 300_000
        await talk.close()


async def test_commands_sent_ahead_wait_for_the_commit() -> None:
    """While a message is stored its client is not obeyed, and not read from without end."""
    leave = asyncio.Event()

    async def commit(taken: Taken) -> None:
        await leave.wait()

    async with running(Recorder(before=commit), junk_command_limit=10**9) as door:
        talk = await door.connect()
        await talk.begin()
        talk.writer.write(b".\r\n" + b"NOOP\r\n" * 500_000 + b"QUIT\r\n")
        await asyncio.sleep(0.1)
        (session,) = door.door.service.sessions
        assert len(session._buffer) < 600_000
        leave.set()
        async with asyncio.timeout(30):
            said = await talk.reader.read(-1)
        assert said.count(b"250 2.0.0 Ok\r\n") == 500_000
        await talk.close()


async def test_nothing_after_quit() -> None:
    """What a client sends after QUIT is not obeyed."""
    async with running() as door:
        talk = await door.connect()
        talk.writer.write(b"QUIT\r\nNOOP\r\n")
        assert await talk.reply() == "221 2.0.0 Bye"
        assert await talk.reply() == ""
        await talk.close()


async def test_an_endless_command() -> None:
    """A line without an end costs no memory and one reply."""
    async with running() as door:
        talk = await door.connect()
        for _ in range(50):
            talk.writer.write(b"x" * 100_000)
            await talk.writer.drain()
        (session,) = door.door.service.sessions
        assert len(session._buffer) < 300_000
        assert await talk.say("") == "500 5.5.2 Error: line too long"
        assert await talk.say("NOOP") == "250 2.0.0 Ok"
        await talk.close()


@pytest.mark.parametrize(("spared", "expected"), [((), [7.0] * 4), (("127.0.0.0/8",), [])])
async def test_errors_slow_a_stranger_down(
    spared: tuple[str, ...], expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some errors each reply to another takes its time, but for who is in limit_exceptions."""
    delays = []

    async def after(delay: float, reply: bytes) -> bytes:
        delays.append(delay)
        return reply

    monkeypatch.setattr("backupmx.receive.wire._after", after)
    async with running(limit_exceptions=spared, error_delay=7.0, soft_error_limit=2) as door:
        talk = await door.connect()
        assert await talk.say(*["FOO"] * 5) == "500 5.5.2 Error: command not recognized"
        await talk.close()
    assert delays == expected


async def test_connection_limit() -> None:
    """More clients than a worker takes are told to come again; those in limit_exceptions are taken."""
    async with running(limit_exceptions=(), connection_limit=2) as door:
        talks = [await door.connect() for _ in range(2)]
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        refused = Talk(reader, writer)
        assert await refused.reply() == "421 4.7.0 mx2.example.net Error: too many connections"
        assert await refused.closed()
        for talk in (*talks, refused):
            await talk.close()
        await door.gone()
        await (await door.connect()).close()
    full = "warning: Connection limit exceeded: 3 from all clients for service smtp [smtp.connection_limit]"
    assert full in door.lines
    async with running(connection_limit=0, client_connection_limit=0) as door:
        await (await door.connect()).close()


async def test_one_client_does_not_take_all_places() -> None:
    """One address has so many connections and no more."""
    async with running(limit_exceptions=(), client_connection_limit=1) as door:
        talk = await door.connect()
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        refused = Talk(reader, writer)
        expected = "421 4.7.0 mx2.example.net Error: too many connections from unknown[127.0.0.1]"
        assert await refused.reply() == expected
        await refused.close()
        await talk.close()
        await door.gone()
        await (await door.connect()).close()
    assert door.lines[2:4] == [
        "warning: Connection concurrency limit exceeded: 2 from unknown[127.0.0.1] for service smtp"
        " [smtp.client_connection_limit]",
        f"NOQUEUE: reject: CONNECT from unknown[127.0.0.1]: {expected}; from=<> proto=SMTP helo=<>",
    ]


async def test_refused_at_connection() -> None:
    """The policy may refuse a client before the greeting."""

    class Closed(Admission):
        def connect(self, client: object) -> Reply | None:
            return Reply(554, "5.7.1", "mx2.example.net: not from there")

    async with running() as door:
        door.door.service.admission = Closed(RelayDomains())
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        talk = Talk(reader, writer)
        assert await talk.reply() == "554 5.7.1 mx2.example.net: not from there"
        assert await talk.closed()
        await talk.close()


async def test_clients_that_come_and_go_at_once() -> None:
    """A flood of connections that are closed unused leaves no descriptor and no session."""
    async with running() as door:
        await (await door.connect()).close()
        await door.gone()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            flood = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(50)]
            for client in flood:
                client.close()
        await (await door.connect()).close()
        await door.gone()
        assert len(os.listdir("/proc/self/fd")) <= before  # what others left to the collector may have gone meanwhile


async def test_starttls(tls: ServerTls, trust: ssl.SSLContext) -> None:
    """After the handshake the session begins anew, secured."""
    async with running(tls=tls) as door:
        talk = await door.connect()
        assert "250-STARTTLS" in (await talk.say("EHLO before.example")).split("\n")
        assert await talk.say("HELP STARTTLS") == "250 2.0.0 Syntax: STARTTLS"
        assert await talk.say("STARTTLS") == "220 2.0.0 Ready to start TLS"
        await talk.secure(trust)
        assert await talk.say("MAIL FROM:<>") == "503 5.5.1 Error: send HELO/EHLO first"
        assert "250-STARTTLS" not in (await talk.say("EHLO after.example")).split("\n")
        assert await talk.say("STARTTLS") == "554 5.5.1 Error: TLS already active"
        await talk.say("MAIL FROM:<>", "RCPT TO:<user@example.jp>", "DATA")
        assert (await talk.say("x\r\n.")).startswith("250 ")
        assert await talk.say("QUIT") == "221 2.0.0 Bye"
        await talk.close()
    client = door.recorder.messages[0].client
    assert client.helo == "after.example"
    assert client.with_protocol == "ESMTPS"
    assert client.tls is not None
    assert (client.tls.version, client.tls.cipher, client.tls.bits) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
    assert any(
        line.startswith("Anonymous TLS connection established from unknown[127.0.0.1]: TLSv1.3") for line in door.lines
    )


async def test_starttls_injection(tls: ServerTls, trust: ssl.SSLContext) -> None:
    """What was slipped in after STARTTLS, in clear, is not obeyed under TLS (CVE-2011-0411)."""
    async with running(tls=tls) as door:
        talk = await door.connect()
        await talk.say("EHLO x")
        talk.writer.write(b"STARTTLS\r\nRSET\r\nNOOP evil\r\nRCPT")
        assert await talk.reply() == "220 2.0.0 Ready to start TLS"
        await talk.secure(trust)
        assert await talk.say("EHLO x") == (
            "250-mx2.example.net\n250-PIPELINING\n250-SIZE 52428800\n250-ENHANCEDSTATUSCODES\n250-8BITMIME\n250-DSN\n"
            "250-SMTPUTF8\n250-CHUNKING\n250 LIMITS RCPTMAX=1000"
        )
        assert await talk.say("QUIT") == "221 2.0.0 Bye"
        await talk.close()


async def test_a_handshake_that_is_none(tls: ServerTls) -> None:
    """A client that goes on in clear after STARTTLS is disconnected; the log says why."""
    async with running(tls=tls) as door:
        talk = await door.connect()
        await talk.say("EHLO x")
        assert await talk.say("STARTTLS") == "220 2.0.0 Ready to start TLS"
        talk.writer.write(b"EHLO x\r\nMAIL FROM:<>\r\n")
        assert await talk.closed()
        await talk.close()
        await door.gone()
    assert any(line.startswith("SSL_accept error from unknown[127.0.0.1]: ") for line in door.lines)
    assert door.lines[-1].startswith("disconnect from unknown[127.0.0.1] ehlo=1 starttls=1")


async def test_a_handshake_that_never_comes(tls: ServerTls) -> None:
    """A client that says nothing after STARTTLS is disconnected after handshake_timeout."""
    async with running(tls=tls, handshake_timeout=0.1) as door:
        talk = await door.connect()
        await talk.say("EHLO x", "STARTTLS")
        assert await talk.closed()
        await talk.close()
        await door.gone()


async def test_a_client_that_leaves_during_the_handshake(tls: ServerTls) -> None:
    """Nothing is left of it."""
    async with running(tls=tls) as door:
        for _ in range(20):
            talk = await door.connect()
            await talk.say("EHLO x", "STARTTLS")
            talk.writer.transport.abort()
        await door.gone()
        assert door.door.service.journal.counters["bug"] == 0


async def test_hanging_up_under_tls_does_not_stop_the_commit(tls: ServerTls, trust: ssl.SSLContext) -> None:
    """As in clear."""
    entered, leave = asyncio.Event(), asyncio.Event()

    async def commit(taken: Taken) -> None:
        entered.set()
        await leave.wait()

    async with running(Recorder(before=commit), tls=tls) as door:
        talk = await door.connect()
        await talk.say("EHLO x", "STARTTLS")
        await talk.secure(trust)
        await talk.begin()
        talk.writer.write(b"x\r\n.\r\n")
        await entered.wait()
        talk.writer.transport.abort()
        await door.gone()
        leave.set()
        await door.door.service.empty()
        assert [taken.content for taken in door.recorder.messages] == [b"x\r\n"]


async def test_a_bug_within_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of step with the client, 451 is our last word."""
    async with running() as door:
        talk = await door.connect()
        await talk.begin()

        def fail(self: object, data: bytes) -> None:
            raise RuntimeError("secret")

        monkeypatch.setattr("backupmx.receive.transfer.Unstuffing.feed", fail)
        assert await talk.say("x") == "451 4.3.0 Error: internal trouble, try again later"
        assert await talk.closed()
        await talk.close()
    assert door.door.service.journal.counters["bug"] == 1


async def test_too_many_errors_are_told() -> None:
    """The log says who made one error too many, and after which command, as Postfix does."""
    async with running(error_delay=0, hard_error_limit=2) as door:
        talk = await door.connect()
        assert await talk.say("X", "Y", "VRFY") == "501 5.5.4 Syntax: VRFY address [SMTPUTF8]"
        assert await talk.reply() == "421 4.7.0 mx2.example.net Error: too many errors"
        await talk.close()
    assert "too many errors after VRFY from unknown[127.0.0.1] [hard_error_limit=2]" in door.lines


async def test_who_connects_is_told() -> None:
    """Each client's address is told once, at its connection: a primary that is back is known by it."""
    told: list[str] = []
    async with running() as door:
        door.door.service.called = told.append
        await (await door.connect()).close()
        await door.gone()
    assert told == ["127.0.0.1"]
