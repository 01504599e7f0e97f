"""traffic: several senders at once that write down, for each message, what they were told.

    acked     250 after the dot: it must arrive
    refused   a 4xx or 5xx, or the connection went before the dot was sent: it must not
    unknown   the connection went after the dot: it may, once

Nothing is sent twice, so what arrives twice was duplicated behind the door.
"""

import itertools
import smtplib
import threading
import time
from dataclasses import dataclass, field

from tests.journeys.client import ADDRESS, message

SUBJECT = "traffic"


@dataclass
class Traffic:
    port: int
    senders: int = 4
    domain: str = "example.jp"
    acked: dict[str, float] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    farewells: list[str] = field(default_factory=list)
    """421s in place of a reply: the appliance says that it stops."""
    errors: list[BaseException] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ending: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> "Traffic":
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(self.senders)]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self, timeout: float = 60.0) -> None:
        """No new messages; those that are on their way hear their reply."""
        self._ending.set()
        for thread in self._threads:
            thread.join(timeout)
        assert not any(thread.is_alive() for thread in self._threads)
        assert self.errors == []

    def wait_for(self, acked: int, seconds: float = 30.0) -> None:
        """Until so many messages more have their 250."""
        goal = len(self.acked) + acked
        until = time.monotonic() + seconds
        while len(self.acked) < goal and not self.errors:
            assert time.monotonic() < until, f"{len(self.acked)} of {goal}: {self.errors}"
            time.sleep(0.005)

    @property
    def all(self) -> set[str]:
        return set(self.acked) | self.refused | self.unknown

    def _send(self, sender: int) -> None:
        try:
            while not self._ending.is_set():
                try:
                    self._converse(sender)
                except (OSError, smtplib.SMTPException):
                    time.sleep(0.02)  # nobody there just now
        except BaseException as error:
            self.errors.append(error)

    def _converse(self, sender: int) -> None:
        """Ten messages on one connection."""
        with smtplib.SMTP("127.0.0.1", self.port, f"c{sender}.sender.test", 30, (ADDRESS, 0)) as smtp:
            smtp.ehlo()
            for _ in range(10):
                if self._ending.is_set():
                    return
                self._one(smtp, f"{SUBJECT} {next(self._numbers)}")

    def _one(self, smtp: smtplib.SMTP, id: str) -> None:
        content = message(
            id, f"This is {id}.\n" + "x" * 70 + f"\n{'y' * 70}\n" * 20 + "-- the end\n", f"bob@{self.domain}"
        )
        for command, expected in (
            ("MAIL FROM:<alice@sender.test>", 250),
            (f"RCPT TO:<bob@{self.domain}>", 250),
            ("DATA", 354),
        ):
            try:
                code, text = smtp.docmd(command)
            except (OSError, smtplib.SMTPException):
                self._note(id, self.refused)
                raise
            if code != expected:
                self._note(id, self.refused)
                self._hear(code, text)
                return
        try:
            smtp.send(content + b".\r\n")
            code, text = smtp.getreply()
        except (OSError, smtplib.SMTPException):
            self._note(id, self.unknown)
            raise
        if code == 250:
            with self._lock:
                self.acked[id] = time.time()
        else:
            self._note(id, self.refused)
            self._hear(code, text)

    def _note(self, id: str, where: set[str]) -> None:
        with self._lock:
            where.add(id)

    def _hear(self, code: int, text: bytes) -> None:
        if code == 421:
            self.farewells.append(text.decode())
            raise smtplib.SMTPServerDisconnected(text.decode())
