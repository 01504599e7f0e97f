"""One dialogue with one milter: what it says, and every way in which it can break off."""

import asyncio
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backupmx.net.endpoint import Endpoint
from backupmx.net.milter import Dialogue, MilterAway, MilterLost, MilterTrouble, Timeouts, dialogue
from backupmx.net.milter_answers import Accept, AddHeader, Continue, Discard, Refuse, ReplaceBody, Skip
from backupmx.net.milter_codec import (
    BODY,
    CONNECT,
    DATA,
    END_OF_HEADER,
    HEADER,
    HELO,
    MAIL,
    RCPT,
    connect_data,
    strings,
)
from tests.net.scripted_milter import CLOSE, HANG, Raw, ScriptedMilter, Words, add, change, framed, reply

SHORT = Timeouts(2.0, 0.2, 0.2)
PATIENT = Timeouts(20.0, 20.0, 20.0)


async def told(milter: ScriptedMilter, timeouts: Timeouts = PATIENT, room: int = 1 << 20) -> object:
    """A small message told to it; what it said at the end of it."""
    async with dialogue(Endpoint.parse(milter.address, "inet"), timeouts) as opened:
        return await tell(opened, room)


async def tell(opened: Dialogue, room: int = 1 << 20) -> object:
    for step, data in (
        (CONNECT, connect_data(b"mx.example", b"192.0.2.1", 25)), (HELO, strings(b"mx.example")),
        (MAIL, strings(b"<a@b.example>")), (RCPT, strings(b"<u@example.jp>")), (DATA, b""),
        (HEADER, strings(b"Subject", b"t")), (END_OF_HEADER, b""), (BODY, b"hi\r\n"),
    ):  # fmt: skip
        said = await opened.step(step, data, [("i", "4hX")] if step is MAIL else ())
        if isinstance(said, Skip):
            break
        if not isinstance(said, Continue):
            return said
    return await opened.end([("i", "4hX")], room)


async def test_every_step_in_order() -> None:
    """A milter hears the whole session as from a client that talks now, macros before their step."""
    async with ScriptedMilter({b"E": [b"a"]}, edits=[add(b"X-A", b"1"), b"bnew\r\n"]) as milter:
        assert await told(milter) == ((AddHeader(b"X-A", b"1"), ReplaceBody(b"new\r\n")), Accept())
        await asyncio.sleep(0.05)
        assert b"".join(command for command, _ in milter.heard) == b"OCHDMRTLNBDEQ"
        assert milter.of(b"D") == [b"Mi\x004hX\0", b"Ei\x004hX\0"]
        assert milter.of(b"C") == [b"mx.example\x004\0\x19192.0.2.1\0"]


async def test_steps_it_declines_are_not_sent() -> None:
    """SMFIP_NO*: only the sender and the end are wanted, and the macros of the others still come."""
    steps = sum(step.declined for step in (CONNECT, HELO, RCPT, DATA, HEADER, END_OF_HEADER, BODY))
    async with ScriptedMilter(steps=steps) as milter:
        assert await told(milter) == ((), Continue())
        assert b"".join(command for command, _ in milter.heard if command != b"Q") == b"ODMDE"


async def test_steps_it_does_not_answer_are_not_waited_for() -> None:
    """SMFIP_NR_*: no answer comes, and none is missed."""
    steps = sum(step.silent for step in (CONNECT, HELO, MAIL, RCPT, DATA, HEADER, END_OF_HEADER, BODY))
    async with ScriptedMilter({b"E": [b"d"]}, steps=steps) as milter:
        assert await told(milter) == ((), Discard())
        assert milter.of(b"B") == [b"hi\r\n"]


async def test_it_may_have_seen_enough() -> None:
    """SKIP ends the body, not the message."""
    async with ScriptedMilter({b"B": [b"s"]}) as milter:
        assert await told(milter) == ((), Continue())


async def test_it_may_take_its_time() -> None:
    """PROGRESS starts the clock anew."""
    async with ScriptedMilter({b"E": [Raw(framed(b"p") * 3 + framed(b"a"))]}) as milter:
        assert await told(milter) == ((), Accept())


@pytest.mark.parametrize("command", [b"C", b"H", b"M", b"R", b"T", b"L", b"N", b"B", b"E"])
async def test_it_may_refuse_at_any_step(command: bytes) -> None:
    """A refusal is an answer wherever it comes."""
    async with ScriptedMilter({command: [reply("550 5.7.1 no")]}) as milter:
        said = await told(milter)
        answer = said[1] if isinstance(said, tuple) else said
        assert isinstance(answer, Refuse)
        assert str(answer.reply) == "550 5.7.1 no"


BAD: list[Words] = [
    CLOSE, HANG, Raw(b"\0\0\0\0"), Raw(b"\0\0"), Raw(b"\xff\xff\xff\xffc"), Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    b"cx", b"?", b"y250 2.0.0 fine\0", b"yno\0", b"hno end", Raw(b"\0\0\0\x09hX-A"),
]  # fmt: skip


