"""Pure.  smtp_trouble: what can go wrong with a peer, and how long we wait for it.

SmtpTrouble
 ├ Unreachable   no connection, no 220, no EHLO, not the TLS we want: no use now
 ├ TlsTrouble    STARTTLS was offered and failed: connect again without
 └ Lost          the connection went before the message was sent whole
"""

from dataclasses import dataclass


class SmtpTrouble(Exception):
    """The text is for log and queue, in Postfix's words; `status` is its RFC 3463 code."""

    def __init__(self, text: str, status: str = "4.4.2") -> None:
        super().__init__(text)
        self.status = status


class Unreachable(SmtpTrouble):
    """This host takes no mail now."""


class TlsTrouble(SmtpTrouble):
    """STARTTLS was offered and did not work."""


class Lost(SmtpTrouble):
    """The connection went before the message was sent whole: it was not taken."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for each answer; defaults of RFC 5321 4.5.3.2, the first three Postfix's."""

    connect: float = 30.0
    greeting: float = 300.0
    tls: float = 30.0
    """Shorter than Postfix's 300: a hung handshake is followed by a try in clear."""
    hello: float = 300.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    dot: float = 600.0
    message: float = 1800.0
    """All of a message, and a second more for each 500 octets: who answers drop by drop does not hold it for ever."""
