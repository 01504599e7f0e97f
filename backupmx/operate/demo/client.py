"""client: the senders' mail server, with the standard library's SMTP."""

import re
import smtplib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backupmx.operate.demo.scene import DOOR
from backupmx.operate.demo.step import Trouble

HELO = "mail.sender.example"
_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The last reply of a transaction, or the first that refused."""

    code: int
    text: str

    @property
    def queue_id(self) -> str:
        match = re.search(r"queued as (\w+)", self.text)
        return match[1] if match else ""

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


def greeting(port: int) -> Answer:
    """What stands before our first word.  Raises Trouble."""
    try:
        with smtplib.SMTP(local_hostname=HELO, timeout=_PATIENCE) as smtp:
            code, text = smtp.connect(DOOR, port)
            return Answer(code, _text(text))
    except (OSError, smtplib.SMTPException) as error:
        raise Trouble(f"no greeting on {DOOR}:{port}: {error}") from None


def send(port: int, sender: str, recipients: Sequence[str], content: bytes) -> Answer:
    """One transaction on a connection of its own.  Raises Trouble when the dialogue breaks."""
    try:
        with smtplib.SMTP(DOOR, port, local_hostname=HELO, timeout=_PATIENCE) as smtp:
            smtp.ehlo()
            for reply in _dialogue(smtp, sender, recipients, content):
                answer = Answer(reply[0], _text(reply[1]))
                if answer.code >= 400:
                    break
            return answer
    except smtplib.SMTPResponseException as refusal:  # DATA refused: smtplib raises for this one
        return Answer(refusal.smtp_code, _text(refusal.smtp_error))
    except (OSError, smtplib.SMTPException) as error:
        raise Trouble(f"the dialogue on {DOOR}:{port} broke: {error}") from None


def _dialogue(
    smtp: smtplib.SMTP, sender: str, recipients: Sequence[str], content: bytes
) -> Iterator[tuple[int, bytes]]:
    yield smtp.mail(sender, [] if content.isascii() else ["BODY=8BITMIME"])
    for recipient in recipients:
        yield smtp.rcpt(recipient)
    yield smtp.data(content)


def _text(reply: bytes | str) -> str:
    return reply if isinstance(reply, str) else reply.decode("utf-8", "replace")
