"""One question to a primary, on the wire."""

import ssl
from typing import Any

import pytest
import trustme

from backupmx.net.dns import Resolver
from backupmx.recipients.probe import Heard, ProbeSettings, ProbeTrouble, probe
from backupmx.route import next_hop, tls_policy
from tests.net.peers import CLOSE, STALL, Peer

UNKNOWN = "550 5.1.1 User unknown"


async def ask(peer: Peer, address: str = "a@example.jp", *, stranger: bool = False, **settings: Any) -> Heard:
    hop = f"lmtp:unix:{peer.path}" if peer.path else f"smtp:[127.0.0.1]:{peer.port}"
    given = {"helo": "mx2.example.net", **settings}
    return await probe(
        address, next_hop.parse(hop), Resolver(["127.0.0.1:1"]), ProbeSettings(**given), stranger=stranger
    )


async def test_the_dialogue() -> None:
    """The null sender, RCPT, QUIT, and never DATA."""
    async with Peer({"RCPT": UNKNOWN}) as peer:
        heard = await ask(peer, stranger=True)
    assert (str(heard.reply), heard.stranger, heard.host) == (UNKNOWN, None, "127.0.0.1[127.0.0.1]")
    assert peer.said == ["EHLO mx2.example.net", "MAIL FROM:<>", "RCPT TO:<a@example.jp>", "QUIT"]


async def test_a_random_name() -> None:
    """After a yes the domain is tried with a name that nobody has, in a transaction of its own."""
    async with Peer({"RCPT": ["250 2.1.5 Ok", UNKNOWN]}) as peer:
        heard = await ask(peer, stranger=True)
    assert (heard.reply.code, str(heard.stranger)) == (250, UNKNOWN)
    verbs = [line.split()[0] for line in peer.said]
    assert verbs == ["EHLO", "MAIL", "RCPT", "RSET", "MAIL", "RCPT", "QUIT"]
    assert peer.said[5].endswith("@example.jp>")
    assert peer.said[5] != peer.said[2]


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"GREETING": "554 5.7.1 go away"}, "refused to talk to me: 554 5.7.1 go away"),
        ({"MAIL": "550 5.7.1 no bounces here"}, "said: 550 5.7.1 no bounces here (in reply to MAIL FROM)"),
        ({"RCPT": CLOSE}, "lost connection"),
        ({"GREETING": CLOSE}, "lost connection"),
    ],
)
async def test_no_answer(answers: dict[str, Any], why: str) -> None:
    """What is refused before RCPT, or breaks, says nothing about the address."""
    async with Peer(answers) as peer:
        with pytest.raises(ProbeTrouble) as trouble:
            await ask(peer)
    assert why in str(trouble.value)


async def test_nobody_there() -> None:
    """A port that nobody listens on is no answer."""
    peer = Peer()
    async with peer:
        pass
    with pytest.raises(ProbeTrouble, match="Connection refused"):
        await ask(peer)


async def test_a_primary_that_says_nothing() -> None:
    """It is given up after its time."""
    from backupmx.net.smtp import Timeouts

    async with Peer({"RCPT": STALL}) as peer:
        with pytest.raises(ProbeTrouble, match="timed out while sending RCPT TO"):
            await ask(peer, timeouts=Timeouts(rcpt=0.05))


async def test_closing_with_the_answer() -> None:
    """421 is an answer that says nothing."""
    async with Peer({"RCPT": "421 4.3.2 shutting down"}) as peer:
        assert (await ask(peer)).reply.code == 421


async def test_utf8() -> None:
    """An address beyond ASCII is asked about with SMTPUTF8, or not at all."""
    async with Peer(extensions=("SMTPUTF8",)) as peer:
        assert (await ask(peer, "あ@example.jp")).reply.code == 250
        assert "MAIL FROM:<> SMTPUTF8" in peer.said
    async with Peer() as peer:
        with pytest.raises(ProbeTrouble, match="SMTPUTF8 is needed"):
            await ask(peer, "あ@example.jp")


async def test_lmtp(tmp_path: Any) -> None:
    """A socket file is asked by LMTP."""
    async with Peer({"RCPT": UNKNOWN}, lmtp=True, path=str(tmp_path / "lmtp")) as peer:
        assert (await ask(peer)).reply.code == 550
        assert peer.said[0] == "LHLO mx2.example.net"


async def test_tls_as_the_relay() -> None:
    """STARTTLS where it is offered; in clear where it is broken and the level allows it, else no answer."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    offers = ("STARTTLS",)
    async with Peer(extensions=offers, tls=context) as peer:
        assert (await ask(peer, tls=tls_policy.level("may"))).reply.code == 250
        assert "STARTTLS" in peer.said
        with pytest.raises(ProbeTrouble, match="not trusted"):
            await ask(peer, tls=tls_policy.level("verify"))
    async with Peer(extensions=offers, after_starttls=b"nonsense\r\n") as peer:
        assert (await ask(peer, tls=tls_policy.level("may"))).reply.code == 250
        assert peer.connections == 2
    async with Peer() as peer:
        with pytest.raises(ProbeTrouble, match="TLS is required"):
            await ask(peer, tls=tls_policy.level("encrypt"))
