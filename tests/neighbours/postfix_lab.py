"""postfix_lab: Debian's Postfix, asked what a rule file does to a message.

A private instance: its configuration, queue, log and ports lie in one folder
and on 127.0.0.1; no other Postfix on the machine is touched.  Two threads
stand beside it: a primary that keeps what it is given, and a milter that asks
for headers to be added.

    with PostfixLab.running(folder) as lab:
        answer = lab.ask(case)

The cleanup service serves one message and exits, so that each message opens
the tables anew.  An answer takes about 20 ms.

BUGS    It must be started by root, as Postfix's master must.
"""

import os
import re
import shutil
import smtplib
import socket
import socketserver
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.neighbours.unbound import required

if TYPE_CHECKING:
    from tests.rules.differential.generate import Case

_LANES = ("pcre", "regexp", "small", "nomime", "milter")
_TABLES = {
    "header": "header_checks", "mime": "mime_header_checks", "nested": "nested_header_checks", "body": "body_checks",
    "milter": "milter_header_checks",
}  # fmt: skip
_PATIENCE = 20.0
_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
myhostname = secondary.example.net
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.99/32
local_header_rewrite_clients =
mydestination =
local_recipient_maps =
local_transport = error:nobody lives here
alias_maps =
relay_domains = example.jp example.net example.org
smtpd_relay_restrictions = reject_unauth_destination
smtpd_peername_lookup = no
smtpd_tls_security_level = none
relay_transport = primary:[127.0.0.1]:{primary}
default_transport = primary:[127.0.0.1]:{primary}
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtp_tls_security_level = none
fast_flush_domains =
milter_protocol = 6
in_flow_delay = 0
"""
_SERVICES = """\
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
primary unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the real program did with one message."""

    action: str
    """accept, discard, reject, defer, hold, redirect, filter; corrupt: it broke its own queue file."""
    code: int
    text: str
    log: tuple[str, ...]
    recipients: tuple[str, ...] = ()
    redirect_to: str | None = None
    filter_to: str | None = None
    delivered: bytes | None = None
    queue_id: str = "1A2B3C4D5E6"


class _Primary(socketserver.StreamRequestHandler):
    """Takes every message; its number is in the reply, and so in Postfix's log."""

    def handle(self) -> None:
        lab: PostfixLab = self.server.lab  # type: ignore[attr-defined]
        recipients: list[str] = []
        self.say("220 primary.test ESMTP")
        while line := self.rfile.readline():
            verb, rest = line[:4].upper(), line.decode("latin-1").strip()
            if verb == b"EHLO":
                self.say("250-primary.test\r\n250-8BITMIME\r\n250 SMTPUTF8")
            elif verb == b"DATA":
                self.say("354 go on")
                data = bytearray()
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    data += line[1:] if line.startswith(b".") else line
                lab.stored.append((bytes(data), tuple(recipients)))
                self.say(f"250 2.0.0 kept {len(lab.stored) - 1}")
            elif verb == b"QUIT":
                self.say("221 bye")
                return
            else:
                if verb == b"MAIL":
                    recipients = []
                elif verb == b"RCPT":
                    recipients.append(rest[rest.index("<") + 1 : rest.rindex(">")])
                self.say("250 ok")

    def say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")


