"""Pure.  stamp: outside copies of what our checks say come off, our own fields go on.

    fields(findings, hostname)   what we want to say, in order
    apply(message, ...)          the message without outside copies, and with
                                 those of our fields that the rules let through

Where the spam check is on, every X-Spam-* that came from outside is removed,
where the virus check is on every X-Virus-*, whether or not the check gave an
answer: what a recipient's filter reads was said by us or by nobody.  Of
Authentication-Results those that claim our own name are removed (RFC 8601
section 5); those of others are theirs to answer for.

Why not authres for our own?  Tried (1.2.0): it lets CR, LF and an unbalanced "("
from a value into the field, folds nothing, and takes five times as long.  The
tests let it read what we write.

Ours stand under our own Received, in this order: Authentication-Results,
X-Virus-*, X-Spam-*.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from backupmx.check.field import folded, plain, uncommented
from backupmx.check.finding import Finding, Findings
from backupmx.mail.message import Message

_METHODS = ("spf", "dkim", "dmarc", "arc")
_FAMILIES = {"spam": b"x-spam-", "virus": b"x-virus-"}
_RESULTS = b"authentication-results"
_FILLING = re.compile(rb"[^!-~]|[\"\\]")


def fields(findings: Findings, hostname: str) -> tuple[bytes, ...]:
    """The fields we want to add, in order.  An authentication check that is off is not mentioned."""
    authentication = [f for method in _METHODS if (f := findings.of(method))]
    found: list[bytes] = []
    if authentication:
        found.append(_authentication_results(authentication, hostname))
    for check in ("virus", "spam"):
        if finding := findings.of(check):
            found.extend(finding.fields)
    return tuple(found)


def apply(message: Message, findings: Findings, own: int, kept: Sequence[bytes], hostname: str) -> Message:
    """`own` fields at the front are ours already; `kept` are those of `fields` that the rules let through."""
    prefixes = tuple(prefix for check, prefix in _FAMILIES.items() if findings.of(check))
    authserv_id = hostname.lower().encode("utf-8", "surrogateescape")
    outside = [h for h in message.headers[own:] if not _claims_to_be_ours(h, prefixes, authserv_id)]
    return replace(message, headers=(*message.headers[:own], *kept, *outside))


def _authentication_results(findings: Sequence[Finding], hostname: str) -> bytes:
    results = [result for finding in findings for result in finding.results] or ["none"]
    pieces = [f"{plain(hostname)};", *(f"{result};" for result in results[:-1]), results[-1]]
    return folded("Authentication-Results:", pieces)


def _claims_to_be_ours(header: bytes, prefixes: tuple[bytes, ...], authserv_id: bytes) -> bool:
    name = header.partition(b":")[0].rstrip().lower()
    if name.startswith(prefixes):
        return True
    return name == _RESULTS and claims(header.partition(b":")[2], authserv_id)


def claims(value: bytes, authserv_id: bytes) -> bool:
    """Whether an Authentication-Results value speaks in our name.

    Our name anywhere before the first ";" counts, comments aside, whatever else stands there, and also in
    pieces between quotes, blanks and comments: some reader may parse it more kindly than we do.
    """
    text, whole = uncommented(value)
    before = text.lstrip(b"; \t\r\n").partition(b";")[0].lower()
    name = re.escape(authserv_id.rstrip(b"."))
    ours = re.compile(rb"(?<![a-z0-9._-])" + name + rb"(?![a-z0-9_-]|\.[a-z0-9])")
    return not whole or any(ours.search(said) for said in (before, _FILLING.sub(b"", before)))
