"""Alarms from a real queue to a real mailbox, web server and program."""

import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

from backupmx.config import Config, parse
from backupmx.journal import Journal
from backupmx.operate.report import alarm_ways, certificate
from backupmx.operate.report.alarm_ways import ways
from backupmx.operate.report.watch import FILE, look
from backupmx.operate.serve.policy import read_routes
from backupmx.queue.entry import HopState
from backupmx.queue.sqlite import SqliteQueue, open_queue

NOW = 1_800_000_000.0
HOP = "smtp:[primary1.example.net]"
PLAIN = """\
hostname = "mx2.example.net"
state_dir = "state"
[relay]
transport_map = "transport.map"
[alarms]
disk_free = 0
"""


@contextmanager
def web(answers: list[int]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers with these, then 200."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(code := answers.pop(0) if answers else 200)
            if code == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            bodies.append(b"GET")
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", bodies
    server.shutdown()
    server.server_close()


class Watched:
    """A queue whose primary goes down, looked at with a clock of our own."""

    def __init__(self, folder: Path, settings: str) -> None:
        (folder / "transport.map").write_text(f"example.jp {HOP}\n")
        (folder / "state").mkdir(exist_ok=True)
        self.config: Config = parse(PLAIN + settings, folder / "backupmx.toml")
        self.log: list[bytes] = []
        self.queue: SqliteQueue

    async def __aenter__(self) -> "Watched":
        self.queue = await open_queue(self.config.queue_store)
        return self

    async def __aexit__(self, *trouble: object) -> None:
        await self.queue.close()

    async def look(self, now: float, *, down: bool) -> None:
        await self.queue.set_hop_state(HopState(HOP, not down, NOW - 1000, "timed out" if down else "", 0, 0))
        journal, routes = Journal(sink=self.log.append), read_routes(self.config)
        told = ways(self.config, routes, journal, lambda: None)
        await look(self.queue, self.config, routes, journal, told, now)


async def test_by_mail(tmp_path: Path) -> None:
    """A message when it begins, none while it stays, over restarts too, and one when it is over."""
    async with Watched(tmp_path, 'mail_to = "oncall@elsewhere.example"\n') as watched:
        for minute, down in ((0, True), (1, True), (2, False), (20, False), (21, False)):
            await watched.look(NOW + 60 * minute, down=down)
        mail = await watched.queue.waiting()
        found = [await watched.queue.message(one.id) for one in mail]
    heads = [bytes(one[0].headers[0]).decode() for one in found if one]
    subjects = [line for head in heads for line in head.split("\n") if line.startswith("Subject")]
    assert [one.sender for one in mail] == ["", ""]
    assert [one.recipients[0].address for one in mail] == ["oncall@elsewhere.example"] * 2
    assert [("over" in line, "is down" in line) for line in subjects] == [(False, True), (True, True)]


async def test_by_webhook(tmp_path: Path) -> None:
    """One that fails is told again at the next look, once it answers no more; the log says that it failed."""
    with web([500]) as (url, bodies):
        async with Watched(tmp_path, f'webhook = "{url}"\n') as watched:
            for minute in range(4):
                await watched.look(NOW + 60 * minute, down=True)
    said = json.loads(bodies[1])
    assert len(bodies) == 2
    assert json.loads(bodies[0])["began"] == said["began"]
    assert [one["key"] for one in said["began"]] == [f"down {HOP}"]
    assert (said["hostname"], said["ended"]) == ("mx2.example.net", [])
    assert sum(b"alarms.webhook: 127.0.0.1: status 500" in line for line in watched.log) == 1
    assert sum(b"alarm: " in line for line in watched.log) == 1


async def test_a_webhook_that_redirects(tmp_path: Path) -> None:
    """It is not followed: who redirects is not told, the log says so, and he is asked again."""
    with web([302, 302]) as (url, bodies):
        async with Watched(tmp_path, f'webhook = "{url}"\n') as watched:
            for minute in range(2):
                await watched.look(NOW + 60 * minute, down=True)
    assert b"GET" not in bodies
    assert len(bodies) == 2
    assert any(b"alarms.webhook: 127.0.0.1: status 302" in line for line in watched.log)


async def test_a_webhook_that_drips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends an octet now and then keeps nobody waiting for longer than the limit."""
    monkeypatch.setattr(alarm_ways, "_SECONDS", 0.3)
    done = threading.Event()

    def drip() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not done.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip)
        thread.start()
        async with Watched(tmp_path, f'webhook = "http://127.0.0.1:{server.getsockname()[1]}/"\n') as watched:
            await watched.look(NOW, down=True)
        done.set()
        thread.join()
    assert any(b"alarms.webhook: 127.0.0.1: no answer within" in line for line in watched.log)


async def test_a_program_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended with all that it started."""
    monkeypatch.setattr(alarm_ways, "_SECONDS", 0.5)
    child = tmp_path / "child"
    command = ["/bin/sh", "-c", f"sleep 1000 & echo $! > {child}; wait"]
    async with Watched(tmp_path, f"command = {json.dumps(command)}\n") as watched:
        await watched.look(NOW, down=True)
    assert any(b"took longer than" in line for line in watched.log)
    assert not _lives(child.read_text().strip())


def _lives(pid: str) -> bool:
    """And is no mere entry of the process table."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_by_a_program(tmp_path: Path) -> None:
    """It reads JSON; one that is not there or ends badly is said with its last words."""
    out, program = tmp_path / "out", tmp_path / "program"
    program.write_text(f'#!/bin/sh\ncat > {out}\n[ -z "$1" ] || {{ echo "no $1" >&2; exit 3; }}\n')
    os.chmod(program, stat.S_IRWXU)
    bad = [([str(program), "way"], b"status 3: no way"), (["/none"], b"No such")]
    for arguments, said in [([str(program)], b""), *bad]:
        (tmp_path / "state" / FILE).unlink(missing_ok=True)
        async with Watched(tmp_path, f"command = {json.dumps(arguments)}\n") as watched:
            await watched.look(NOW, down=True)
        assert any(said in line for line in watched.log)
        assert any(b"alarms.command" in line for line in watched.log) == bool(said)
    assert json.loads(out.read_text())["began"][0]["key"] == f"down {HOP}"


async def test_a_queue_that_cannot_be_read(tmp_path: Path) -> None:
    """It is an alarm itself; what was told before is neither over nor told again."""
    async with Watched(tmp_path, "") as watched:
        await watched.look(NOW, down=True)
        await watched.queue.close()
        journal, routes = Journal(sink=watched.log.append), read_routes(watched.config)
        for minute in (1, 30):
            told = ways(watched.config, routes, journal, lambda: None)
            await look(watched.queue, watched.config, routes, journal, told, NOW + 60 * minute)
    assert [b"is down" in line for line in watched.log if b"alarm: " in line] == [True, False]
    assert not any(b"alarm over" in line for line in watched.log)


async def test_a_damaged_memory(tmp_path: Path) -> None:
    """alarms.json with anything in it: what is wrong is told again, and nothing breaks."""
    for rubbish in (b"", b"{", b"[1]", b'{"log": {"x": {"y": 1}}}', b"\xff\x00", b'{"log": 3}',
                    b'{"log": {"x": {"since": 1, "text": "y", "gone": "z"}}}', b"[" * 100_000):  # fmt: skip
        async with Watched(tmp_path, "") as watched:
            (tmp_path / "state" / FILE).write_bytes(rubbish)
            await watched.look(NOW, down=True)
        assert sum(b"alarm: " in line for line in watched.log) == 1


def test_until_when_a_certificate_is_good(tmp_path: Path) -> None:
    """As the certificate itself says, also behind its key; what is none is no date."""
    from cryptography import x509

    issued = trustme.CA().issue_cert("mx2.example.net")
    pem = issued.private_key_and_cert_chain_pem.bytes().decode()
    right = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).not_valid_after_utc.timestamp()
    assert certificate.ends(pem) == right


@pytest.mark.parametrize("cut", range(0, 700, 7))
def test_a_certificate_that_is_none(cut: int) -> None:
    """Cut off or damaged anywhere: None or a date, never an error."""
    pem = trustme.CA().issue_cert("mx2.example.net").cert_chain_pems[0].bytes().decode()
    certificate.ends(pem[:cut] + pem[cut + 5 :])
    certificate.ends(pem[:cut] + "-----END CERTIFICATE-----")