class _Milter(socketserver.StreamRequestHandler):
    """Adds the headers of the case at the end of the message (milter protocol 6)."""

    def handle(self) -> None:
        lab: PostfixLab = self.server.lab  # type: ignore[attr-defined]
        while len(size := self.rfile.read(4)) == 4:
            packet = self.rfile.read(struct.unpack("!I", size)[0])
            command = packet[:1]
            if command == b"O":
                self.send(b"O", struct.pack("!III", 6, struct.unpack("!I", packet[5:9])[0] & 0x1FF, 0x10))
            elif command == b"Q":
                return
            elif command == b"E":
                for name, value in lab.adds:
                    self.send(b"h", _text(name) + b"\0" + _text(value) + b"\0")
                self.send(b"c")
            elif command not in (b"D", b"A"):
                self.send(b"c")

    def send(self, command: bytes, data: bytes = b"") -> None:
        self.wfile.write(struct.pack("!I", len(data) + 1) + command + data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@dataclass
class PostfixLab:
    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    stored: list[tuple[bytes, tuple[str, ...]]] = field(default_factory=list)
    adds: list[tuple[str, str]] = field(default_factory=list)
    _read: int = 0

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> "Iterator[PostfixLab]":
        postfix = required("postfix")
        if os.geteuid() != 0:
            if os.environ.get("BACKUPMX_NEIGHBOURS") == "required":
                pytest.fail("Postfix's master must be started by root")
            pytest.skip("Postfix's master must be started by root")
        lab = cls(folder)
        servers = []
        for handler in (_Primary, _Milter):
            server = _Server(("127.0.0.1", 0), handler)
            server.lab = lab  # type: ignore[attr-defined]
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers.append(server)
        lab.write(servers[0].server_address[1], servers[1].server_address[1])
        subprocess.run([postfix, "-c", folder / "etc", "start"], check=True, capture_output=True)
        try:
            lab.wait(lambda: all(_answers(port) for port in lab.ports.values()), "listening ports")
            yield lab
        finally:
            subprocess.run([postfix, "-c", folder / "etc", "stop"], check=False, capture_output=True)
            for server in servers:
                server.shutdown()
                server.server_close()

    def write(self, primary: int, milter: int) -> None:
        """Configuration and folders; the user postfix must reach the tables."""
        folder = self.folder
        for parent in (folder, *folder.parents[:2]):
            parent.chmod(parent.stat().st_mode | 0o055)
        for name in ("etc", "spool", "data", "lane"):
            (folder / name).mkdir()
        shutil.chown(folder / "data", "postfix", "postfix")
        for name in _TABLES:
            (folder / "lane" / name).write_bytes(b"")
        main = _MAIN.format(folder=folder, primary=primary)
        main += "".join(f"{parameter} = pcre:{folder}/lane/{name}\n" for name, parameter in _TABLES.items())
        (folder / "etc/main.cf").write_text(main)
        self.ports = dict(zip(_LANES, _free_ports(len(_LANES)), strict=True))
        regexp = " ".join(f"-o {{{p} = regexp:{folder}/lane/{name}}}" for name, p in _TABLES.items())
        options = {
            "pcre": "", "milter": "", "regexp": regexp, "small": "-o header_size_limit=1024",
            "nomime": "-o disable_mime_input_processing=yes",
        }  # fmt: skip
        lines = []
        for lane, port in self.ports.items():
            extra = f" -o smtpd_milters=inet:127.0.0.1:{milter}" if lane == "milter" else ""
            lines.append(f"127.0.0.1:{port} inet n - n - - smtpd -o cleanup_service_name=cleanup-{lane}{extra}")
            lines.append(f"cleanup-{lane} unix n - n - 0 cleanup -o max_use=1 {options[lane]}")
        (folder / "etc/master.cf").write_text("\n".join(lines) + "\ncleanup unix n - n - 0 cleanup\n" + _SERVICES)

    def ask(self, case: "Case") -> Answer:
        """Send one message through its lane, and read from the log what became of it."""
        tables = {
            "header": case.rules, "mime": case.rules if case.mime is None else case.mime,
            "nested": case.rules if case.nested is None else case.nested, "body": case.body, "milter": case.milter,
        }  # fmt: skip
        for name, text in tables.items():
            (self.folder / "lane" / f".{name}").write_bytes(text)
            (self.folder / "lane" / f".{name}").rename(self.folder / "lane" / name)
        self.adds = list(case.adds or ())
        self._read = (self.folder / "log").stat().st_size
        code, text = self.send(self.ports[case.lane], case.message)
        found = re.search(r"queued as (\w+)", text)
        queue_id = found[1] if found else None
        log = self.wait(lambda: self.settled(queue_id), "decision in the log")
        if queue_id is None:
            refused = next((m[1] for line in log if (m := re.match(r"cleanup: ([0-9A-F]{8,}): ", line))), "")
            log = [line.replace(refused, "QID") for line in log] if refused else log
            return Answer(
                "reject" if code >= 500 else "defer", code, text, tuple(log), queue_id=refused or "1A2B3C4D5E6"
            )
        return self.fate(queue_id, code, text, log)

    def send(self, port: int, message: bytes) -> tuple[int, str]:
        raw = re.sub(rb"\r?\n", b"\r\n", message)
        raw = raw if raw.endswith(b"\r\n") else raw + b"\r\n"
        with smtplib.SMTP("127.0.0.1", port, local_hostname="mail.upstream.example", timeout=_PATIENCE) as smtp:
            smtp.ehlo()
            smtp.docmd("MAIL FROM:<sender@upstream.example> BODY=8BITMIME")
            smtp.docmd("RCPT TO:<user@example.jp>")
            smtp.docmd("DATA")
            smtp.send(re.sub(rb"(?m)^\.", b"..", raw) + b".\r\n")
            code, text = smtp.getreply()
        return code, text.decode("utf-8", "surrogateescape")

    def settled(self, queue_id: str | None) -> list[str] | None:
        """The log lines of this message ("PROGRAM: TEXT") once its fate is known; None: not yet."""
        with (self.folder / "log").open("rb") as stream:
            stream.seek(self._read)
            text = stream.read().decode("utf-8", "replace")
        lines = [f"{m[1]}: {m[2]}" for m in re.finditer(r"postfix/(?:\S*/)?([\w-]+)\[\d+\]: (.*)\n", text)]
        lines = [re.sub(r"^cleanup-\w+: ", "cleanup: ", line) for line in lines]
        if not any(line.startswith("smtpd: disconnect from") for line in lines):
            return None
        mine = [line.partition(": ")[2].removeprefix(f"{queue_id}: ") for line in lines if f" {queue_id}: " in line]
        ends = ("removed", "hold: ", "discard: ", "milter-header-hold: ", "milter-header-discard: ")
        over = any(line.startswith(ends) or "status=deferred" in line or "status=bounced" in line for line in mine)
        over = over or any("saving corrupt file" in line for line in lines)
        return lines if queue_id is None or over else None

    def fate(self, queue_id: str, code: int, text: str, log: list[str]) -> Answer:
        """An accepted message: where is it, and how does it look?"""
        kept = re.compile(re.escape(queue_id) + r": .*250 2\.0\.0 kept (\d+)\)")  # not a notice of an earlier case
        copies = [self.stored[int(m[1])] for line in log if (m := kept.search(line))]
        log = [line.replace(queue_id, "QID") for line in log]
        said = [(m[1], m[2]) for line in log if (m := re.match(r"cleanup: QID: (?:milter-header-)?(\w+): (.*)", line))]
        target = {action: rest.rsplit(": ", 1)[-1] for action, rest in said}
        action = next((a for a in ("discard", "hold", "redirect", "filter") if a in target), "accept")
        delivered = copies[0][0] if copies else None
        if action in ("hold", "filter") and not copies:
            delivered = self.queue_file(queue_id)
        elif not copies and action != "discard":
            action = "corrupt"
        if action != "discard":
            subprocess.run(
                [_tool("postsuper"), "-c", self.folder / "etc", "-d", queue_id], check=False, capture_output=True
            )
        return Answer(
            action, code, text.replace(queue_id, "QID"), tuple(log),
            tuple(sorted({r for _, recipients in copies for r in recipients})),
            target.get("redirect"), target.get("filter"),
            None if delivered is None else delivered.replace(queue_id.encode(), b"QID"), queue_id,
        )  # fmt: skip

    def queue_file(self, queue_id: str) -> bytes:
        shown = subprocess.run(
            [_tool("postcat"), "-c", self.folder / "etc", "-qhb", queue_id], check=False, capture_output=True
        )
        return re.sub(rb"\r?\n", b"\r\n", shown.stdout)

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        end = time.monotonic() + _PATIENCE
        while not (result := condition()):
            assert time.monotonic() < end, f"Postfix: no {what} within {_PATIENCE:.0f} s; see {self.folder}/log"
            time.sleep(0.003)
        return result


def _tool(name: str) -> str:
    return shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") or name


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports
