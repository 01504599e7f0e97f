"""The demo's primary keeps what it gets, and can go down and come back."""

import smtplib
from collections.abc import Iterator

import pytest

from backupmx.operate.demo.client import send
from backupmx.operate.demo.primary import Primary, Received
from backupmx.operate.demo.scene import free_port
from backupmx.operate.demo.step import Trouble

MAIL = b"Subject: x\r\n\r\n.a dot first\r\n"


@pytest.fixture
def primary() -> Iterator[Primary]:
    server = Primary("primary.example.net", free_port())
    server.start()
    yield server
    server.stop()


def test_keeps_every_byte(primary: Primary) -> None:
    """What it holds is what was sent, dot-stuffing undone."""
    assert send(primary.port, "a@b.example", ["x@y.example"], MAIL).code == 250
    assert (Received("a@b.example", ("x@y.example",), MAIL),) == primary.received


def test_down_cuts_open_connections(primary: Primary) -> None:
    """Going down drops the connections that are open, as a host that dies does."""
    with smtplib.SMTP("127.0.0.1", primary.port, timeout=5) as smtp:
        smtp.ehlo()
        primary.stop()
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.noop()
        smtp.close()


def test_down_takes_no_connection_and_comes_back(primary: Primary) -> None:
    """While it is down nobody connects; back on the same port, it has what it had."""
    send(primary.port, "a@b.example", ["x@y.example"], MAIL)
    primary.stop()
    with pytest.raises(Trouble, match="broke"):
        send(primary.port, "a@b.example", ["x@y.example"], MAIL)
    primary.start()
    send(primary.port, "a@b.example", ["x@y.example"], MAIL)
    assert len(primary.received) == 2
