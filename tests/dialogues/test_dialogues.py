"""Dialogues as scripts: tests/dialogues/*.smtp, played against a real door.

    # text          a comment; `# set: NAME=VALUE` sets a setting, `# known: LINE` a line of relay_recipients,
                    `# spared: none` takes loopback out of limit_exceptions
    C: text         the client sends text and CR LF; lines that follow each other go in one write
    c: text         the client sends exactly this, \\r \\n \\0 \\xNN as in Python
    C*N: text       the same line N times
    b: text         the client sends BDAT, how many octets, and these; B: the last chunk
    S: 250 2.1.0 Ok the server's next reply, exactly; "..." stands for any text
    S: 5xx          a reply of this class
    S: closed       the server closes the connection
    A: text         content of the next accepted message, escapes as in Python
    A: none         no (more) message was accepted

Every script is played twice: what the client sends between two replies in one
write, and every octet in a write of its own.
"""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from backupmx.recipients.known import parse
from tests.receive.doors import PATIENCE, Recorder, Running, Talk, running

SCRIPTS = {path.stem: path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("*.smtp"))}
STEP = re.compile(r"([CcSAbB])(?:\*(\d+))?:(?: (.*))?")
SETTING = re.compile(r"^# set: (\w+)=(\d+)$", re.MULTILINE)
KNOWN = re.compile(r"^# known: (.*)$", re.MULTILINE)


@pytest.mark.parametrize("how", ["whole", "octets"])
@pytest.mark.parametrize("script", SCRIPTS)
async def test_dialogue(script: str, how: str) -> None:
    """The server answers as the script says, however the client's bytes are cut."""
    text = SCRIPTS[script]
    settings: dict[str, Any] = {name: int(value) for name, value in SETTING.findall(text)}
    if "# spared: none" in text:
        settings |= {"limit_exceptions": (), "error_delay": 0}
    known = KNOWN.findall(text)
    async with running(known=parse("\n".join(known), "known") if known else None, **settings) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        talk = Talk(reader, writer)
        try:
            await play(text, talk, door, octets=how == "octets")
        finally:
            await talk.close()


async def play(text: str, talk: Talk, door: Running, *, octets: bool) -> None:
    """Play a script; an AssertionError names the line that went otherwise."""
    waiting = b""
    for number, line in enumerate(text.split("\n"), 1):
        if not (match := STEP.fullmatch(line)):
            assert not line or line.startswith("#"), f"line {number}: {line!r} is no step"
            continue
        who, times, words = match[1], int(match[2] or 1), match[3] or ""
        if who in "CcbB":
            waiting += sent(who, words) * times
            continue
        waiting = await send(talk, waiting, octets)
        if who == "A":
            assert_accepted(words, door.recorder, number)
            continue
        for _ in range(times):
            await expect(talk, words, number)
    await send(talk, waiting, octets)


def sent(how: str, words: str) -> bytes:
    if how == "C":
        return words.encode() + b"\r\n"
    octets = unescaped(words)
    return octets if how == "c" else b"BDAT %d%s\r\n" % (len(octets), b" LAST" if how == "B" else b"") + octets


async def expect(talk: Talk, words: str, number: int) -> None:
    got = await talk.reply()
    if words == "closed":
        assert got == "", f"line {number}"
        return
    if re.fullmatch(r"\dxx", words):
        assert got[:1] == words[:1], f"line {number}: {got}"
        return
    pattern = ".*".join(re.escape(part) for part in words.replace(r"\n", "\n").split("..."))
    assert re.fullmatch(pattern, got, re.DOTALL), f"line {number}: {got!r} is not {words!r}"


def assert_accepted(words: str, recorder: Recorder, number: int) -> None:
    if words == "none":
        assert recorder.messages == [], f"line {number}"
    else:
        assert recorder.messages.pop(0).content == unescaped(words), f"line {number}"


async def send(talk: Talk, data: bytes, octets: bool) -> bytes:
    """-> nothing left to send.  The server may have hung up already; that shows in what it said."""
    async with asyncio.timeout(PATIENCE):
        try:
            for piece in (data[i : i + 1] for i in range(len(data))) if octets and len(data) < 5000 else [data]:
                talk.writer.write(piece)
                await talk.writer.drain()
                if octets:
                    await asyncio.sleep(0)
        except ConnectionError:
            pass
    return b""


def unescaped(words: str) -> bytes:
    return words.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")
