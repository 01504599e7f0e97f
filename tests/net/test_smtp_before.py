"""net/smtp_connection.py: what goes before MAIL (XCLIENT, XFORWARD, RSET), and BDAT."""

import asyncio
from typing import Any

import pytest

from backupmx.mail.envelope import Client
from backupmx.net import smtp
from tests.net.peers import CLOSE, EXTENSIONS, STALL, Peer
from tests.net.test_smtp import SHORT, codes, connected, deliver, envelope, message

XFORWARD = (*EXTENSIONS, "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE")
XCLIENT = (*EXTENSIONS, "XCLIENT NAME ADDR PORT PROTO HELO LOGIN")
BOTH = (*XFORWARD, XCLIENT[-1])
CHUNKING = (*EXTENSIONS, "CHUNKING")
SLOWLY = tuple(word for word in BOTH if word != "PIPELINING")
A = Client("192.0.2.7", 40000, "a.example", "helo.a.example")
B = Client("2001:db8::1", 40001)
LARGE = message(b".line\r\n" * 50_000)


async def send(connection: smtp.Connection, client: Client | None, local: str = "u") -> list[int]:
    what = message()
    return codes(await connection.deliver(envelope(local), what, what.size, client=client, ident="4bQ1"))


def verbs(peer: Peer) -> str:
    return " ".join(line.partition(" ")[0] for line in peer.said)


async def test_xforward() -> None:
    """XFORWARD rides before MAIL, for each message its own client; a notice of our own has none."""
    async with Peer(extensions=XFORWARD) as peer, connected(peer) as connection:
        assert await asyncio.gather(send(connection, A), send(connection, None), send(connection, B)) == [[250]] * 3
    assert verbs(peer) == "EHLO XFORWARD XFORWARD MAIL RCPT DATA MAIL RCPT DATA XFORWARD XFORWARD MAIL RCPT DATA QUIT"
    assert peer.said[1:3] == [
        "XFORWARD NAME=a.example ADDR=192.0.2.7 PORT=40000",
        "XFORWARD PROTO=SMTP HELO=helo.a.example IDENT=4bQ1 SOURCE=REMOTE",
    ]
    assert "NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1" in peer.said[9]


@pytest.mark.parametrize("extensions", [XFORWARD, tuple(word for word in XFORWARD if word != "PIPELINING")])
async def test_xforward_refused(extensions: tuple[str, ...]) -> None:
    """A server that refuses XFORWARD gets the mail all the same, in step."""
    answers: dict[str, Any] = {"XFORWARD": "550 5.7.0 no", "RCPT": ["550 5.1.1 no", "250 ok"]}
    async with Peer(answers, extensions=extensions) as peer, connected(peer) as connection:
        assert [await send(connection, A), await send(connection, B)] == [[550], [250]]
    assert "RSET XFORWARD XFORWARD MAIL" in verbs(peer)


async def test_xclient() -> None:
    """XCLIENT and EHLO in the client's name before the client's first message; nobody else's mail may follow."""
    async with Peer(extensions=BOTH) as peer, connected(peer) as connection:
        for client in (None, A, A):
            assert await send(connection, client) == [250]
        assert [connection.admits(client) for client in (A, B, None)] == [True, False, False]
        with pytest.raises(smtp.Lost, match=r"takes us for a.example\[192.0.2.7\]"):
            await send(connection, B)
    one = "MAIL RCPT DATA"
    assert verbs(peer) == f"EHLO {one} XCLIENT EHLO {one} {one} QUIT"
    assert peer.said[4:6] == ["XCLIENT NAME=a.example ADDR=192.0.2.7 PORT=40000", "EHLO helo.a.example"]


async def test_xclient_behind_each_other() -> None:
    """Messages that wait for one connection are in order, and the client is introduced at its first one."""
    async with Peer(extensions=XCLIENT) as peer, connected(peer) as connection:
        said = await asyncio.gather(*(send(connection, who, f"u{n}") for n, who in enumerate((None, A, A, A))))
        assert said == [[250]] * 4
    assert verbs(peer) == "EHLO MAIL RCPT DATA XCLIENT EHLO" + " MAIL RCPT DATA" * 3 + " QUIT"
    assert [t.rcpts[0] for t in peer.taken] == [f"RCPT TO:<u{n}@example.jp>" for n in range(4)]


@pytest.mark.parametrize("extensions", [BOTH, SLOWLY])
async def test_xclient_refused(extensions: tuple[str, ...]) -> None:
    """A server that offers XCLIENT and refuses it gets XFORWARD, and is not asked again."""
    async with Peer({"XCLIENT": "550 5.7.0 no"}, extensions=extensions) as peer, connected(peer) as connection:
        assert [await send(connection, A), await send(connection, B)] == [[250], [250]]
    assert (verbs(peer).count("XCLIENT"), verbs(peer).count("XFORWARD MAIL")) == (1, 2)


