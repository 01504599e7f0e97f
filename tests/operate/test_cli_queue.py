"""queue, quarantine: what waits and an operator's words on it, on a queue that no appliance works on."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from backupmx.config import ConfigTrouble
from backupmx.operate.cli.queue import queue_name, why_and_when
from backupmx.operate.cli.verbs import apply
from backupmx.operate.desk import FORGET
from backupmx.queue.entry import VIRUS, HopState, Settlement, State
from backupmx.queue.sqlite import SqliteQueue
from tests.operate.desk import Desk
from tests.queue.samples import HOP, NOW, OTHER, entry, outcome, settled, wire


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_no_queue_yet(desk: Desk) -> None:
    """Before the first start there is no queue, and a look at it makes none."""
    result = desk.says("queue", "list")
    assert isinstance(result.exception, ConfigTrouble)
    assert "no queue here yet; `backupmx serve` makes it" in str(result.exception)


def test_a_link_to_a_queue(desk: Desk, tmp_path: Path) -> None:
    """Whoever owns the state directory cannot lead a command to another file."""
    (tmp_path / "elsewhere.db").write_text("")
    (tmp_path / "state" / "queue.db").symlink_to(tmp_path / "elsewhere.db")
    result = desk.says("queue", "list")
    assert isinstance(result.exception, ConfigTrouble)
    assert "queue.db: not a file" in str(result.exception)


def test_strangers_words(desk: Desk) -> None:
    """Nothing a stranger wrote moves the cursor or turns a line around, neither as text nor in JSON."""
    wicked = "\x9b2J\x1b]0;owned\x07\u202eevil"
    (id,) = desk.put(entry(f"{wicked}@example.jp", state=State.HELD, reason=wicked))
    for words in (("list",), ("list", "--json"), ("show", id), ("show", id, "--json")):
        shown = desk.says("queue", *words).stdout
        assert "evil" in shown
        assert all(line.isprintable() for line in shown.splitlines())
    (line,) = desk.says("queue", "list", "--json").stdout.splitlines()
    assert json.loads(line)["recipients"][0]["delay_reason"] == wicked


def test_list(desk: Desk) -> None:
    """`queue list --json` has a line a message, as postqueue -j; for people it is shorter; empty is said."""
    first, second = desk.put(
        entry("a@example.jp", "b@example.jp"), entry(state=State.HELD, reason="a rule", arrived=NOW + 1)
    )
    found = [json.loads(line) for line in desk.says("queue", "list", "--json").stdout.splitlines()]
    assert [(m["queue_id"], m["queue_name"], m["sender"]) for m in found] == [
        (first, "incoming", "sender@example.com"),
        (second, "hold", "sender@example.com"),
    ]
    assert found[0]["arrival_time"] == int(NOW)
    assert found[0]["recipients"][0] == {
        "address": "a@example.jp", "next_hop": HOP, "delay_reason": "", "attempts": 0, "next_attempt": int(NOW),
    }  # fmt: skip
    assert found[1]["recipients"][0]["delay_reason"] == "a rule"
    shown = desk.says("queue", "list").stdout
    assert f"b@example.jp  via {HOP}" in shown
    assert shown.endswith("2 messages in the queue\n")
    desk.says("queue", "delete", "--all", "--yes")
    assert desk.says("queue", "list").stdout == "The queue is empty.\n"


def test_verbs(desk: Desk) -> None:
    """hold, release, retry and delete work on a message or on one recipient of it; what does not apply is said."""
    (id,) = desk.put(entry("a@example.jp", "b@example.jp"))
    assert desk.says("queue", "hold", f"{id}:a@example.jp").exit_code == 0
    assert desk.states(id) == {"a@example.jp": "held", "b@example.jp": "queued"}
    refused = desk.says("queue", "release", f"{id}:b@example.jp")
    assert (refused.exit_code, "is queued: release does not apply" in refused.stderr) == (1, True)
    assert desk.says("queue", "release", id).exit_code == 0
    assert "held by operator" not in desk.says("queue", "list").stdout
    assert desk.states(id) == {"a@example.jp": "queued", "b@example.jp": "queued"}
    assert desk.says("queue", "delete", f"{id}:b@example.jp").exit_code == 0
    assert desk.states(id) == {"a@example.jp": "queued"}
    assert desk.says("queue", "retry", id).exit_code == 0
    assert desk.says("queue", "delete", id).exit_code == 0
    gone = desk.says("queue", "show", id)
    assert (gone.exit_code, f"no message {id} in the queue" in gone.stderr) == (1, True)


@pytest.mark.parametrize("words", [("hold",), ("delete", "--all"), ("retry", "x", "--all"), ("return",)])
def test_destroying_wants_a_word_more(desk: Desk, words: tuple[str, ...]) -> None:
    """Nothing named, everything without --yes, both at once: wrong usage, and nothing happens."""
    desk.put(entry())
    assert desk.says("queue", *words).exit_code == 2
    assert len(desk.says("queue", "list", "--json").stdout.splitlines()) == 1


def test_export(desk: Desk) -> None:
    """`queue export` writes the message byte for byte as it would be relayed."""
    one = entry(body=b"\r\n\xff\xfe bytes\r\n")
    (id,) = desk.put(one)
    assert desk.says("queue", "export", id).stdout_bytes == wire(one.message)
    assert desk.says("queue", "export", "nonsense").exit_code == 1


def test_check(desk: Desk) -> None:
    """`queue check` reads everything; a body file that is gone is a fault with its message's id, status 1."""
    desk.put(entry())
    assert (desk.says("queue", "check").stdout, desk.says("queue", "check").exit_code) == ("The queue is sound.\n", 0)
    (large,) = desk.put(entry(body=b"\r\n" + b"x" * 400_000))
    for path in (desk.config.parent / "state").rglob("*"):
        if path.is_file() and path.stat().st_size > 300_000 and "queue.db" not in path.name:
            path.unlink()
    found = desk.says("queue", "check")
    assert (found.exit_code, found.stdout.startswith(f"{large}: damaged: ")) == (1, True)


