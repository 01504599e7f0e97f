"""postfix: Debian's Postfix as a primary, with queue, configuration and log in a private directory.

    with postfix(("example.jp",), reject={"gone@example.jp": "550 5.1.1 gone"}) as primary:
        primary.port, primary.messages(), primary.stop(), primary.start()

What it takes lies in one maildir, with Delivered-To for the recipient.  It
listens on a loopback port of its own and touches nothing of the system's
instance.  Needs root: its daemons change to the user postfix.
"""

import grp
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.neighbours.unbound import free_port, required

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file_prefixes = {folder}
maillog_file = {folder}/log
myhostname = {hostname}
mydestination =
alias_maps =
mynetworks = 192.0.2.255/32
inet_protocols = ipv4
smtp_host_lookup = native
smtputf8_enable = yes
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
virtual_mailbox_limit = 0
message_size_limit = 104857600
smtpd_recipient_restrictions = check_recipient_access inline:{{ {{ nobody@invalid = OK }} {reject} }},
    reject_unauth_destination
smtpd_error_sleep_time = 0
local_header_rewrite_clients =
smtpd_client_connection_count_limit = 0
{more}
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class Arrived:
    """One message in the maildir."""

    recipient: str
    sender: str
    content: bytes
    """From its first Received that is not Postfix's own, LF line ends."""
    own: bytes
    """What Postfix put on top."""

    def values(self, name: str) -> list[str]:
        """Values of a header field, folds as they are."""
        head = self.content.partition(b"\n\n")[0] + b"\n"
        found = re.findall(rb"(?im)^" + re.escape(name.encode()) + rb":[ \t]*((?:.*\n)(?:[ \t].*\n)*)", head)
        return [value.decode("utf-8", "surrogateescape").rstrip("\n") for value in found]


@dataclass
class Postfix:
    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> None:
        """Returns when it takes connections."""
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                ["/usr/lib/postfix/sbin/master", "-c", str(self.folder / "etc"), "-s"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"postfix ended: {(self.folder / 'output').read_text()}{self.log}")
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"postfix did not start: {(self.folder / 'output').read_text()}{self.log}")

    def stop(self) -> None:
        """All its processes end."""
        if self.process is None:
            return
        os.killpg(self.process.pid, signal.SIGTERM)  # master and, in its session, all that it started
        self.process.wait(timeout=20)
        self.process = None

    def flush(self) -> None:
        """Its own queue is tried again now."""
        subprocess.run(["/usr/sbin/postqueue", "-c", str(self.folder / "etc"), "-f"], check=False, timeout=20)

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def messages(self) -> list[Arrived]:
        """What arrived, oldest first."""
        box = self.folder / "mail" / "box" / "new"
        paths = sorted(box.iterdir(), key=lambda p: (p.stat().st_mtime_ns, p.name)) if box.exists() else []
        return [_read(path.read_bytes()) for path in paths]


def _read(raw: bytes) -> Arrived:
    """Return-Path, X-Original-To, Delivered-To and a Received are Postfix's own."""
    first = re.match(rb"((?:[A-Z][\w-]*: .*\n(?:[ \t].*\n)*?)*?Received: .*\n(?:[ \t].*\n)*)", raw)
    assert first is not None
    recipient = re.search(rb"(?m)^Delivered-To: (.*)$", raw)
    sender = re.match(rb"Return-Path: <(.*)>\n", raw)
    assert recipient is not None
    assert sender is not None
    return Arrived(recipient[1].decode(), sender[1].decode(), raw[first.end() :], raw[: first.end()])


def _make_queue(queue: Path) -> None:
    """What `postfix check` would make, in a hundredth of its time."""
    mail, drop = pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postdrop").gr_gid
    for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved",
                 "trace", "maildrop", "public", "pid"):  # fmt: skip
        (queue / name).mkdir(mode=0o700)
        os.chown(queue / name, 0 if name == "pid" else mail, drop if name in ("maildrop", "public") else 0)
    (queue / "maildrop").chmod(0o1730)
    (queue / "public").chmod(0o2710)


@contextmanager
def postfix(
    domains: Sequence[str],
    *,
    reject: Mapping[str, str] | None = None,
    hostname: str = "primary.example.test",
    more: str = "",
) -> Iterator[Postfix]:
    """-> the primary while it runs.  `reject`: recipient -> reply; `more`: lines of main.cf."""
    required("postfix")
    if os.geteuid() != 0:
        pytest.skip("Postfix wants root")
    folder = Path(tempfile.mkdtemp(prefix="primary-"))
    folder.chmod(0o755)
    nobody = pwd.getpwnam("nobody")
    primary = Postfix(folder, free_port())
    for name, owner in {"etc": 0, "queue": 0, "data": pwd.getpwnam("postfix").pw_uid, "mail": nobody.pw_uid}.items():
        (folder / name).mkdir()
        os.chown(folder / name, owner, -1)
    refusals = " ".join(f"{{ {address} = {reply} }}" for address, reply in (reject or {}).items())
    (folder / "etc" / "main.cf").write_text(
        _MAIN.format(
            folder=folder,
            hostname=hostname,
            domains=" ".join(domains),
            uid=nobody.pw_uid,
            gid=nobody.pw_gid,
            reject=refusals,
            more=more,
        )  # fmt: skip
    )
    (folder / "etc" / "master.cf").write_text(_MASTER.format(port=primary.port))
    _make_queue(folder / "queue")
    try:
        primary.start()
        yield primary
    finally:
        primary.stop()
        shutil.rmtree(folder, ignore_errors=True)