async def test_xclient_for_some() -> None:
    """A server that will not have one client (an IPv6 address, to a server without) is told of the others."""
    answers = {"XCLIENT": lambda line: "501 5.5.4 Bad ADDR syntax" if "IPV6" in line else "220 hello"}
    async with Peer(answers, extensions=BOTH) as peer, connected(peer) as connection:
        for client in (B, B, A):
            assert await send(connection, client) == [250]
    shown = [line.split()[1] for line in peer.said if line.startswith("XCLIENT")]
    assert shown == ["NAME=[UNAVAILABLE]", "NAME=a.example"]
    assert sum("IDENT=4bQ1" in line for line in peer.said) == 2


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ({"EHLO": ["250 x", "550 5.7.1 go away"]}, 550),
        ({"EHLO": ["250 x", "450 4.7.1 greylisted"]}, 450),
        ({"EHLO": ["250 x", "421 4.7.0 too many"]}, 421),
        ({"XCLIENT": "421 4.3.2 down"}, 421),
        ({"MAIL": "554 5.7.1 client rejected"}, 554),
    ],
)
async def test_client_not_welcome(answers: dict[str, Any], code: int) -> None:
    """A primary that does not want this client says so of its message, and of no other."""
    async with Peer(answers, extensions=XCLIENT) as peer, connected(peer) as connection:
        assert await send(connection, A) == [code]
        assert connection.usable is (code == 554)


@pytest.mark.parametrize("verb", ["XCLIENT", "XFORWARD", "EHLO"])
@pytest.mark.parametrize("how", [CLOSE, STALL, "gibberish"])
async def test_lost_before_mail(verb: str, how: str) -> None:
    """A connection that goes, hangs or talks nonsense before MAIL: certainly not taken."""
    answer: Any = ["250 x", how] if verb == "EHLO" else how
    extensions = XFORWARD if verb == "XFORWARD" else XCLIENT
    async with Peer({verb: answer}, extensions=extensions) as peer, connected(peer, SHORT) as connection:
        with pytest.raises(smtp.Lost):
            await send(connection, A)
        assert not connection.usable


@pytest.mark.parametrize(
    ("forward", "words"),
    [("xclient", "XCLIENT EHLO MAIL"), ("xforward", "EHLO XFORWARD XFORWARD MAIL"), ("off", "EHLO MAIL")],
)
async def test_as_configured(forward: str, words: str) -> None:
    """relay.forward_client says which of the two is used."""
    async with Peer(extensions=BOTH) as peer, connected(peer, forward=forward) as connection:
        assert await send(connection, A) == [250]
    assert words in verbs(peer)


async def test_bdat() -> None:
    """A large message goes by BDAT as it is, no dot doubled; a small one by DATA; both pipelined."""
    async with Peer(extensions=CHUNKING) as peer, connected(peer) as connection:
        said = await asyncio.gather(*(deliver(connection, envelope("u"), what) for what in (LARGE, message(), LARGE)))
        assert [codes(result) for result in said] == [[250]] * 3
    assert [t.content for t in peer.taken] == [b"".join(what.chunks()) for what in (LARGE, message(), LARGE)]
    assert [line for line in peer.said if line.startswith("BDAT")] == [f"BDAT {LARGE.size} LAST"] * 2


async def test_bdat_for_nobody() -> None:
    """When every recipient is refused the content stays here, and the next message is in step."""
    answers = {"RCPT": ["550 5.1.1 no", "550 5.1.1 no", "250 ok"]}
    async with Peer(answers, extensions=CHUNKING) as peer, connected(peer) as connection:
        assert codes(await deliver(connection, envelope("u", "v"), LARGE)) == [550, 550]
        assert codes(await deliver(connection, envelope("w"), LARGE)) == [250]
    assert verbs(peer) == "EHLO MAIL RCPT RCPT RSET MAIL RCPT BDAT QUIT"


@pytest.mark.parametrize(("answer", "code"), [("554 5.7.1 spam", 554), ("452 4.3.1 full", 452), ("421 4.3.2 bye", 421)])
async def test_bdat_refused(answer: str, code: int) -> None:
    """What the server says of the content is its answer, as after a dot; BDAT is not to blame."""
    async with Peer({"DOT": answer}, extensions=CHUNKING) as peer, connected(peer) as connection:
        assert codes(await deliver(connection, envelope("u"), LARGE)) == [code]
        assert connection.chunking


@pytest.mark.parametrize("how", ["502 5.5.1 unknown command", "503 bad sequence", CLOSE, STALL, "gibberish"])
async def test_bdat_broken(how: str) -> None:
    """A server that does not know BDAT, or breaks off at it, has not taken the message; the next try is without."""
    async with Peer({"BDAT": how}, extensions=CHUNKING) as peer, connected(peer, SHORT) as connection:
        try:
            lost = (await deliver(connection, envelope("u"), LARGE)).lost  # its last octet was under way
        except smtp.Lost as error:
            lost = str(error)
        assert lost
        assert (connection.usable, connection.chunking) == (False, False)
    assert peer.taken == []
