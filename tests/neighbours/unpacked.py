"""unpacked: mail programs of Debian that cannot be installed beside Postfix, as clients of ours.

    with exim(folder, port) as listening: ...      it relays what it takes there to us on `port`
    with opensmtpd(folder, port) as listening: ...

Exim, OpenSMTPD and Postfix exclude each other in apt, so the first two are
fetched and unpacked, once, into .cache/ of this checkout.  Each runs in a mount
namespace of its own, where it finds the users and folders that were compiled
into it; nothing of this machine changes.  That takes root.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.neighbours.unbound import free_port

_CACHE = Path(__file__).parents[2] / ".cache" / "neighbours"
_USERS = """
cp /etc/passwd "$FOLDER/passwd"; cp /etc/group "$FOLDER/group"
for user in $USERS; do
    echo "$user:x:$((id = ${id:-64990} + 1)):$id::/var/lib/opensmtpd/empty:/bin/false" >> "$FOLDER/passwd"
    echo "$user:x:$id:" >> "$FOLDER/group"
done
mount --bind "$FOLDER/passwd" /etc/passwd; mount --bind "$FOLDER/group" /etc/group
"""
_EXIM = """
mkdir "$FOLDER/spool" "$FOLDER/log"; chown Debian-exim:Debian-exim "$FOLDER/spool" "$FOLDER/log"
export LD_LIBRARY_PATH="$ROOT/usr/lib/$(uname -m)-linux-gnu"
exec "$ROOT/usr/sbin/exim4" -C "$FOLDER/conf" -bdf -q1m -oP "$FOLDER/pid" -oX 127.0.0.1.$LISTEN
"""
_OPENSMTPD = """
for each in /var/lib /var/spool /run; do mount -t tmpfs tmpfs $each; done
mkdir -p /var/lib/opensmtpd/empty /var/spool/smtpd
chmod 711 /var/lib/opensmtpd /var/lib/opensmtpd/empty /var/spool/smtpd
exec "$ROOT/usr/sbin/smtpd" -d -f "$FOLDER/conf"
"""
_EXIM_CONF = """\
primary_hostname = sender.example
exim_path = {root}/usr/sbin/exim4
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
keep_environment = LD_LIBRARY_PATH
accept_8bitmime
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin routers
us:
  driver = manualroute
  transport = us
  route_list = * 127.0.0.1 byname
  self = send
begin transports
us:
  driver = smtp
  port = {port}
  allow_localhost
  hosts_try_chunking = *
  message_linelength_limit = 1000000
"""
_OPENSMTPD_CONF = """\
listen on 127.0.0.1 port {listen} hostname sender.example
action us relay host "smtp://127.0.0.1:{port}" helo sender.example
match from any for any action us
"""


@contextmanager
def exim(folder: Path, port: int) -> Iterator[int]:
    """Exim with CHUNKING, PIPELINING and, where it is offered, TLS.  -> where it listens"""
    root = _unpacked("exim4-daemon-light", "exim4-base", "libidn12")
    (root / "usr/sbin/exim4").chmod(0o755)  # as a set-uid program it would not find its libraries
    with _running(folder, port, root, "Debian-exim", _EXIM_CONF, _EXIM) as listening:
        yield listening


@contextmanager
def opensmtpd(folder: Path, port: int) -> Iterator[int]:
    """OpenSMTPD; it uses TLS where it is offered.  -> where it listens"""
    root = _unpacked("opensmtpd")
    with _running(folder, port, root, "opensmtpd opensmtpq", _OPENSMTPD_CONF, _OPENSMTPD) as listening:
        yield listening


@contextmanager
def _running(folder: Path, port: int, root: Path, users: str, conf: str, starts: str) -> Iterator[int]:
    folder.mkdir()
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.getuid() and not each.stat().st_mode & 0o001:
            each.chmod(each.stat().st_mode | 0o011)  # it looks into its folder as a user of its own
    listen = free_port()
    (folder / "conf").write_text(conf.format(root=root, folder=folder, port=port, listen=listen))
    given = {
        "FOLDER": str(folder),
        "ROOT": str(root),
        "LISTEN": str(listen),
        "USERS": users,
        "PATH": os.environ["PATH"],
    }
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-euc", _USERS + starts],
            env={**os.environ, **given}, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for(listen, process, folder)
        yield listen
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _unpacked(*packages: str) -> Path:
    """-> the folder in which these packages of Debian lie as they would in /."""
    if os.getuid() != 0:
        _missing("a mount namespace takes root")
    root = _CACHE / packages[0]
    if not root.exists():
        fetched = root.with_name(f"{root.name}.{os.getpid()}")
        fetched.mkdir(parents=True)
        # Into a folder that apt's own user may write to, or it warns.
        done = subprocess.run(
            ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *packages],
            cwd=fetched, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        for package in fetched.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, fetched], check=True, timeout=60)
        if done.returncode != 0:
            _missing(f"{packages[0]} cannot be fetched: {done.stderr}")
        try:
            fetched.rename(root)
        except OSError:
            pass  # another test was faster
    return root


def _missing(why: str) -> None:
    if os.environ.get("BACKUPMX_NEIGHBOURS") == "required":
        pytest.fail(why)
    pytest.skip(why)


def _wait_for(port: int, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"it did not start: {(folder / 'out').read_text(errors='replace')}")
