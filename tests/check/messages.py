"""Messages for the tests of the checks."""

import base64

from backupmx.check.finding import Mail
from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.message import Message

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-" + b"ANTI-UBE-TEST-EMAIL*C.34X"

CLIENT = Client("192.0.2.1", 40000, "mx1.sender.test", "mx1.sender.test", "ESMTP")


def mail(
    body: bytes = b"Hello\r\n",
    *headers: bytes,
    sender: str = "alice@sender.test",
    client: Client = CLIENT,
    standard: bool = True,
) -> Mail:
    usual = (
        b"From: Alice <alice@sender.test>",
        b"To: bob@example.test",
        b"Subject: lunch",
        b"Date: Tue, 24 Nov 2026 04:00:00 +0000",
        b"Message-ID: <1@sender.test>",
    )
    message = Message((*headers, *(usual if standard else ())), (b"\r\n", body))
    return Mail(message, Envelope(sender, (Recipient("bob@example.test"),)), client, "4hTESTz1")


def attached(content: bytes, name: str = "file.bin") -> bytes:
    """A multipart body with one base64 attachment; its header is MIXED."""
    encoded = base64.encodebytes(content).replace(b"\n", b"\r\n")
    head = f'Content-Type: application/octet-stream; name="{name}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    return b"--b\r\n" + head.encode() + encoded + b"--b--\r\n"


MIXED = b'Content-Type: multipart/mixed; boundary="b"'