def test_quarantine(desk: Desk) -> None:
    """What a rule discarded is listed with its reason, released or deleted; a virus wants --force."""
    spam, virus = desk.put(
        entry(state=State.DISCARDED, reason="header_checks:3"),
        entry(state=State.DISCARDED, reason=f"header_checks:4; {VIRUS}Eicar", arrived=NOW + 1),
    )
    found = [json.loads(line) for line in desk.says("quarantine", "list", "--json").stdout.splitlines()]
    assert [(m["queue_id"], m["reason"]) for m in found] == [
        (spam, "header_checks:3"),
        (virus, f"header_checks:4; {VIRUS}Eicar"),
    ]
    assert "2 messages in quarantine" in desk.says("quarantine", "list").stdout
    assert "header_checks:3" in desk.says("quarantine", "show", spam).stdout
    assert desk.says("quarantine", "release", virus).exit_code == 1
    assert desk.says("queue", "list").stdout == "The queue is empty.\n"
    assert desk.says("quarantine", "release", spam).exit_code == 0
    assert desk.says("quarantine", "release", virus, "--force").exit_code == 0
    assert len(desk.says("queue", "list", "--json").stdout.splitlines()) == 2
    assert desk.says("quarantine", "list").stdout == "Quarantine is empty.\n"


def test_unreturned(desk: Desk) -> None:
    """What can be neither delivered nor returned is in quarantine with the primary's words; it can be released."""
    (id,) = desk.put(entry("a@example.jp"))

    async def refuse(queue: SqliteQueue) -> list[str]:
        (claim,) = await queue.claim(HOP, 1, NOW, 60)
        await queue.settle(settled(claim, State.UNRETURNED), NOW)
        return []

    desk.on_queue(refuse)
    (found,) = [json.loads(line) for line in desk.says("quarantine", "list", "--json").stdout.splitlines()]
    assert (found["queue_id"], found["state"], found["reason"]) == (id, "unreturned", "said")
    assert desk.says("queue", "list").stdout == "The queue is empty.\n"
    assert desk.says("quarantine", "release", id).exit_code == 0
    assert desk.states(id) == {"a@example.jp": "queued"}


def test_why_it_waits(desk: Desk) -> None:
    """What waits for a next hop that is down has its error for a reason and its probe for a time; not what is held."""

    async def look(queue: SqliteQueue) -> list[str]:
        await queue.put(entry("a@example.jp"))
        await queue.put(entry("b@example.jp", state=State.HELD, arrived=NOW + 1))
        down = {HOP: HopState(HOP, False, NOW, "connection refused", NOW + 30, 1)}
        up = {HOP: HopState(HOP, True, NOW, "", 0.0, 0)}
        queued, held = await queue.waiting()
        assert why_and_when(queued, queued.recipients[0], down) == ("connection refused", NOW + 30)
        assert why_and_when(queued, queued.recipients[0], up) == ("", NOW)
        assert why_and_when(held, held.recipients[0], down) == ("", NOW + 1)
        assert queue_name(queued.recipients) == "incoming"
        return []

    desk.on_queue(look)


def refused(desk: Desk, words: str, *addresses: str, vouched: bool = True, hop: str = HOP) -> str:
    async def refuse(queue: SqliteQueue) -> list[str]:
        new = entry(*addresses, vouched=vouched, hop=hop)
        await queue.put(new)
        (claim,) = await queue.claim(hop, 1, NOW, 60.0)
        outcomes = tuple(outcome(r.address, State.REFUSED, reason=words) for r in claim.recipients)
        await queue.settle(Settlement(claim.id, outcomes), NOW)
        return [new.id]

    (id,) = desk.on_queue(refuse)
    return id


