"""Mail that comes while the primary is up, by what the operator wishes."""

import asyncio
import itertools
from collections.abc import Awaitable
from pathlib import Path

import pytest

from backupmx.mail.envelope import Client
from backupmx.mail.reply import Reply
from backupmx.receive.admit import Admission
from backupmx.receive.primary_up import PrimaryUp
from backupmx.recipients.known import parse
from backupmx.recipients.standing import Taught
from backupmx.recipients.store import Store
from backupmx.recipients.verify import Word
from backupmx.recipients.who import Lists, Recipients
from backupmx.route.primaries import Standing
from tests.receive.doors import RelayDomains

CLIENT, FRIEND = Client("192.0.2.1", 25), Client("127.0.0.1", 25)
NOW = 1_800_000_000.0
HOP = "smtp:[primary]"
TAKEN = "yes"
PLEASE = "450 4.7.1 <{}>: Recipient address rejected: the primary MX is up, please use it"
NOBODY = "550 5.1.1 <{}>: Recipient address rejected: User unknown in relay recipient table"
ITS_NO = "550 5.1.1 <{}>: Recipient address rejected: User unknown to the primary MX"
LATER = "450 4.1.1 <{}>: Recipient address rejected: cannot be verified now, try again later"


class Primary:
    """It answers as it is told; what it was asked is in `asked`."""

    def __init__(self, word: Word) -> None:
        self.word = word
        self.asked: list[str] = []
        self.refreshed: list[str] = []

    async def ask(self, address: str, next_hop: str) -> Word:
        assert next_hop == HOP
        self.asked.append(address)
        return self.word

    def refresh(self, address: str, next_hop: str) -> None:
        self.refreshed.append(address)


def door(
    mode: str = "accept",
    state: Standing = Standing.UP,
    primary: Primary | None = None,
    store: Store | None = None,
    file: str = "",
    **lists: object,
) -> Admission:
    known = parse(file, "relay_recipients", NOW) if file else None
    recipients = Recipients(known, store, Lists(**lists), lambda: NOW)  # type: ignore[arg-type]
    up = PrimaryUp(mode, {"mild.example.jp": "accept"}, lambda _: HOP, lambda _: state, spares=("127.0.0.1").__eq__)
    return Admission(RelayDomains(), recipients, primary=up, asks=primary)


def reply(admission: Admission, recipient: str = "a@example.jp", client: Client = CLIENT) -> str:
    said = admission.recipient(client, "s@sender.example", recipient)
    return str((asyncio.run(_answer(said)) if isinstance(said, Awaitable) else said) or TAKEN)


async def _answer(said: Awaitable[Reply | None]) -> Reply | None:
    return await said


@pytest.mark.parametrize("state", Standing)
def test_defer(state: Standing) -> None:
    """Only a primary that is known to be up is pointed to; who does not exist is told so at once."""
    admission = door("defer", state, file="a@example.jp OK")
    assert reply(admission) == (PLEASE.format("a@example.jp") if state is Standing.UP else TAKEN)
    assert reply(admission, "x@example.jp") == NOBODY.format("x@example.jp")


def test_defer_spares_friends_and_other_domains() -> None:
    """Clients of smtp.limit_exceptions, and domains that have another word."""
    admission = door("defer")
    assert reply(admission, client=FRIEND) == TAKEN
    assert reply(admission, "a@mild.example.jp") == TAKEN
    assert reply(admission, "postmaster@example.jp") == PLEASE.format("postmaster@example.jp")


def test_defer_asks_nobody() -> None:
    """Who is sent to the primary finds out there."""
    primary = Primary(Word.UNKNOWN)
    assert reply(door("defer", primary=primary, verify=True)) == PLEASE.format("a@example.jp")
    assert primary.asked == []
    assert reply(door("defer", primary=primary, verify=True), client=FRIEND) == ITS_NO.format("a@example.jp")


