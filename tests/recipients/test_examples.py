"""The programs of docs/recipients.md, run as they stand there on small databases and servers."""

import json
import sqlite3
import textwrap
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from backupmx.recipients.source import SourceTrouble, read
from backupmx.recipients.source_command import CommandSource
from tests.neighbours.unbound import required

DOCS = Path(__file__).parents[2] / "docs" / "recipients.md"

POSTFIXADMIN = """
CREATE TABLE alias (address, goto, domain, active);
CREATE TABLE mailbox (username, domain, local_part, active);
CREATE TABLE alias_domain (alias_domain, target_domain, active);
INSERT INTO alias VALUES ('bob@example.jp', 'bob@example.jp', 'example.jp', 1),
  ('old@example.jp', '', 'example.jp', 0),
  ('sales@example.jp', 'bob@example.jp', 'example.jp', 1), ('@all.jp', 'bob@example.jp', 'all.jp', 1);
INSERT INTO mailbox VALUES ('bob@example.jp', 'example.jp', 'bob', 1), ('gone@example.jp', 'example.jp', 'gone', 0);
INSERT INTO alias_domain VALUES ('example.net', 'example.jp', 1), ('off.jp', 'example.jp', 0);
"""
MAILCOW = (
    POSTFIXADMIN
    + """
CREATE TABLE spamalias (address, goto, validity);
INSERT INTO mailbox VALUES ('ann@example.jp', 'example.jp', 'ann', 2);
INSERT INTO spamalias VALUES ('now@example.jp', 'bob@example.jp', 2000), ('then@example.jp', 'bob@example.jp', 500);
"""
)
MAILU = """
CREATE TABLE user (localpart, domain_name, email, enabled);
CREATE TABLE alias (localpart, domain_name, email, wildcard, destination);
CREATE TABLE alternative (name, domain_name);
INSERT INTO user VALUES ('bob', 'example.jp', 'bob@example.jp', 1), ('ann', 'example.jp', 'ann@example.jp', 0);
INSERT INTO alias VALUES ('sales', 'example.jp', 'sales@example.jp', 0, 'bob@example.jp'),
  ('%', 'all.jp', '%@all.jp', 1, 'bob@example.jp');
INSERT INTO alternative VALUES ('example.net', 'example.jp');
"""
BOTH = {f"{name}@{domain}" for name in ("bob", "sales") for domain in ("example.jp", "example.net")} | {"@all.jp"}
ANN = {"ann@example.jp", "ann@example.net"}


def command(name: str) -> list[str]:
    """What docs/recipients.md says for this source."""
    blocks = (textwrap.dedent(block) for block in _blocks(DOCS.read_text("utf-8").splitlines()))
    sections = [one for block in blocks for one in tomllib.loads(block)["recipients"]["source"]]
    (found,) = (one["command"] for one in sections if one["name"] == name and "command" in one)
    return list(found)


def _blocks(lines: list[str]) -> Iterator[str]:
    block: list[str] = []
    for line in [*lines, "end"]:
        if line.startswith("    ") or (not line and block):
            block.append(line)
        elif block:
            if "[[recipients.source]]" in block[0]:
                yield "\n".join(block)
            block = []


@pytest.mark.parametrize(
    ("name", "schema", "expected"),
    [("postfixadmin", POSTFIXADMIN, BOTH), ("mailcow", MAILCOW, BOTH | ANN | {"now@example.jp"})],
)
def test_databases(name: str, schema: str, expected: set[str]) -> None:
    """Mailboxes, aliases, catch-alls and second names of a domain; not what is switched off.

    SQLite stands in for the servers, with their two functions.
    """
    program, *_, query = command(name)
    assert program in ("psql", "mysql")
    with sqlite3.connect(":memory:") as database:
        database.create_function("CONCAT", -1, lambda *words: "".join(words))
        database.create_function("UNIX_TIMESTAMP", 0, lambda: 1000)
        database.executescript(schema)
        rows = database.execute(query).fetchall()
    assert read([address for (address,) in rows], name).addresses == expected


def test_mailu(tmp_path: Path) -> None:
    """Its own database is SQLite's."""
    program, option, _, query = command("mailu")
    with sqlite3.connect(tmp_path / "main.db") as database:
        database.executescript(MAILU)
    fetched = CommandSource("mailu", (required(program), option, str(tmp_path / "main.db"), query)).fetch()
    assert fetched.addresses == BOTH | ANN


ANSWERS = {
    "mailcow-api": {
        "/api/v1/get/mailbox/all": [
            {"username": "bob@example.jp", "active": 1}, {"username": "ann@example.jp", "active": "2"},
            {"username": "gone@example.jp", "active": 0, "active_int": 0},
        ],
        "/api/v1/get/alias/all": [
            {"address": "sales@example.jp", "active": 1, "active_int": 1}, {"address": "@all.jp", "active": 1},
        ],
        "/api/v1/get/alias-domain/all": [{"alias_domain": "example.net", "target_domain": "example.jp", "active": 1}],
    },
    "mailu-api": {
        "/api/v1/user": [{"email": "bob@example.jp"}, {"email": "ann@example.jp", "enabled": False}],
        "/api/v1/alias": [
            {"email": "sales@example.jp", "wildcard": False}, {"email": "%@all.jp", "wildcard": True},
        ],
        "/api/v1/domain": [{"name": "example.jp", "alternatives": ["example.net"]}, {"name": "all.jp"}],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", list(ANSWERS))
def test_interfaces(name: str, tmp_path: Path) -> None:
    """The same over HTTP; with the key, and with every answer."""
    assert _asked(name, tmp_path, ANSWERS[name]) == BOTH | ANN


@pytest.mark.parametrize("name", list(ANSWERS))
@pytest.mark.parametrize("broken", range(3))
def test_half_an_answer(name: str, broken: int, tmp_path: Path) -> None:
    """One question of three that is not answered, and there is no list."""
    answers = dict(list(ANSWERS[name].items())[:broken] + list(ANSWERS[name].items())[broken + 1 :])
    with pytest.raises(SourceTrouble, match="curl: "):
        _asked(name, tmp_path, answers)


def _asked(name: str, folder: Path, answers: Mapping[str, object]) -> frozenset[str]:
    for program in ("curl", "jq"):
        required(program)
    key = folder / "key"
    key.write_text("X-Key: secret\n")
    with _serving(answers) as port:
        shell, options, script = command(name)
        script = script.replace("https://mail.example.jp", f"http://127.0.0.1:{port}")
        script = script.replace(f"/etc/backupmx/{name.partition('-')[0]}.key", str(key))
        return CommandSource(name, (shell, options, script)).fetch().addresses


@contextmanager
def _serving(answers: Mapping[str, object]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path in answers and self.headers["X-Key"] == "secret"
            self.send_response(200 if known else 500)
            self.end_headers()
            self.wfile.write(json.dumps(answers[self.path] if known else "sorry").encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
