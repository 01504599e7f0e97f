"""Limits a minute, as a client meets them."""

import asyncio
import ssl
from pathlib import Path

import trustme

from backupmx.net.tls import ServerTls
from backupmx.receive.anvil import Anvil
from tests.receive.doors import Talk, running

EHLO, MAIL, RCPT = "EHLO client.example", "MAIL FROM:<a@b.example>", "RCPT TO:<user@example.jp>"


def warned(limit: str, count: int, setting: str) -> str:
    return f"warning: {limit} limit exceeded: {count} from unknown[127.0.0.1] for service smtp [smtp.{setting}]"


async def test_messages() -> None:
    """MAIL counts, taken or not; the one too many reads 450, over all connections and workers, for a minute."""
    now = [0.0]
    anvil = Anvil(2, clock=lambda: now[0])
    limits = {"limit_exceptions": (), "client_message_rate_limit": 3}
    async with running(anvil=anvil.hand(0), **limits) as one, running(anvil=anvil.hand(1), **limits) as two:
        here, there = await one.connect(), await two.connect()
        assert await here.say(EHLO, "MAIL FROM:<not a path>") == "501 5.1.7 Bad sender address syntax"
        assert await here.say(MAIL, "RSET", MAIL, "RSET") == "250 2.0.0 Ok"
        assert await there.say(EHLO, MAIL) == "450 4.7.1 Error: too much mail from 127.0.0.1"
        now[0] = 60.0
        assert await there.say(MAIL) == "250 2.1.0 Ok"
        await here.close()
        await there.close()
    assert warned("Message delivery request rate", 4, "client_message_rate_limit") in two.lines
    assert any(line.startswith("NOQUEUE: reject: MAIL from unknown[127.0.0.1]: 450 4.7.1 ") for line in two.lines)


async def test_recipients() -> None:
    """So do recipients; a message for those that were taken in time goes through."""
    async with running(limit_exceptions=(), client_recipient_rate_limit=2) as door:
        talk = await door.connect()
        await talk.say(EHLO, MAIL)
        replies = [await talk.say(each) for each in (RCPT, "RCPT TO:<a@elsewhere.example>", RCPT)]
        assert [reply[:9] for reply in replies] == ["250 2.1.5", "554 5.7.1", "450 4.7.1"]
        assert replies[2] == "450 4.7.1 Error: too many recipients from 127.0.0.1"
        await talk.say("DATA")
        assert (await talk.say(".")).startswith("250 2.0.0 Ok")
        await talk.say(MAIL)
        assert await talk.say(RCPT, "DATA") == "554 5.5.1 Error: no valid recipients"
        await talk.close()
    assert warned("Recipient address rate", 3, "client_recipient_rate_limit") in door.lines


async def test_connections() -> None:
    """Who connects too often in a minute is told so and disconnected; it counts that it tried."""
    async with running(limit_exceptions=(), client_connection_rate_limit=2) as door:
        for _ in range(2):
            await (await door.connect()).close()
        for _ in range(2):
            refused = Talk(*await asyncio.open_connection("127.0.0.1", door.port))
            expected = "421 4.7.0 mx2.example.net Error: too many connections from unknown[127.0.0.1]"
            assert await refused.reply() == expected
            await refused.close()
    assert warned("Connection rate", 3, "client_connection_rate_limit") in door.lines
    assert door.door.service.journal.counters["limited"] == 2


async def test_who_is_not_greeted_takes_nobody_s_place() -> None:
    """A client far over its limit that does not hang up when told so is cut off: others still come in."""
    async with running(limit_exceptions=(), client_connection_limit=2, connection_limit=4) as door:
        greeted = [await door.connect() for _ in range(2)]
        stubborn = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(20)]
        for reader, _ in stubborn:
            assert (await reader.read()).startswith(b"421 4.7.0 mx2.example.net Error: too many connections from ")
        other = Talk(*await asyncio.open_connection("127.0.0.1", door.port, local_addr=("127.0.0.6", 0)))
        assert (await other.reply()).startswith("220 ")
        assert len(door.door.service.sessions) == 3
        for talk in (*greeted, other):
            await talk.close()
        for _, writer in stubborn:
            writer.close()


async def test_what_was_refused_counts() -> None:
    """A client that is refused for what it has open has connected all the same."""
    limits = {"limit_exceptions": (), "client_connection_limit": 1, "client_connection_rate_limit": 3}
    async with running(**limits) as door:
        first = await door.connect()
        for _ in range(2):
            refused = Talk(*await asyncio.open_connection("127.0.0.1", door.port))
            assert (await refused.reply()).startswith("421 4.7.0 ")
            await refused.close()
        assert "client_connection_rate_limit" not in " ".join(door.lines)
        await first.close()
        await door.gone()
        last = Talk(*await asyncio.open_connection("127.0.0.1", door.port))
        assert (await last.reply()).startswith("421 4.7.0 ")
        await last.close()
    assert warned("Connection rate", 4, "client_connection_rate_limit") in door.lines


async def test_new_tls_sessions(tmp_path: Path) -> None:
    """Whole handshakes are limited, resumed ones are not; who is refused STARTTLS may go on in clear."""
    authority = trustme.CA()
    file = tmp_path / "chain.pem"
    authority.issue_cert("mx2.example.net").private_key_and_cert_chain_pem.write_to_path(str(file))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    limits = {"limit_exceptions": (), "client_new_tls_session_rate_limit": 1}
    async with running(tls=ServerTls([file]), **limits) as door:
        first, second, third = [await door.connect() for _ in range(3)]
        for talk in (first, second):
            assert await talk.say(EHLO, "STARTTLS") == "220 2.0.0 Ready to start TLS"
            await talk.secure(trust)
        assert (await first.say(EHLO)).startswith("250-")
        expected = "421 4.7.0 mx2.example.net Error: too many new TLS sessions from unknown[127.0.0.1]"
        assert await second.reply() == expected
        refused = await third.say(EHLO, "STARTTLS")
        assert refused == "454 4.7.0 Error: too many new TLS sessions from unknown[127.0.0.1]"
        assert await third.say(MAIL) == "250 2.1.0 Ok"
        for talk in (first, second, third):
            await talk.close()
    assert warned("New TLS session rate", 2, "client_new_tls_session_rate_limit") in door.lines


async def test_friends_are_spared() -> None:
    """limit_exceptions are neither counted nor refused, as Postfix does it."""
    limits = {"client_connection_rate_limit": 1, "client_message_rate_limit": 1, "client_recipient_rate_limit": 1}
    async with running(**limits) as door:
        for _ in range(3):
            talk = await door.connect()
            assert await talk.say(EHLO, MAIL, RCPT, RCPT, "RSET", MAIL) == "250 2.1.0 Ok"
            await talk.close()
    assert door.door.service.journal.counters["limited"] == 0


async def test_an_old_connection_leaves_where_it_came() -> None:
    """After a thousand clients have come and gone by any way nobody is counted as here."""
    anvil = Anvil()
    async with running(anvil=anvil.hand(), limit_exceptions=(), client_connection_limit=5) as door:
        for n in range(200):
            talk = await door.connect()
            if n % 2:
                talk.writer.transport.abort()
            else:
                await talk.close()
            await door.gone()
        assert sum(anvil.memory[:16384]) == 0
