"""queue list --mailq and --json beside a real Postfix's mailq and postqueue -j."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from backupmx.operate.cli import mailq
from backupmx.queue.entry import State
from tests.journeys.client import message, send
from tests.journeys.patience import eventually
from tests.neighbours.postfix import postfix
from tests.operate.desk import Desk
from tests.queue.samples import entry

REASONS = {"bob@far.test": "connect to 127.0.0.1[127.0.0.1]:1: Connection refused",
           "eve@other.test": "connect to 127.0.0.100[127.0.0.100]:10: Connection refused"}  # fmt: skip


def listed(text: str) -> str:
    """Ids, sizes and times are each queue's own."""
    text = re.sub(r"(?m)^[0-9A-Za-z]{12,18}[ *!] *\d+ \w{3} \w{3} [ \d]\d [\d:]{8} ", "ID SIZE TIME ", text)
    return re.sub(r"-- \d+ Kbytes", "-- N Kbytes", text)


def blocks(text: str) -> tuple[str, list[str], str]:
    """Head, messages, foot.  Postfix lists by folder, we by age."""
    head, _, rest = listed(text).partition("\n")
    *messages, foot = rest.split("\n\n")
    return head, sorted(messages), foot


@pytest.mark.neighbours
def test_as_postfix(tmp_path: Path) -> None:
    """The same two messages wait for the same reasons: the same lines, and the same keys in JSON."""
    theirs_at = tmp_path / "theirs"
    theirs_at.mkdir()
    desk = Desk(tmp_path)
    now = int(time.time())
    for n, (to, why) in enumerate(REASONS.items()):
        desk.put(entry(to, arrived=now + n, state=State.DEFERRED, reason=why))
    ours, ours_json = desk.says("queue", "list", "--mailq").stdout, desk.says("queue", "list", "--json").stdout
    maps = "inline:{ far.test=smtp:[127.0.0.1]:1, other.test=smtp:[127.0.0.100]:10 }"
    settings = {"enable_long_queue_ids": "yes", "relay_domains": "far.test, other.test", "transport_maps": maps}
    with postfix(theirs_at, settings=settings) as real:
        conf = str(real.folder / "conf")

        def asked(option: str) -> str:
            return subprocess.run(["postqueue", "-c", conf, option], capture_output=True, text=True, timeout=30).stdout

        for n, to in enumerate(REASONS):
            assert send(real.port, message("x", to=to), to, "sender@example.com").code == 250
            eventually(lambda n=n: asked("-j").count("Connection refused") == n + 1)
        theirs, theirs_json = asked("-p"), asked("-j")
    assert blocks(ours) == blocks(theirs)
    for our, their in zip(ours_json.splitlines(), theirs_json.splitlines(), strict=True):
        mine, his = json.loads(our), json.loads(their)
        assert set(his) - {"forced_expire"} <= set(mine)
        assert set(his["recipients"][0]) <= set(mine["recipients"][0])
        assert mine["queue_name"] == his["queue_name"] == "deferred"
        assert {type(mine[key]) for key in ("arrival_time", "message_size")} == {int}


def test_one_and_none(tmp_path: Path) -> None:
    """An empty queue has Postfix's words; held mail has its mark; recipients with one reason stand under it."""
    desk = Desk(tmp_path)
    desk.put()  # no message; the queue is there
    assert desk.says("queue", "list", "--mailq").stdout == f"{mailq.EMPTY}\n"
    (id,) = desk.put(entry("a@example.jp", "b@example.jp", state=State.HELD, reason="a rule"))
    lines = desk.says("queue", "list", "--mailq").stdout.splitlines()
    assert lines[0] == mailq.HEAD
    assert lines[1].startswith(f"{id}!")
    assert [line.strip() for line in lines[2:]] == ["(a rule)", "a@example.jp", "b@example.jp", "", lines[-1]]
    assert lines[-1].endswith("Kbytes in 1 Request.")
    assert desk.says("queue", "list", "--mailq", "--json").exit_code == 2
