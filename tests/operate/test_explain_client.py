"""explain: what would be held against a client, and by which setting."""

import json
from pathlib import Path

import pytest

from tests.operate.test_cli_explain import CLIENT, HEAD, dns, explain, folder

__all__ = ["dns", "folder"]  # fixtures

pytestmark = pytest.mark.neighbours

BLOCKED = "550 5.7.1 Service unavailable; client [198.51.100.7] blocked using bl.test"


def told(folder: Path, smtp: str, *words: str) -> tuple[list[str], str, list[str]]:
    """-> what decided about the client, the reply, and the spam check's tests."""
    path = folder / "backupmx.toml"
    path.write_text(f"{path.read_text()}[smtp]\n{smtp}\n")
    done = explain(folder, HEAD + b"x\n", *CLIENT, *words, "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.output)
    tests = [t for finding in answer["findings"] if finding["check"] == "spam" for t in finding["facts"]["tests"]]
    return answer["client_policy"], f"{answer['code']} {answer['text']}", tests


def test_refused(folder: Path) -> None:
    """A listed client is refused, and the setting and the lists are named."""
    policy, reply, _ = told(folder, 'dnsbl_sites = ["bl.test*2"]\ndnsbl_action = "enforce"\npregreet = "score"')
    assert reply == BLOCKED
    assert policy == [
        "lists in the DNS: 2 of 1 (bl.test*2)",
        "waits 6 s for our greeting, if it was not here within a week",
        f"{BLOCKED} [smtp.dnsbl_sites: 2 by bl.test*2]",
    ]
    assert "policy     lists in the DNS: 2 of 1 (bl.test*2)\n" in explain(folder, HEAD + b"x\n", *CLIENT).output


def test_scored(folder: Path) -> None:
    """What is only scored reaches the spam check."""
    policy, reply, tests = told(folder, 'dnsbl_sites = ["bl.test*3"]')
    assert reply.startswith("250 ")
    assert policy == ["lists in the DNS: 3 of 1 (bl.test*3)"]
    assert {"DNSBL_LISTED", "DNSBL_LISTED_MUCH"} <= set(tests)


@pytest.mark.parametrize(
    ("smtp", "words", "why"),
    [
        ('limit_exceptions = ["198.51.100.0/24"]', (), "nothing is held against it: smtp.limit_exceptions"),
        ('client_access = "clients"', (), "nothing is held against it: "),
        ("reject_non_fqdn_helo_hostname = true", ("--helo", "box"), "504 5.5.2 <box>: "),
        ("reject_unknown_sender_domain = true", ("--from", "a@none.test"), "450 4.1.8 <a@none.test>: "),
    ],
)
def test_why(folder: Path, smtp: str, words: tuple[str, ...], why: str) -> None:
    """Who is spared and who is not, and why."""
    (folder / "clients").write_text("198.51.100.7 OK\n")
    policy, _, _ = told(folder, 'dnsbl_sites = ["none.test"]\n' + smtp, *words)
    assert len(policy) == 1
    assert policy[0].startswith(why)
