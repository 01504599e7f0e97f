"""What no host of a primary would take is refused at the door."""

from backupmx.receive.ability import Abilities
from backupmx.route.primaries import Offer, Primaries, Primary
from tests.receive.doors import running

SMALL = Primary("smtp:[small]", offers=(Offer("192.0.2.1", 1000, smtputf8=False),))
LARGE = Primary("smtp:[large]", offers=(Offer("192.0.2.2", 5000),))
NEW = Primary("smtp:[new]")


def hop(address: str) -> str:
    return {"small.example.jp": "smtp:[small]", "large.example.jp": "smtp:[large]"}.get(
        address.rpartition("@")[2], "smtp:[new]"
    )


def refused(primaries: list[Primary], size: int = 0, sender: str = "a@b.example") -> list[str]:
    """The replies to MAIL, and to a recipient of each primary."""
    abilities = Abilities(hop, lambda: Primaries(primaries))
    told = [abilities.mail(size)]
    told += [abilities.recipient(sender, f"u@{d}.example.jp", size) for d in ("small", "large", "new")]
    return [str(each.reply)[:9] if each else "" for each in told]


def test_sizes() -> None:
    """Too large for all: at MAIL; for some: at their recipients; for one that may take it: for nobody."""
    assert refused([SMALL, LARGE], 6000)[0] == "552 5.3.4"
    assert refused([SMALL, LARGE, NEW], 6000) == ["", "552 5.3.4", "552 5.3.4", ""]
    assert refused([SMALL, LARGE], 2000) == ["", "552 5.3.4", "", ""]
    assert refused([SMALL, LARGE], 1000) == refused([SMALL, LARGE]) == [""] * 4
    assert refused([]) == refused([NEW], 1 << 40) == [""] * 4


def test_utf8() -> None:
    """An address in UTF-8 goes to nobody whose primary has no SMTPUTF8."""
    assert refused([SMALL, LARGE, NEW], sender="ü@b.example") == ["", "550 5.6.7", "", ""]


async def test_at_the_door() -> None:
    """The client hears it before it sends anything, and the log which primary it is."""
    async with running() as door:
        door.door.service.abilities = Abilities(hop, lambda: Primaries([SMALL, LARGE]))
        talk = await door.connect()
        await talk.say("EHLO x")
        too_large = "552 5.3.4 Message size exceeds fixed limit"
        assert await talk.say("MAIL FROM:<a@b.example> SIZE=6000") == too_large
        assert await talk.say("MAIL FROM:<a@b.example> SIZE=2000") == "250 2.1.0 Ok"
        reply = await talk.say("RCPT TO:<u@small.example.jp>")
        assert reply == f"552 5.3.4 <u@small.example.jp>: Recipient address rejected: {too_large[10:]}"
        assert await talk.say("RCPT TO:<u@large.example.jp>") == "250 2.1.5 Ok"
        await talk.say("RSET", "MAIL FROM:<a@b.example> SMTPUTF8")
        assert await talk.say("RCPT TO:<u@small.example.jp>") == "250 2.1.5 Ok"
        assert (await talk.say("RCPT TO:<ü@small.example.jp>")).startswith("550 5.6.7 <ü@small.example.jp>: ")
        assert await talk.say("RCPT TO:<ü@large.example.jp>") == "250 2.1.5 Ok"
        await talk.say("RSET", "MAIL FROM:<a@b.example>", "RCPT TO:<u@small.example.jp>", "DATA")
        assert await talk.say("x" * 1001 + "\r\n.") == "552 5.3.4 Error: message file too big"
        await talk.say("MAIL FROM:<>", "RCPT TO:<u@small.example.jp>", "RCPT TO:<u@large.example.jp>", "DATA")
        assert (await talk.say("x" * 1001 + "\r\n.")).startswith("250 2.0.0 Ok")
        await talk.close()
    ends = [line.rpartition(" [")[2] for line in door.lines if "reject: " in line]
    small = "smtp:[small]: SIZE=1000]"
    assert ends == ["every primary: SIZE=5000]", small, "smtp:[small]: no SMTPUTF8]", small]