@pytest.mark.parametrize(
    ("word", "listed", "unlisted"),
    [(Word.EXISTS, TAKEN, TAKEN), (Word.UNKNOWN, ITS_NO, ITS_NO), (Word.SILENT, TAKEN, LATER)],
)
def test_verify(word: Word, listed: str, unlisted: str) -> None:
    """The primary has the last word; without one who is listed is taken, and others come again."""
    primary = Primary(word)
    assert reply(door("verify", primary=primary, file="a@example.jp OK")) == listed.format("a@example.jp")
    assert reply(door("verify", primary=primary)) == unlisted.format("a@example.jp")
    assert primary.asked == ["a@example.jp"] * 2


def test_verify_and_a_fresh_list() -> None:
    """Who is in no list of today is refused without a question; postmaster is taken without one."""
    primary = Primary(Word.EXISTS)
    admission = door("verify", primary=primary, file="a@example.jp OK")
    assert reply(admission, "x@example.jp") == NOBODY.format("x@example.jp")
    assert reply(admission, "postmaster@example.jp") == TAKEN
    assert primary.asked == []


@pytest.mark.parametrize("state", [Standing.DOWN, Standing.UNKNOWN])
def test_verify_while_it_is_down(state: Standing) -> None:
    """Then it is as if the mode was `accept`."""
    primary = Primary(Word.UNKNOWN)
    assert reply(door("verify", state, primary)) == TAKEN
    assert primary.asked == []


def test_asked_when_nobody_knows(tmp_path: Path) -> None:
    """recipients.verify: of addresses that no list speaks for, while the primary is not down."""
    primary = Primary(Word.EXISTS)
    assert reply(door(primary=primary, verify=True)) == TAKEN
    assert reply(door(primary=primary, verify_for={"example.jp": True})) == TAKEN
    assert len(primary.asked) == 2
    assert reply(door(state=Standing.DOWN, primary=primary, verify=True)) == LATER.format("a@example.jp")
    assert reply(door(primary=primary, verify=True, file="a@example.jp OK"), "x@example.jp").startswith("550")
    assert len(primary.asked) == 2


AGES = {"minutes": 600.0, "hours": 4 * 3600.0, "days": 8 * 86400.0, "weeks": 32 * 86400.0}


@pytest.mark.parametrize(
    ("exists", "age", "state"), list(itertools.product([True, False], AGES, [Standing.UP, Standing.DOWN]))
)
def test_ages_of_a_word(exists: bool, age: str, state: Standing, tmp_path: Path) -> None:
    """A yes counts 31 days and is renewed after 7, a no counts 3 days and is asked again after 3 hours (Postfix)."""
    with Store(tmp_path / "recipients.db") as store:
        store.teach({"a@example.jp": Taught(exists, NOW - AGES[age], "" if exists else "550 5.1.1")})
        primary = Primary(Word.SILENT)
        said = reply(door(state=state, primary=primary, store=store, verify=True))
    up = state is Standing.UP
    if exists:
        assert said == (LATER.format("a@example.jp") if age == "weeks" else TAKEN)
        assert primary.refreshed == (["a@example.jp"] if up and age == "days" else [])
        assert primary.asked == (["a@example.jp"] if up and age == "weeks" else [])
    else:
        old = age in ("days", "weeks")
        assert said == (LATER if old else NOBODY).format("a@example.jp")
        assert primary.asked == ([] if age == "minutes" or not up else ["a@example.jp"])


def test_a_catch_all(tmp_path: Path) -> None:
    """A domain that takes any name is taken at its word through an outage, and asked again after a day."""
    with Store(tmp_path / "recipients.db") as store:
        store.teach({"@example.jp": Taught(True, NOW - 2 * 86400, whole=True)})
        primary = Primary(Word.SILENT)
        assert reply(door(state=Standing.DOWN, primary=primary, store=store, verify=True), "any@example.jp") == TAKEN
        assert reply(door(primary=primary, store=store, verify=True), "any@example.jp") == TAKEN
    assert (primary.asked, primary.refreshed) == ([], ["any@example.jp"])


def test_nothing_depends_on_it() -> None:
    """With `accept` and without questions an unknown domain's addresses are all taken."""
    assert reply(door()) == TAKEN
