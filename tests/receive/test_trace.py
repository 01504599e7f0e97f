"""Our Received: field, and how far a message has come."""

from backupmx.mail.envelope import Client, Envelope, Recipient, Tls
from backupmx.receive.trace import date, hops, received, too_many_hops

ONE = Envelope("a@b.example", (Recipient("user@example.jp"),))
TWO = Envelope("a@b.example", (Recipient("user@example.jp"), Recipient("other@example.jp")))
AT = 1_795_494_783.9


def test_one_recipient_is_named() -> None:
    """The shape is Postfix's: header_checks that people bring match it."""
    client = Client("192.0.2.1", 4711, "mail.b.example", "client.example", "ESMTP")
    expected = (
        "Received: from client.example (mail.b.example [192.0.2.1])\n"
        "\tby mx2.example.net (backupmx) with ESMTP id 4hTjZk1Fy6z2Lq9\n"
        f"\tfor <user@example.jp>; {date(int(AT))}"
    )
    assert expected == received(client, ONE, "mx2.example.net", "4hTjZk1Fy6z2Lq9", AT).decode()


def test_several_recipients_are_not_named() -> None:
    """A recipient does not read of the others."""
    client = Client("192.0.2.1", 4711, "unknown", "x", "SMTP")
    field = received(client, TWO, "mx2.example.net", "4hT", AT).decode()
    assert field.endswith(f"\n\tby mx2.example.net (backupmx) with SMTP id 4hT;\n\t{date(int(AT))}")
    assert "example.jp" not in field


def test_tls_and_ipv6() -> None:
    """TLS is noted, an IPv6 address is marked as RFC 5321 4.1.3 wants it."""
    tls = Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
    client = Client("2001:db8::1", 4711, "unknown", "x", "ESMTP", tls)
    lines = received(client, ONE, "mx2.example.net", "4hT", AT).decode().split("\n")
    assert lines[0] == "Received: from x (unknown [IPv6:2001:db8::1])"
    assert lines[1] == "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))"
    assert lines[2] == "\tby mx2.example.net (backupmx) with ESMTPS id 4hT"


def test_smtputf8() -> None:
    """Mail in UTF-8 says so, recipient included."""
    envelope = Envelope("", (Recipient("利用者@example.jp"),), smtputf8=True)
    client = Client("192.0.2.1", 4711, "unknown", "x", "ESMTP", Tls("TLSv1.3", "X", 256))
    lines = received(client, envelope, "mx2.example.net", "4hT", AT).decode().split("\n")
    assert lines[2:] == [
        "\tby mx2.example.net (backupmx) with UTF8SMTPS id 4hT",
        f"\tfor <利用者@example.jp>; {date(int(AT))}",
    ]


def test_date_is_english_with_a_numeric_zone() -> None:
    """RFC 5322 3.3 whatever the locale."""
    day, rest = date(1_795_494_783).split(", ")
    assert day == "Tue"
    assert rest.startswith("24 Nov 2026 ")
    assert rest[rest.index(":") + 6 :][:1] in "+- "


def test_hops() -> None:
    """Every Received: counts, however its name is written, and nothing else does."""
    headers = [b"Received: a", b"RECEIVED: b", b"received : c", b"Received-SPF: pass", b"X-Received: d", b"Received"]
    assert hops(headers) == 3


def test_too_many_hops() -> None:
    """Fifty of others and our own is a circle: refused for good."""
    assert None is too_many_hops([b"Received: x"] * 50)
    verdict = too_many_hops([b"Received: x"] * 51)
    assert verdict is not None
    assert str(verdict.reply) == "554 5.4.0 Error: too many hops"
