"""One client at several workers: it is counted as one."""

import re
import smtplib
import time
from contextlib import ExitStack

import pytest

from tests.journeys.appliance import bound_to, kill
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.neighbours.unbound import free_port

pytestmark = pytest.mark.neighbours

STRANGER = "127.0.0.5"
"""Nobody is spared in these tests."""


def connect(port: int, address: str = STRANGER) -> smtplib.SMTP:
    """A client that has been greeted.  Raises SMTPConnectError with what it read instead."""
    return smtplib.SMTP("127.0.0.1", port, "client.sender.test", 30, (address, 0))


def test_connections_at_once(serve: Serve) -> None:
    """Four workers let a client have so many connections together; another client comes in; who leaves makes room.

    A worker that is killed takes the connections it had out of the account.
    """
    mx = serve(
        bound_to(["example.jp"], free_port()),
        smtp={"workers": 4, "client_connection_limit": 12, "limit_exceptions": ["::1"]},
    )
    with ExitStack() as stack:
        taken = [stack.enter_context(connect(mx.port)) for _ in range(12)]
        with pytest.raises(smtplib.SMTPConnectError) as refused:
            connect(mx.port)
        text = b"4.7.0 mx2.example.test Error: too many connections from client.sender.test[127.0.0.5]"
        assert refused.value.smtp_code == 421
        assert refused.value.smtp_error.startswith(text.partition(b" from ")[0] + b" from ")
        connect(mx.port, "127.0.0.6").quit()
        taken.pop().quit()
        eventually(lambda: admitted(mx.port))
    mx.logged(r"Connection concurrency limit exceeded: 13 from \S+\[127\.0\.0\.5\] for service smtp \[smtp\.client_")
    with ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(eventually(lambda: greeted(mx.port)))
        for n in range(1, 5):
            kill(mx.child(f"worker {n}"))
        eventually(lambda: len(re.findall("started: worker", mx.log)) == 8)
        for _ in range(12):
            stack.enter_context(eventually(lambda: greeted(mx.port)))
        assert greeted(mx.port) is None


def greeted(port: int) -> smtplib.SMTP | None:
    try:
        return connect(port)
    except (smtplib.SMTPException, OSError):
        return None


def admitted(port: int) -> bool:
    client = greeted(port)
    if client is not None:
        client.quit()
    return client is not None


def test_messages_a_minute(serve: Serve) -> None:
    """Two workers together take ten messages a minute of a client, on whichever connection, and no more."""
    mx = serve(
        bound_to(["example.jp"], free_port()),
        smtp={"workers": 2, "client_message_rate_limit": 10, "limit_exceptions": []},
    )
    began = time.monotonic()
    replies = []
    for _ in range(15):
        with connect(mx.port) as client:
            replies.append(client.docmd("MAIL", "FROM:<>") if client.ehlo()[0] == 250 else (0, b""))
    assert time.monotonic() - began < 30, "the first minute of the appliance is over"
    assert [code for code, _ in replies] == [250] * 10 + [450] * 5
    assert replies[-1][1] == b"4.7.1 Error: too much mail from 127.0.0.5"
    assert len(set(re.findall(r"smtpd\[(\d+)\]: connect", mx.log))) == 2
    mx.logged(r"Message delivery request rate limit exceeded: 1\d from .* \[smtp\.client_message_rate_limit\]")
