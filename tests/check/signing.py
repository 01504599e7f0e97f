"""Signs messages as their senders would, with dkimpy."""

from dataclasses import replace

import dkim

from backupmx.check.finding import Mail


def _logical(field: bytes) -> bytes:
    return field.replace(b"\r\n", b"\n").rstrip(b"\n")


def signed(
    mail: Mail, private: bytes, domain: bytes = b"sender.test", selector: bytes = b"s1", **options: object
) -> Mail:
    """With a DKIM-Signature on top."""
    raw = b"".join(mail.message.chunks())
    field = dkim.sign(raw, selector, domain, private, **options)
    return with_headers(mail, _logical(field))


def sealed(mail: Mail, private: bytes, results: bytes = b"arc=none", domain: bytes = b"sender.test") -> Mail:
    """With an ARC set on top."""
    answer = b"Authentication-Results: lists.test; " + results + b"\r\n"
    raw = answer + b"".join(mail.message.chunks())
    names = [b"from", b"to", b"subject", b"date", b"message-id"]
    fields = dkim.arc_sign(raw, b"s1", domain, private, b"lists.test", include_headers=names)
    return with_headers(mail, *(_logical(field) for field in fields))


def with_headers(mail: Mail, *headers: bytes) -> Mail:
    return replace(mail, message=replace(mail.message, headers=(*headers, *mail.message.headers)))


def with_body(mail: Mail, *chunks: bytes) -> Mail:
    return replace(mail, message=replace(mail.message, body=(b"\r\n", *chunks)))