@pytest.mark.parametrize("command", [b"O", b"C", b"R", b"L", b"B", b"E"])
@pytest.mark.parametrize("bad", BAD)
async def test_a_milter_that_breaks_off_is_lost(command: bytes, bad: Words) -> None:
    """Closed, silent, or no milter protocol: one named trouble, whatever the step."""
    async with ScriptedMilter({command: [bad]}, edits=[add(b"X-A", b"1")]) as milter:
        with pytest.raises(MilterLost):
            await told(milter, SHORT)


@pytest.mark.parametrize("edits", [[b"bhalf a bo", Raw(b"\0\0\1\0bdy")], [Raw(b"\0\0\0\1")], [b"bhalf"]])
async def test_lost_in_the_middle_of_a_new_body(edits: list[bytes | Raw]) -> None:
    """A new body that does not come to its end is none: nothing of it is given out."""
    async with ScriptedMilter({b"E": [CLOSE]}, edits=edits) as milter:
        with pytest.raises(MilterLost, match="END-OF-MESSAGE: it closed"):
            await told(milter)


@pytest.mark.parametrize("command", [b"C", b"R", b"B"])
async def test_edits_belong_to_the_end(command: bytes) -> None:
    """A header that is added in the middle of the session is not its turn."""
    async with ScriptedMilter({command: [add(b"X-A", b"1")]}) as milter:
        with pytest.raises(MilterLost, match="no milter protocol"):
            await told(milter)


async def test_changes_have_a_limit() -> None:
    """A body that grows without an end is cut off, in bounded memory."""
    async with ScriptedMilter({b"E": [HANG]}, edits=[b"b" + b"x" * 60_000] * 4) as milter:
        with pytest.raises(MilterLost, match="more changes"):
            await told(milter, room=200_000)
    async with ScriptedMilter({b"E": [HANG]}, edits=[add(b"X", b"")] * 10_001) as milter:
        with pytest.raises(MilterLost, match="more changes"):
            await told(milter, room=50 << 20)


async def test_as_many_changes_as_headers() -> None:
    """A milter may delete every header that it was shown, and write ten thousand more."""
    edits = [change(1, b"X", b"")] * 10_500
    async with (
        ScriptedMilter(edits=edits) as milter,
        dialogue(Endpoint.parse(milter.address, "inet"), PATIENT) as opened,
    ):
        changed, said = await opened.end([], 8 << 20, headers=500)
    assert (len(changed), said) == (10_500, Continue())
    async with (
        ScriptedMilter(edits=edits) as milter,
        dialogue(Endpoint.parse(milter.address, "inet"), PATIENT) as opened,
    ):
        with pytest.raises(MilterLost, match="more changes"):
            await opened.end([], 8 << 20, headers=499)


async def test_nobody_listens(tmp_path: Path) -> None:
    """A socket that is not there, one that nobody listens on and a closed port are a milter that is away."""
    with socket.socket(socket.AF_UNIX) as dead, socket.socket() as port:
        dead.bind(f"{tmp_path}/dead")
        port.bind(("127.0.0.1", 0))
        for address in (f"unix:{tmp_path}/none", f"unix:{tmp_path}/dead", f"inet:127.0.0.1:{port.getsockname()[1]}"):
            with pytest.raises(MilterAway):
                async with dialogue(Endpoint.parse(address, "inet"), SHORT):
                    pass


async def test_a_full_backlog_is_busy(tmp_path: Path) -> None:
    """A Unix socket that takes no more connections for a moment is waited for."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{tmp_path}/busy")
        listening.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(f"{tmp_path}/busy")
            with pytest.raises(MilterAway, match=r"no connection in 0\.2 s"):
                async with dialogue(Endpoint.parse(f"unix:{tmp_path}/busy"), Timeouts(0.2, 1, 1)):
                    pass


@given(
    st.sampled_from([b"O", b"C", b"M", b"B", b"E"]),
    st.lists(st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(framed)), max_size=6).map(b"".join),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_octets_are_answers_or_a_lost_milter(command: bytes, octets: bytes) -> None:
    """Whatever a milter writes, at whatever step, and then closes: an answer, or MilterLost, at once."""

    async def ask() -> None:
        script: dict[bytes, list[Words]] = {command: [Raw(octets), CLOSE]}
        async with ScriptedMilter(script) as milter:
            try:
                async with asyncio.timeout(5):
                    await told(milter, Timeouts(1, 0.05, 0.05))
            except MilterTrouble:
                pass

    asyncio.run(ask())


def test_the_length_of_an_edit_is_its_own() -> None:
    """An answer of a mebibyte is read whole, and not an octet more."""

    async def ask() -> object:
        edits = [Raw(struct.pack("!I", 1 << 20) + b"b" + b"x" * ((1 << 20) - 1))]
        async with ScriptedMilter({b"E": [b"a"]}, edits=edits) as milter:
            return await told(milter, Timeouts(5, 5, 5), 2 << 20)

    said = asyncio.run(ask())
    assert said == ((ReplaceBody(b"x" * ((1 << 20) - 1)),), Accept())
