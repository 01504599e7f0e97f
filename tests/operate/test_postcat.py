"""Postfix's queue files as postcat prints them, line by line; the real program is asked in test_cli_parcels.py."""

import pytest

from backupmx.operate.postcat import parse
from backupmx.queue.parcel import Unusable

PATH = b"deferred/E/E7F0F22939E"
HEAD = b"*** ENVELOPE RECORDS " + PATH + b" ***\n"
TIME = b"message_arrival_time: Tue Nov 24 08:15:40 2026\n"
CONTENTS, EXTRACTED, END = (
    b"*** " + words + b" " + PATH + b" ***\n"
    for words in (b"MESSAGE CONTENTS", b"HEADER EXTRACTED", b"MESSAGE FILE END")
)


def output(records: bytes, content: bytes = b"Subject: x\n\nhello\n", extracted: bytes = b"") -> bytes:
    return HEAD + TIME + records + CONTENTS + content + EXTRACTED + extracted + END


def test_who_is_left() -> None:
    """Those that Postfix has done with are left out; one that is named twice stands for two."""
    records = b"sender: s@x.example\nrecipient: a@x.example\ndone_recipient: b@x.example\n"
    parcel, content = parse(output(records, extracted=b"recipient: c@x.example\nrecipient: a@x.example\n"))
    assert [(r.address, r.many) for r in parcel.recipients] == [("a@x.example", 2), ("c@x.example", 1)]
    assert (parcel.queue_id, content) == ("E7F0F22939E", b"Subject: x\n\nhello\n")


def test_dsn_words_are_about_one_recipient() -> None:
    """What stands before a recipient is about this one and not about the next."""
    records = (
        b"sender: \nnamed_attribute: notify_flags=12\nnamed_attribute: dsn_orig_rcpt=rfc822;A+a@x.example\n"
        b"original_recipient: a@x.example\nrecipient: a@x.example\nrecipient: b@x.example\n"
    )
    parcel, _ = parse(output(records))
    assert parcel.sender == ""
    assert [(r.notify, r.orcpt) for r in parcel.recipients] == [
        ("FAILURE,DELAY", "rfc822;A+2Ba@x.example"),
        ("", ""),
    ]


def test_handed_in_on_its_own_host() -> None:
    """Mail that sendmail took has no client: it came from there, and is not a notice of ours."""
    parcel, _ = parse(output(b"sender: s@x.example\nrecipient: a@x.example\n"))
    assert str(parcel.client) == "localhost[127.0.0.1]"


def test_a_body_that_looks_like_the_end() -> None:
    """Lines that name this very file do not end the message early: the last ones count."""
    content = b"Subject: x\n\n" + EXTRACTED + b"recipient: evil@x.example\n" + END + b"more\n"
    parcel, found = parse(output(b"sender: s@x.example\nrecipient: a@x.example\n", content))
    assert (found, [r.address for r in parcel.recipients]) == (content, ["a@x.example"])


def test_nothing_in_it() -> None:
    """A message without an octet is one."""
    _, content = parse(output(b"sender: s@x.example\nrecipient: a@x.example\n", b""))
    assert content == b""


GOOD = output(b"sender: s@x.example\nrecipient: a@x.example\n")


@pytest.mark.parametrize("at", range(len(HEAD), len(GOOD) - 1, 7))
def test_cut_anywhere(at: int) -> None:
    """Output that was cut is refused wherever that was."""
    with pytest.raises(Unusable, match="the output was cut"):
        parse(GOOD[:at])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"Subject: x\n\n", "print it with `postcat -q ID`"),
        (GOOD + GOOD.replace(b"E7F0F22939E", b"E910922939F"), "file of its own"),
        (output(b"recipient: a@x.example\n"), "no sender record"),
        (output(b"sender: s@x.example\n\xff\n"), "line 4: "),
        (GOOD.replace(b"Tue Nov 24", b"Dienstag"), "is no time as postcat prints it"),
    ],
)
def test_not_its_output(text: bytes, sentence: str) -> None:
    """What is not the output of `postcat -q ID` is refused with what helps."""
    with pytest.raises(Unusable) as caught:
        parse(text)
    assert sentence in str(caught.value)
