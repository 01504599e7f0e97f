"""What class of reply each command gets in each state of a dialogue: a small model of RFC 5321, and the real server."""

import re
import socket

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.journeys.appliance import bound_to
from tests.journeys.client import ADDRESS
from tests.journeys.conftest import Serve
from tests.neighbours.unbound import free_port

pytestmark = pytest.mark.neighbours

PATIENCE = 15
"""Errors after which the model hangs up, before the server does."""

bodies = st.binary(max_size=40).map(lambda octets: b"Subject: x\r\n\r\n" + re.sub(rb"[\r\n]", b"", octets))
FOREIGN = [b"<bob@elsewhere.test>", b"<>", b"<a%b@example.jp>", b"<bob@example.jp> FOO=1"]
NONSENSE = [b"", b"EXPN x", b"AUTH PLAIN", b"FOO", b"RSET now", b"QUIT now", b"STARTTLS"]
now = st.booleans()
"""Whether to read the replies now, or to send more ahead (RFC 2920)."""


class Dialogue(RuleBasedStateMachine):
    """RFC 5321 4.1.4, RFC 3030: what a transaction is made of, and what ends it."""

    port: int
    stored = 0
    """Messages that read 250, of all dialogues."""

    def __init__(self) -> None:
        super().__init__()
        self.open()

    def open(self) -> None:
        self.greeted = self.mail = self.chunks = self.spoiled = False
        self.recipients = self.errors = 0
        self.ahead: list[tuple[bytes, int, str]] = []
        self.socket = socket.create_connection(("127.0.0.1", self.port), 20, (ADDRESS, 0))
        self.replies = self.socket.makefile("rb")
        assert self.replies.readline().startswith(b"220 ")

    def teardown(self) -> None:
        self.say(b"QUIT\r\n", 2, True)
        assert self.replies.readline() == b""
        self.replies.close()
        self.socket.close()

    def say(self, octets: bytes, expected: int, read: bool, stores: str = "") -> None:
        """The client says this; the model, which class of reply it reads."""
        self.ahead.append((octets, expected, stores))
        self.errors += expected == 5
        if not read:
            return
        self.socket.sendall(b"".join(octets for octets, _, _ in self.ahead))
        for octets, expected, stores in self.ahead:
            reply = self.replies.readline()
            while reply[3:4] == b"-":
                reply = self.replies.readline()
            assert reply[:1] == b"%d" % expected, (octets, reply, self.ahead)
            if stores:
                assert b"queued as" in reply
                type(self).stored += 1
        self.ahead = []

    def reset(self) -> None:
        self.mail = self.chunks = self.spoiled = False
        self.recipients = 0

    @invariant()
    def not_too_many_errors(self) -> None:
        """smtpd_hard_error_limit is another test's."""
        if self.errors >= PATIENCE:
            self.teardown()
            self.open()

    @rule(word=st.sampled_from([b"EHLO", b"HELO", b"ehlo"]), read=now)
    def greets(self, word: bytes, read: bool) -> None:
        self.greeted = True
        self.reset()
        self.say(word + b" client.sender.test\r\n", 2, read)

    @rule(sender=st.sampled_from([b"<>", b"<alice@sender.test>", b"<a@[192.0.2.1]> SIZE=100"]), read=now)
    def gives_a_sender(self, sender: bytes, read: bool) -> None:
        good = self.greeted and not self.mail and not self.chunks
        self.mail = self.mail or good
        self.say(b"MAIL FROM:" + sender + b"\r\n", 2 if good else 5, read)

    @rule(argument=st.sampled_from([b"", b" FROM:", b" FROM:<a", b" FROM:<a@b.test> FOO=1", b" TO:<x>"]), read=now)
    def gives_no_sender(self, argument: bytes, read: bool) -> None:
        self.say(b"MAIL" + argument + b"\r\n", 5, read)

    @rule(to=st.sampled_from([b"<bob@example.jp>", b'<"b b"@example.jp>', b"<@a,@b:bob@example.jp>"]), read=now)
    def gives_a_recipient(self, to: bytes, read: bool) -> None:
        good = self.mail and not self.chunks
        self.recipients += good
        self.say(b"RCPT TO:" + to + b"\r\n", 2 if good else 5, read)

    @rule(to=st.sampled_from(FOREIGN), read=now)
    def gives_no_recipient(self, to: bytes, read: bool) -> None:
        self.say(b"RCPT TO:" + to + b"\r\n", 5, read)

    @rule(read=now)
    def comes_as_far_as_content(self, read: bool) -> None:
        """Left to chance, that is rare."""
        self.greets(b"EHLO", read)
        self.gives_a_sender(b"<alice@sender.test>", read)
        self.gives_a_recipient(b"<bob@example.jp>", read)

    @rule(body=bodies, read=now)
    def sends_data(self, body: bytes, read: bool) -> None:
        if not (self.greeted and self.mail and self.recipients) or self.chunks:
            self.say(b"DATA\r\n", 5, read)
            return
        self.say(b"DATA\r\n", 3, True)
        self.reset()
        self.errors = 0
        self.say(body.replace(b"\n.", b"\n..") + b"\r\n.\r\n", 2, True, "stored")

    @rule(body=bodies, last=st.booleans(), read=now)
    def sends_a_chunk(self, body: bytes, last: bool, read: bool) -> None:
        self.chunk(body, last, read)

    @rule(last=st.booleans(), read=now)
    def sends_an_empty_chunk(self, last: bool, read: bool) -> None:
        self.chunk(b"", last, read)

    def chunk(self, octets: bytes, last: bool, read: bool) -> None:
        good = bool(self.mail and self.recipients and not self.spoiled and (octets or last))
        said = b"BDAT %d%s\r\n" % (len(octets), b" LAST" if last else b"") + octets
        if good and last:
            self.errors = 0
        if last:
            self.reset()
        elif good:
            self.chunks = True
        else:  # what belongs to it may come yet, and is dropped
            self.reset()
            self.chunks = self.spoiled = True
        self.say(said, 2 if good else 5, read or (good and last), "stored" if good and last else "")

    @rule(read=now)
    def resets(self, read: bool) -> None:
        self.reset()
        self.say(b"RSET\r\n", 2, read)

    @rule(line=st.sampled_from([b"NOOP", b"VRFY <bob@example.jp>", b"HELP"]), read=now)
    def talks(self, line: bytes, read: bool) -> None:
        self.say(line + b"\r\n", 2, read)

    @rule(line=st.sampled_from(NONSENSE), read=now)
    def talks_nonsense(self, line: bytes, read: bool) -> None:
        self.say(line + b"\r\n", 5, read)


def test_states(serve: Serve) -> None:
    """A thousand commands in any order, some sent ahead: each gets the class of reply that its state asks for, and as
    many messages are queued as read 250."""
    mx = serve(bound_to(["example.jp"], free_port()))
    Dialogue.port, Dialogue.stored = mx.port, 0
    quick = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Dialogue, settings=quick)
    queued = {recipient["queue_id"] for recipient in mx.queue()}
    assert len(queued) == Dialogue.stored > 0
    assert "Traceback" not in mx.log
