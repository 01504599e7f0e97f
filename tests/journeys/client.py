"""client: a sender that hears every reply."""

import re
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import make_msgid

SENDER = "alice@sender.test"
ADDRESS = "127.0.0.5"
"""client.sender.test, as the journeys' DNS has it."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What we were told."""

    code: int
    text: str
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Recipients that RCPT was refused for."""

    @property
    def queue_id(self) -> str:
        found = re.search(r"queued as (\S+)", self.text)
        assert found, self
        return found[1]


def message(subject: str, body: str = "Hello.\n", to: str = "bob@example.jp", **headers: str) -> bytes:
    """A small message, CRLF line ends.  An underscore in a name is a hyphen."""
    mail = EmailMessage()
    fields = {"From": f"Alice <{SENDER}>", "To": to, "Subject": subject, "Date": "Tue, 24 Nov 2026 05:00:00 +0000"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    for name, value in {**fields, "Message-ID": make_msgid(domain="sender.test"), **given}.items():
        mail[name] = value
    mail.set_content(body)
    return mail.as_bytes().replace(b"\n", b"\r\n")


def send(
    port: int,
    content: bytes,
    to: str | Sequence[str] = "bob@example.jp",
    sender: str = SENDER,
    *,
    tls: ssl.SSLContext | None = None,
    options: Sequence[str] = (),
    timeout: float = 60.0,
) -> Sent:
    """One transaction on a connection of its own.  The bytes go as they are, dots stuffed."""
    with smtplib.SMTP("127.0.0.1", port, "client.sender.test", timeout, source_address=(ADDRESS, 0)) as smtp:
        if tls is not None:
            smtp.starttls(context=tls)
        smtp.ehlo()
        return transact(smtp, content, to, sender, options)


def transact(
    smtp: smtplib.SMTP,
    content: bytes,
    to: str | Sequence[str] = "bob@example.jp",
    sender: str = SENDER,
    options: Sequence[str] = (),
) -> Sent:
    """One transaction on a connection that is open.  Raises SMTPServerDisconnected, OSError."""
    code, text = smtp.mail(sender, list(options))
    if code != 250:
        return Sent(code, text.decode())
    refused = {}
    recipients = [to] if isinstance(to, str) else list(to)
    for recipient in recipients:
        code, text = smtp.rcpt(recipient)
        if code != 250:
            refused[recipient] = (code, text.decode())
    if len(refused) == len(recipients):
        smtp.rset()
        return Sent(code, text.decode(), refused)
    try:
        code, text = smtp.data(content)
    except smtplib.SMTPDataError as error:
        code, text = error.smtp_code, error.smtp_error  # what DATA itself was answered
    return Sent(code, text.decode("utf-8", "replace") if isinstance(text, bytes) else text, refused)