UNKNOWN, CONTENT = "host p1[192.0.2.1] said: 550 5.1.1 no such user", "host p1[192.0.2.1] said: 550 5.7.1 spam content"


def test_what_was_refused(desk: Desk) -> None:
    """`queue list --refused` and `status` count by next hop and kind of reason; JSON says the kind of each."""
    desk.put(entry("waits@example.jp", hop=OTHER))
    assert desk.says("queue", "list", "--refused").stdout == "0 messages refused\n"
    refused(desk, UNKNOWN, "a@example.jp", "b@example.jp")
    refused(desk, CONTENT)
    shown = desk.says("queue", "list", "--refused").stdout
    assert f"{HOP} refused 3: 2 × unknown user, 1 × content\n    unknown-user  2, the oldest for " in shown
    assert ("waits@example.jp" in shown, shown.endswith("\n2 messages refused\n")) == (False, True)
    one = desk.says("queue", "list", "--refused", "primary1.example.net", "--reason", "content", "--json").stdout
    (line,) = [json.loads(line) for line in one.splitlines()]
    assert [(r["address"], r["refusal"]) for r in line["recipients"]] == [("anna@example.jp", "content")]
    assert desk.says("queue", "list", "--refused", "primary2.example.net").stdout == "0 messages refused\n"
    status = desk.says("status").stdout
    assert "\n    refused 3: 2 × unknown user, 1 × content\n" in status
    groups = json.loads(desk.says("status", "--json").stdout)["refusals"]
    assert [(g["next_hop"], g["kind"], g["recipients"], g["last_words"]) for g in groups] == [
        (HOP, "unknown-user", 2, UNKNOWN), (HOP, "content", 1, CONTENT)]  # fmt: skip


def test_a_group_wants_yes(desk: Desk) -> None:
    """What a verb would do to a group is shown; it is done with --yes, to that group alone."""
    users, spam = refused(desk, UNKNOWN, "a@example.jp", "b@example.jp"), refused(desk, CONTENT)
    asked = desk.says("queue", "delete", "--refused", "--reason", "unknown-user")
    assert (asked.exit_code, asked.stdout.splitlines()[-1]) == (1, "Would delete 2 recipients: add --yes")
    assert desk.states(users) == {"a@example.jp": "refused", "b@example.jp": "refused"}
    done = desk.says("queue", "delete", "--refused", "--reason", "unknown-user", "--yes")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "2 recipients deleted")
    assert (desk.states(users), desk.states(spam)) == ({}, {"anna@example.jp": "refused"})
    assert desk.says("queue", "retry", "--refused", "primary2.example.net", "--yes").stdout == (
        "Nothing of that kind is refused.\n")  # fmt: skip
    assert desk.says("queue", "retry", "--refused", HOP, "--yes").exit_code == 0
    assert desk.states(spam) == {"anna@example.jp": "queued"}
    assert desk.says("ledger").exit_code == 0


@pytest.mark.parametrize(
    "words",
    [("retry", "--refused", HOP, "--all"), ("delete", "x", "--refused", HOP), ("return", "--reason", "content", "x"),
     ("delete", "--refused", "--reason", "nonsense")],
)  # fmt: skip
def test_groups_and_ids(desk: Desk, words: tuple[str, ...]) -> None:
    """A group is no list of IDs, and a kind belongs to a group."""
    refused(desk, UNKNOWN)
    assert desk.says("queue", *words, "--yes").exit_code == 2
    assert len(desk.says("queue", "list", "--json").stdout.splitlines()) == 1


def test_a_group_is_returned(desk: Desk) -> None:
    """One notice a message; who nobody vouched for stays, and --force returns him too."""
    refused(desk, UNKNOWN, "a@example.jp", "b@example.jp")
    forged = refused(desk, UNKNOWN, vouched=False)
    assert desk.says("queue", "return", "--refused").exit_code == 1
    done = desk.says("queue", "return", "--refused", "--yes")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (1, "2 recipients returned, 1 not")
    assert f"{forged}: nobody vouched for the sender: a notice may go to somebody who wrote nothing" in done.stderr
    waiting = [json.loads(line) for line in desk.says("queue", "list", "--json").stdout.splitlines()]
    assert sorted((m["queue_id"] == forged, m["sender"], len(m["recipients"])) for m in waiting) == [
        (False, "", 1), (True, "sender@example.com", 1)]  # fmt: skip
    assert desk.says("queue", "return", "--refused", "--yes", "--force").exit_code == 0
    assert desk.states(forged) == {}
    assert desk.says("ledger").exit_code == 0


