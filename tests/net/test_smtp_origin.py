"""net/smtp_origin.py: the client of a message, as XCLIENT and XFORWARD tell it."""

import re

from hypothesis import given
from hypothesis import strategies as st

from backupmx.mail.envelope import Client
from backupmx.net.smtp_origin import hello, xclient, xforward, xtext

ALL = "NAME ADDR PROTO HELO PORT LOGIN DESTADDR DESTPORT IDENT SOURCE DOMAIN"
CLIENT = Client("192.0.2.7", 40000, "mail.client.example", "client.example", "ESMTP")


def test_xforward() -> None:
    """Everything a log can use; the address is not alone in its command, but the rest does not depend on it."""
    assert xforward(CLIENT, "4bQ1", ALL) == [
        b"XFORWARD NAME=mail.client.example ADDR=192.0.2.7 PORT=40000\r\n",
        b"XFORWARD PROTO=ESMTP HELO=client.example IDENT=4bQ1 SOURCE=REMOTE\r\n",
    ]


def test_only_what_is_listed() -> None:
    """What the server does not list is not sent; a server that lists nothing we know gets nothing."""
    assert xforward(CLIENT, "4bQ1", "addr helo") == [
        b"XFORWARD ADDR=192.0.2.7\r\n",
        b"XFORWARD HELO=client.example\r\n",
    ]
    assert xforward(CLIENT, "4bQ1", "LOGIN") == []
    assert xclient(CLIENT, ALL) == b"XCLIENT NAME=mail.client.example ADDR=192.0.2.7 PORT=40000\r\n"
    assert xclient(CLIENT, "NAME LOGIN") == b""


def test_what_we_do_not_know() -> None:
    """An unknown name and a missing HELO are [UNAVAILABLE]; IPv6 has its prefix."""
    nobody = Client("2001:db8::1", 0, "unknown", "")
    assert xforward(nobody, "4bQ1", "NAME ADDR PORT HELO") == [
        b"XFORWARD NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 PORT=[UNAVAILABLE]\r\n",
        b"XFORWARD HELO=[UNAVAILABLE]\r\n",
    ]


def test_long_ones() -> None:
    """No command is longer than 512 octets; what does not fit goes in another one."""
    long = Client("192.0.2.7", 1, ".".join(["a" * 60] * 4), "+" * 255)
    commands = xforward(long, "4bQ1", ALL)
    assert [command.split(b" ")[0] for command in commands] == [b"XFORWARD"] * len(commands)
    assert b"".join(commands).count(b"HELO=") == 1


def test_hello() -> None:
    """After XCLIENT we say what the client said, where that is a name or an address literal."""
    said = [hello(Client("192.0.2.7", 1, helo=helo), "ours") for helo in ("a.example", "[192.0.2.7]", "", "x y", "ä")]
    assert said == ["a.example", "[192.0.2.7]", "ours", "ours", "ours"]


@given(st.text(st.characters(codec=None), max_size=400), st.text(max_size=50))
def test_any_client(helo: str, name: str) -> None:
    """Whatever a client called itself, it stays inside its value: printable, no blank, no line end."""
    for command in xforward(Client("192.0.2.7", 1, name, helo), "4bQ1", ALL):
        assert re.fullmatch(rb"XFORWARD(?: [A-Z]+=[!-<>-~]*)+\r\n", command)
    assert re.fullmatch(r"[!-~]+", hello(Client("192.0.2.7", 1, name, helo), "ours"))


def test_xtext() -> None:
    """RFC 3461 section 4."""
    assert xtext("a+b=c d\u00e9") == b"a+2Bb+3Dc+20d+C3+A9"
