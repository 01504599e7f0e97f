"""The commands replay-headers and lint, as a shell sees them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backupmx.operate.cli.lint import command as lint
from backupmx.operate.cli.replay_headers import command as replay
from backupmx.operate.cli.replay_headers import of_mbox
from backupmx.operate.serve.tables import TableTrouble, read_table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules").write_bytes(b"/^X-Spam-Flag:\\s*YES/ DISCARD\n/^X-A:/ IGNORE\n")
    (tmp_path / "other").write_bytes(b"/^X-A:/ HOLD\n")
    (tmp_path / "a.eml").write_bytes(b"X-A: 1\nSubject: a\n\nbody")
    (tmp_path / "b.eml").write_bytes(b"X-Spam-Flag: YES\n\nbody\n")
    return tmp_path


def run(*args: object) -> Result:
    return CliRunner().invoke(replay, [str(a) for a in args])


def test_one_message_prints_what_was_touched_and_the_verdict(folder: Path) -> None:
    """Status 0, whatever the verdict."""
    result = run(folder / "b.eml", "--header-checks", folder / "rules")
    assert (0, f"{folder}/rules:1: DISCARD: X-Spam-Flag: YES\n") == (
        result.exit_code,
        result.output[: result.output.index("\n") + 1],
    )


def test_output_is_the_message_as_relayed(folder: Path) -> None:
    """CRLF, byte for byte."""
    result = run(folder / "a.eml", "--header-checks", folder / "rules", "--output", folder / "out")
    assert (result.exit_code, (folder / "out").read_bytes()) == (0, b"Subject: a\r\n\r\nbody\r\n")


def test_an_added_header_is_one_header_whatever_its_line_ends(folder: Path) -> None:
    """As a milter's is."""
    run(folder / "a.eml", "--header-checks", "", "--add", "X-N: 1\r\nX-M: 2\n", "--output", folder / "out")
    assert (folder / "out").read_bytes() == b"X-A: 1\r\nSubject: a\r\nX-N: 1\r\n\tX-M: 2\r\n\r\nbody\r\n"


def test_json_is_one_object_a_file(folder: Path) -> None:
    """A line each."""
    result = run(folder / "a.eml", folder / "b.eml", "--header-checks", folder / "rules", "--json")
    assert [json.loads(line)["action"] for line in result.output.splitlines()] == ["accept", "discard"]


def test_a_maildir_gets_a_summary_a_rule(folder: Path) -> None:
    """Hits and messages, then the fates."""
    for n in range(3):
        (folder / "Maildir" / "cur").mkdir(parents=True, exist_ok=True)
        (folder / "Maildir" / "cur" / str(n)).write_bytes(b"X-A: 1\nX-A: 2\n\n")
    lines = run(folder / "Maildir", "--header-checks", folder / "rules").output.splitlines()
    assert [f"{folder}/rules:2: IGNORE: 6 hits in 3 messages", "3 messages: 3 accept"] == lines[-2:]


def test_an_mbox_is_many_messages_and_an_eml_is_one(folder: Path) -> None:
    """Only a name without .eml is taken for an mbox."""
    text = b"From a@b Thu\nX-A: 1\n\n>From here\n\nFrom c@d Fri\nX-A: 2\n\n"
    (folder / "box").write_bytes(text)
    (folder / "box.eml").write_bytes(text)
    many = run(folder / "box", "--header-checks", folder / "rules").output
    one = run(folder / "box.eml", "--header-checks", folder / "rules").output
    assert [said.splitlines()[-1] for said in (many, one)] == ["2 messages: 2 accept", "accept: 250 2.0.0 Ok: queued"]
    assert list(of_mbox(text.splitlines(keepends=True))) == [b"X-A: 1\n\nFrom here\n\n", b"X-A: 2\n\n"]


def test_against_tells_which_messages_would_be_judged_differently(folder: Path) -> None:
    """And only those."""
    result = run(folder / "a.eml", folder / "b.eml", "--header-checks", folder / "rules", "--against", folder / "other")
    assert "accept: 250 2.0.0 Ok: queued -> hold: 250 2.0.0 Ok: queued" in result.output
    assert result.output.splitlines()[-1] == "2 of them judged differently"


def test_broken_rules_are_named_and_skipped(folder: Path) -> None:
    """As Postfix would load them."""
    (folder / "broken").write_bytes(b"/(/ REJECT\n/^X-A:/ WARN\n")
    answer = json.loads(run(folder / "a.eml", "--header-checks", folder / "broken", "--json").output)
    assert [f"{folder}/broken:1: missing closing parenthesis: skipping this rule"] == answer["warnings"]


@pytest.mark.parametrize("args", [["nowhere.eml", "--header-checks", ""], ["a.eml", "--header-checks", "nowhere"]])
def test_what_cannot_be_read_is_status_2(folder: Path, args: list[str]) -> None:
    """A FILE or a TABLE."""
    result = run(folder / args[0], args[1], args[2] and folder / args[2])
    assert (result.exit_code, "No such file" in result.output) == (2, True)