def test_returned_out_of_quarantine(desk: Desk) -> None:
    """What could not be returned may be; what a rule discarded may not."""

    async def fill(queue: SqliteQueue) -> list[str]:
        new, spam = entry(), entry(state=State.DISCARDED)
        await queue.put(new)
        await queue.put(spam)
        (claim,) = await queue.claim(HOP, 1, NOW, 60.0)
        await queue.settle(settled(claim, State.UNRETURNED), NOW)
        return [new.id, spam.id]

    unreturned, spam = desk.on_queue(fill)
    warned = desk.says("queue", "return", unreturned)
    assert (warned.exit_code, "--force if you know better" in warned.stderr) == (1, True)
    assert desk.says("queue", "return", unreturned, "--force").exit_code == 0
    assert desk.says("queue", "return", spam, "--force").exit_code == 1
    kept = [json.loads(line) for line in desk.says("quarantine", "list", "--json").stdout.splitlines()]
    assert [m["queue_id"] for m in kept] == [spam]


def test_gone_on_meanwhile(desk: Desk) -> None:
    """A word meant for mail in quarantine does not meet it when somebody released it in between."""
    (id,) = desk.put(entry(state=State.DISCARDED))

    async def race(queue: SqliteQueue) -> list[str]:
        (seen,) = await queue.quarantined()
        await queue.change(id, "", State.QUEUED, now=NOW)
        assert not await apply(queue, FORGET, seen, "", id)
        return [waiting.id for waiting in await queue.waiting()]

    assert desk.on_queue(race) == [id]


def test_all_of_them(desk: Desk) -> None:
    """`--all --yes` reaches every message, also beyond the first page."""
    many = desk.put(*(entry(arrived=NOW + n) for n in range(1003)))
    result = desk.says("queue", "delete", "--all", "--yes")
    assert result.exit_code == 0
    assert sorted(line.partition(":")[0] for line in result.stdout.splitlines()) == sorted(many)
    assert desk.says("queue", "list").stdout == "The queue is empty.\n"


def test_the_mail_log_hears_of_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command removes stands in the mail log, as what postsuper removes does."""
    said: list[tuple[object, ...]] = []
    monkeypatch.setattr("syslog.openlog", lambda *words: said.append(words))
    monkeypatch.setattr("syslog.syslog", lambda *words: said.append(words))
    (id,) = desk.put(entry())
    assert desk.says("queue", "delete", id).exit_code == 0
    assert [words[0 if at == 0 else -1] for at, words in enumerate(said)] == ["backupmx/qmgr", f"{id}: removed"]


def test_a_listing_loads_what_it_needs(desk: Desk) -> None:
    """A look at the queue waits neither for the configuration's models nor for the relay to be loaded."""
    desk.put(entry())
    program = (
        "import sys\nfrom backupmx.operate.cli import cli\n"
        f"cli(['queue', 'list', '-c', {str(desk.config)!r}], standalone_mode=False)\n"
        "print(sorted({'pydantic', 'backupmx.relay', 'dns'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.splitlines()[-2:] == ["1 message in the queue", "[]"]


@pytest.mark.parametrize("row", ["entry SET sender", "recipient SET address", "recipient SET reason"])
def test_a_row_that_is_no_text(tmp_path: Path, row: str) -> None:
    """A row that is no text any more is listed with a mark, exported as far as it goes, and deleted like any other."""
    desk = Desk(tmp_path)
    bad, good = desk.put(entry(arrived=NOW), entry(arrived=NOW + 1))
    db = sqlite3.connect(tmp_path / "state/queue.db")
    db.execute(f"UPDATE {row} = CAST(x'ff41' AS TEXT) WHERE {'key' if row.startswith('entry') else 'entry'} = 1")
    db.commit()
    db.close()
    listed = desk.says("queue", "list")
    assert (listed.exit_code, "damaged: " in listed.stdout, good in listed.stdout) == (0, True, True)
    assert desk.says("queue", "list", "--mailq").exit_code == desk.says("trace", bad).exit_code == 0
    exported = desk.says("queue", "export", "--all", "--to", str(tmp_path / "out"))
    assert (exported.exit_code, len(list((tmp_path / "out").iterdir()))) == (1, 4)
    assert desk.says("queue", "delete", bad).exit_code == 0
    assert bad not in desk.says("queue", "list").stdout


@pytest.mark.parametrize("verb", ["show", "release", "delete"])
def test_nothing_of_that_name_in_quarantine(desk: Desk, verb: str) -> None:
    """Who asks quarantine for what waits in the queue is told that it is not in quarantine."""
    (id,) = desk.put(entry())
    asked = desk.says("quarantine", verb, id)
    assert (asked.exit_code, asked.stderr) == (1, f"backupmx: no message {id} in quarantine\n")
