"""Pure.  trace: our own Received: field, and counting those of others (RFC 5321 4.4).

`received` has Postfix's shape, folds included, because header_checks written
for Postfix match it:

    Received: from HELO (NAME [ADDRESS])
            (using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))
            by HOSTNAME (backupmx) with ESMTPS id QUEUEID
            for <RECIPIENT>; DATE

The recipient is named only when there is one: a second would read of a blind
copy.  Every Received: of others is one hop; mail that went through too many
goes in a circle (RFC 5321 6.3) and is refused for good.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

from backupmx.mail.envelope import Client, Envelope
from backupmx.mail.reply import Reply
from backupmx.mail.verdict import Fate, Verdict

HOP_LIMIT = 50
"""Postfix hopcount_limit and chasquid max_received_headers agree.  RFC 5321 6.3 would have 100: no real mail has 50."""

_WEEK = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_YEAR = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TOO_MANY = Verdict(Fate.REJECT, Reply(554, "5.4.0", "Error: too many hops"), reason="too many Received: fields")


def received(client: Client, envelope: Envelope, hostname: str, queue_id: str, now: float) -> bytes:
    """The logical header: folds as LF and TAB, no line end after it."""
    literal = f"IPv6:{client.address}" if ":" in client.address else client.address
    tls = client.tls
    secured = f"\n\t(using {tls.version} with cipher {tls.cipher} ({tls.bits}/{tls.bits} bits))" if tls else ""
    # RFC 6531 4.3: UTF8SMTP and UTF8SMTPS in place of ESMTP and ESMTPS.
    spoken = f"UTF8{client.with_protocol.removeprefix('E')}" if envelope.smtputf8 else client.with_protocol
    # Postfix breaks the line before DATE when it names no recipient (smtpd.c).
    recipients = envelope.recipients
    last = f"\n\tfor <{recipients[0].address}>; " if len(recipients) == 1 else ";\n\t"
    return (
        f"Received: from {client.helo or 'unknown'} ({client.name} [{literal}]){secured}"
        f"\n\tby {hostname} (backupmx) with {spoken} id {queue_id}{last}{date(int(now))}"
    ).encode("utf-8", "replace")


def hops(headers: Iterable[bytes]) -> int:
    """How many of these logical headers are Received:."""
    return sum(1 for header in headers if header[:8].lower() == b"received" and header[8:].lstrip(b" \t")[:1] == b":")


def too_many_hops(headers: Iterable[bytes], limit: int = HOP_LIMIT) -> Verdict | None:
    """The verdict on a message that went in a circle; None for all others.  Our own field is one of `headers`."""
    return _TOO_MANY if hops(headers) > limit else None


@lru_cache(maxsize=4)
def date(second: int) -> str:
    """RFC 5322 3.3 in local time, English whatever the locale: "Tue, 24 Nov 2026 04:33:03 +0000 (UTC)"."""
    t = datetime.fromtimestamp(second).astimezone()
    return f"{_WEEK[t.weekday()]}, {t.day} {_YEAR[t.month - 1]} {t:%Y %H:%M:%S %z} ({t.tzname()})"