def test_an_empty_table_option_is_no_table_and_no_configuration_is_read(folder: Path) -> None:
    """As soon as one is given."""
    assert run(folder / "a.eml", "--body-checks", "").exit_code == 0


def test_standard_input_is_a_message() -> None:
    """FILE may be `-`."""
    result = CliRunner().invoke(replay, ["-", "--header-checks", "", "--json"], input=b"X-A: 1\n\n")
    assert json.loads(result.output)["headers"] == ["X-A: 1"]


def test_lint_status_says_whether_there_are_findings(folder: Path) -> None:
    """0 none, 1 findings, 2 unreadable; --json one object each."""
    (folder / "bad").write_bytes(b"/^X-A:/i IGNORE\n")
    runs = [CliRunner().invoke(lint, [str(folder / name), "--json"]) for name in ("other", "bad", "nowhere")]
    assert [r.exit_code for r in runs] == [0, 1, 2]
    assert json.loads(runs[1].stdout)["name"] == "i-toggles"


def test_rules_may_stand_in_the_specification_itself() -> None:
    """pcre:{ {RULE}, {RULE} } is a file of two lines."""
    table = read_table("pcre:{ {/^X-A{1,2}:/ IGNORE}, {/b/ WARN x} }")
    assert [rule.line for rule in table.rules] == [1, 2]
    assert read_table("regexp:{ {/a/ WARN} }").kind == "regexp"


@pytest.mark.parametrize("spec", ["hash:/etc/x", "pcre:{ /a/ }", "pcre:{ {/a/", "ldap:/x", "/nowhere"])
def test_a_specification_that_is_no_table_says_what_to_write(spec: str) -> None:
    """Postfix's other kinds hold no patterns."""
    with pytest.raises(TableTrouble):
        read_table(spec)


def test_a_replay_with_a_table_of_its_own_starts_at_once(folder: Path) -> None:
    """In a loop over a mailbox nobody waits for what only the appliance needs: pydantic, asyncio, SQLite."""
    program = "import sys\nfrom backupmx.operate.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    args = ["replay-headers", "--header-checks", str(folder / "rules"), str(folder / "a.eml")]
    ran = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, check=True)
    assert {"backupmx.rules.engine"} == {"backupmx.rules.engine", "pydantic", "asyncio", "sqlite3"} & {
        *ran.stdout.splitlines()[-1].split()
    }


def test_a_configuration_that_is_not_there_is_status_2(folder: Path) -> None:
    """Without a table option it is read: a sentence, no traceback."""
    args = ["replay-headers", str(folder / "a.eml"), "-c", str(folder / "nowhere.toml")]
    ran = subprocess.run([sys.executable, "-m", "backupmx", *args], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (2, f"backupmx: {folder}/nowhere.toml: No such file or directory\n")


def test_output_wants_one_message(folder: Path) -> None:
    """A maildir or an mbox of several is wrong usage, and nothing is written; a place that cannot be is told."""
    (folder / "box").write_bytes(b"From a@b Thu\nX-A: 1\n\n\nFrom c@d Fri\nX-A: 2\n\n")
    result = run(folder / "box", "--header-checks", folder / "rules", "--output", folder / "out")
    assert (result.exit_code, (folder / "out").exists()) == (2, False)
    assert "there are 2: nothing was written" in result.output
    result = run(folder / "a.eml", "--header-checks", folder / "rules", "--output", folder / "nowhere" / "out")
    assert (result.exit_code, "nowhere/out: No such file" in result.output) == (2, True)


def test_no_header_moves_the_cursor(folder: Path) -> None:
    """What a rule puts into its text from the message is shown as escapes, folds too; so is what is wrong with it."""
    (folder / "evil.eml").write_bytes(b"Subject: one\n two\x1b[2J\nX-B: \x1b[2Jb\n\n")
    (folder / "echo").write_bytes(b"/^Subject: (.*)/ REPLACE Subject: $1\n/^X-B: (.*)/ REPLACE $1\n")
    lines = run(folder / "evil.eml", "--header-checks", folder / "echo").output.splitlines()
    assert lines[0] == (f"{folder}/echo:1: REPLACE Subject: one\\n two\\x1b[2J: Subject: one\\n two\\x1b[2J")
    assert lines[1].startswith(f'{folder}/echo:2: bad REPLACE header text "\\x1b[2Jb"')
    assert len(lines) == 3


@pytest.mark.timeout(20)
def test_a_diff_of_many_headers_is_there_at_once(folder: Path) -> None:
    """Thousands of headers that all differ a little are no reason to wait."""
    (folder / "many.eml").write_bytes(b"".join(b"X-A%d: some words %d\n" % (n, n) for n in range(4000)) + b"\n")
    (folder / "all").write_bytes(b"/^X-A(.*)/ REPLACE X-B$1\n")
    lines = run(folder / "many.eml", "--header-checks", folder / "all", "--diff").output.splitlines()
    assert (len(lines), lines[0], lines[-1]) == (8000, "-X-A0: some words 0", "+X-B3999: some words 3999")
