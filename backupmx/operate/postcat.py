"""Pure.  postcat: a queue file of Postfix, as `postcat -q ID` prints it -> a parcel and its content.

    *** ENVELOPE RECORDS deferred/E/E7F0F22939E ***
    message_arrival_time: Tue Nov 24 08:15:40 2026        local time
    named_attribute: log_client_address=192.0.2.1
    sender: sender@example.com                            empty: the null sender
    named_attribute: dsn_orig_rcpt=rfc822;a@example.jp    about the next recipient
    recipient: a@example.jp
    done_recipient: b@example.jp                          has its end already
    *** MESSAGE CONTENTS deferred/E/E7F0F22939E ***
    ...
    *** HEADER EXTRACTED deferred/E/E7F0F22939E ***       more records
    *** MESSAGE FILE END deferred/E/E7F0F22939E ***

A body may hold lines that look like these.  They name the queue file, and of
HEADER EXTRACTED the last one counts: a sender cannot know the name before, and
cannot write behind it.  Without the last line the output was cut, and is refused.

One message a file.  `postcat -v` and `postcat -o` print other forms: not known.

Standards: postcat(1), Postfix's src/global/rec_type.c, RFC 3461 4 (xtext).
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from backupmx.mail.envelope import Client
from backupmx.queue.parcel import Consignee, Parcel, Unusable

MAGIC = b"*** ENVELOPE RECORDS "

_FIRST = re.compile(rb"\*\*\* ENVELOPE RECORDS (\S+) \*\*\*\n")
_RECORD = re.compile(r"([a-z_]+): ?(.*)")
_NOTIFY = {1: "NEVER", 2: "SUCCESS", 4: "FAILURE", 8: "DELAY"}
_RET = {"1": "FULL", "2": "HDRS"}
_REQUESTED_UTF8 = 1


@dataclass(frozen=True, slots=True)
class _Parts:
    path: str
    records: str
    content: bytes


def parse(output: bytes) -> tuple[Parcel, bytes]:
    """-> the parcel and its content, LF line ends as Postfix keeps them.  Raises Unusable."""
    parts = _cut(output)
    attributes: dict[str, str] = {}
    fields: dict[str, str] = {}
    recipients: dict[str, Consignee] = {}
    for name, value in _records(parts.records):
        if name == "named_attribute":
            key, _, word = value.partition("=")
            attributes[key] = word
        elif name in ("recipient", "done_recipient"):
            notify, orcpt = _dsn(attributes.pop("notify_flags", "0"), attributes.pop("dsn_orig_rcpt", ""))
            if name == "recipient":
                first = recipients.get(value)
                recipients[value] = (
                    replace(first, many=first.many + 1) if first else Consignee(value, notify=notify, orcpt=orcpt)
                )
        else:
            fields.setdefault(name, value)
    if "sender" not in fields:
        raise Unusable("no sender record: this is not the output of `postcat -q ID`")
    utf8 = _utf8(fields.get("message_size", ""))
    parcel = Parcel(
        queue_id=parts.path.rpartition("/")[2],
        arrival_time=_arrival(fields.get("message_arrival_time", "")),
        sender=fields["sender"],
        recipients=tuple(recipients.values()),
        body="8BITMIME" if attributes.get("encoding") == "8bit" else "",
        smtputf8=utf8 or not all(a.isascii() for a in (fields["sender"], *recipients)),
        ret=_RET.get(attributes.get("ret_flags", ""), ""),
        envid=_xtext(attributes.get("envelope_id", "")),
        client=_client(attributes),
    )
    return parcel, parts.content


def _cut(output: bytes) -> _Parts:
    first = _FIRST.match(output)
    if not first:
        raise Unusable("does not begin with *** ENVELOPE RECORDS: print it with `postcat -q ID`")
    path = first[1]
    contents, extracted, end = (
        b"\n*** %s %s ***\n" % (word, path) for word in (b"MESSAGE CONTENTS", b"HEADER EXTRACTED", b"MESSAGE FILE END")
    )
    begins, ends = output.find(contents, first.end() - 1), output.rfind(end)
    behind = output.rfind(extracted, 0, ends + 1)
    if not 0 <= begins < behind < ends + 1:
        raise Unusable("its last line, *** MESSAGE FILE END, is missing: the output was cut; print it again")
    if output[ends + len(end) :].strip():
        raise Unusable("there is text behind its end: put each message into a file of its own")
    records = output[first.end() : begins + 1] + output[behind + len(extracted) : ends + 1]
    content = output[begins + len(contents) : behind + 1]
    return _Parts(path.decode("ascii", "replace"), records.decode("utf-8", "replace"), content)


def _records(text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.split("\n"), 2):
        if not line:
            continue
        match = _RECORD.fullmatch(line)
        if match is None:
            raise Unusable(f"line {number}: {line[:80]!r} is no record of `postcat -q ID`")
        yield match[1], match[2]


def _dsn(flags: str, orcpt: str) -> tuple[str, str]:
    """-> NOTIFY and ORCPT as RFC 3461 sends them; Postfix keeps bits, and the address decoded."""
    bits = int(flags) if flags.isdigit() else 0
    notify = ",".join(word for bit, word in _NOTIFY.items() if bits & bit)
    kind, semicolon, address = orcpt.partition(";")
    return notify, f"{kind};{_xtext(address)}" if semicolon and address.isascii() else ""


def _xtext(text: str) -> str:
    return "".join(c if "!" <= c <= "~" and c not in "+=" else f"+{ord(c):02X}" for c in text if c.isascii())


def _utf8(sizes: str) -> bool:
    """The sixth number of message_size: whether the client asked for SMTPUTF8."""
    numbers = sizes.split()
    return len(numbers) > 5 and numbers[5].isdigit() and bool(int(numbers[5]) & _REQUESTED_UTF8)


def _arrival(text: str) -> float:
    try:
        return time.mktime(time.strptime(text, "%a %b %d %H:%M:%S %Y"))
    except (ValueError, OverflowError):
        raise Unusable(f"message_arrival_time {text!r} is no time as postcat prints it") from None


def _client(attributes: dict[str, str]) -> Client:
    """As smtpd saw it; mail that was handed to Postfix on its own host came from there."""
    address = attributes.get("log_client_address") or attributes.get("client_address") or "127.0.0.1"
    name = attributes.get("log_client_name") or attributes.get("client_name") or "localhost"
    port = attributes.get("log_client_port") or attributes.get("client_port") or "0"
    helo = attributes.get("log_helo_name") or attributes.get("helo_name") or name
    protocol = attributes.get("log_protocol_name") or attributes.get("protocol_name") or "ESMTP"
    return Client(address, int(port) if port.isdigit() else 0, name, helo, protocol)
