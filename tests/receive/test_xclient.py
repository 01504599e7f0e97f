"""XCLIENT: a trusted client speaks for another."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.mail.reply import Reply
from backupmx.receive.anvil import Anvil
from backupmx.receive.xclient import Other, parse
from tests.receive.doors import running

TRUSTED: dict[str, Any] = {"xclient_from": ("127.0.0.1",)}


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("NAME=mail.example ADDR=192.0.2.1", Other("192.0.2.1", name="mail.example")),
        ("addr=IPv6:2001:DB8:0::1 Port=4711", Other("2001:db8::1", 4711)),
        ("ADDR=IPv6:::ffff:192.0.2.1", Other("192.0.2.1")),
        ("NAME=[UNAVAILABLE] HELO=[UNAVAILABLE] PORT=[UNAVAILABLE]", Other(port=0, name="unknown")),
        ("NAME=[tempunavail] ADDR=[UNAVAILABLE]", Other(name="unknown")),
        ("HELO=a+20b+0Ac PROTO=esmtp", Other(helo="a b?c", protocol="ESMTP")),
        ("HELO=a+zz", Other(helo="a+zz")),
        ("LOGIN=me DESTADDR=198.51.100.1 DESTPORT=25 REVERSE_NAME=x.example", Other()),
    ],
)
def test_parsed(argument: str, expected: Other) -> None:
    """Attributes in any order and case, xtext, and what the speaker does not know."""
    assert expected == parse(argument.encode())


@given(st.binary(max_size=100))
def test_any_bytes(argument: bytes) -> None:
    """Whatever follows XCLIENT is told or refused."""
    assert isinstance(parse(argument), Other | Reply)


async def test_begins_anew() -> None:
    """After XCLIENT the other client is greeted; limits, log and Received go by it; it may not speak for a third."""
    async with running(**TRUSTED) as door:
        talk = await door.connect()
        assert "250-XCLIENT NAME ADDR" in await talk.say("EHLO proxy")
        assert (
            await talk.say("XCLIENT NAME=mail.example ADDR=192.0.2.1 PORT=4711") == "220 mx2.example.net ESMTP backupmx"
        )
        assert await talk.say("MAIL FROM:<>") == "503 5.5.1 Error: send HELO/EHLO first"
        assert "XCLIENT" not in await talk.say("EHLO client.example")
        assert await talk.say("XCLIENT ADDR=127.0.0.1") == "550 5.7.0 Error: insufficient authorization"
        await talk.begin()
        await talk.say("x\r\n.", "QUIT")
        await talk.close()
    client = door.recorder.messages[0].client
    assert (client.address, client.port, client.name, client.helo) == (
        "192.0.2.1",
        4711,
        "mail.example",
        "client.example",
    )
    assert [line for line in door.lines if "connect" in line or "client=" in line] == [
        "connect from unknown[127.0.0.1]",
        "XCLIENT from unknown[127.0.0.1]: client=192.0.2.1",
        "disconnect from unknown[127.0.0.1] ehlo=1 xclient=1 commands=2",
        "connect from mail.example[192.0.2.1]",
        f"{door.recorder.messages[0].queue_id}: client=mail.example[192.0.2.1]",
        "disconnect from mail.example[192.0.2.1] mail=1/2 ehlo=2 xclient=0/1 rcpt=1 data=1 quit=1 commands=6/8",
    ]


async def test_helo_and_protocol_may_be_told() -> None:
    """A filter that passes mail on tells what the client said, and need not say it again."""
    async with running(**TRUSTED) as door:
        talk = await door.connect()
        talk.writer.write(b"XCLIENT ADDR=192.0.2.1 HELO=there.example PROTO=ESMTP\r\nMAIL FROM:<>\r\n")
        assert [await talk.reply(), await talk.reply()] == ["220 mx2.example.net ESMTP backupmx", "250 2.1.0 Ok"]
        await talk.say("RCPT TO:<user@example.jp>", "DATA")
        await talk.say(".")
        await talk.close()
    client = door.recorder.messages[0].client
    assert (client.address, client.helo, client.with_protocol) == ("192.0.2.1", "there.example", "ESMTP")


async def test_limits_are_the_other_clients() -> None:
    """The speaker's own connections are not counted, those of the clients it speaks for are, and given back."""
    anvil = Anvil().hand()
    async with running(anvil=anvil, limit_exceptions=(), client_connection_limit=1, **TRUSTED) as door:
        talks = [await door.connect() for _ in range(3)]
        assert await talks[0].say("XCLIENT ADDR=192.0.2.1") == "220 mx2.example.net ESMTP backupmx"
        assert (await talks[1].say("XCLIENT ADDR=192.0.2.1")).startswith(
            "421 4.7.0 mx2.example.net Error: too many conn"
        )
        assert await talks[1].closed()
        assert await talks[2].say("XCLIENT ADDR=192.0.2.2") == "220 mx2.example.net ESMTP backupmx"
        for talk in talks:
            await talk.close()
        await door.gone()
        again = await door.connect()
        assert await again.say("XCLIENT ADDR=192.0.2.1") == "220 mx2.example.net ESMTP backupmx"
        await again.close()


async def test_names_are_asked_for() -> None:
    """Without NAME the DNS tells it, and an answer about the speaker that comes late is not taken for it."""
    asked: list[str] = []

    class Names:
        async def reverse(self, ip: str) -> str:
            asked.append(ip)
            return f"name-of-{ip}"

    async with running(resolver=Names(), **TRUSTED) as door:
        talk = await door.connect()
        talk.writer.write(b"XCLIENT ADDR=192.0.2.1\r\n")
        await talk.reply()
        await talk.begin()
        await talk.say(".")
        await talk.close()
    assert asked == ["127.0.0.1", "192.0.2.1"]
    assert door.recorder.messages[0].client.name == "name-of-192.0.2.1"
