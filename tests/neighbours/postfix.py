"""postfix: Debian's Postfix as a primary, private directories, on a loopback port.

    with postfix(tmp_path, domains=["example.jp"], reject=["nobody@example.jp"]) as primary:
        ...  primary.port ... primary.arrived() ... primary.log()

It takes every address of its domains but those in `reject` (550 5.1.1), and
delivers by virtual(8) into one Maildir a domain.  Each message it took has a
header `X-Taken-By-Primary: yes` that only this Postfix adds, and Delivered-To
with the recipient.  With `tls` (a trustme certificate file: key and chain) it
offers STARTTLS.  `stop()` and `start()` are the primary going down and coming
back on the same port.

Its files live in `instance.folder`: the one that was given, or one of its own where pytest's would not do.
"""

import email
import email.policy
import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.neighbours.unbound import required

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
tlsmgr    unix  - - n 1000? 1 tlsmgr
showq     unix  n - n - - showq
postlog   unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """One instance.  Made by `postfix`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._master: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        conf = str(self.folder / "conf")
        with (self.folder / "stderr").open("ab") as errors:
            self._master = subprocess.Popen(
                [_daemon("master"), "-d", "-c", conf], stdout=errors, stderr=errors, cwd=self.folder,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MAIL_CONFIG": conf},
                start_new_session=True,  # on its way out the master ends its process group
            )  # fmt: skip
        _wait_for(self.port, self)

    def stop(self) -> None:
        """Its port refuses connections; open ones are cut."""
        if self._master is None:
            return
        self._master.terminate()  # the master takes its children with it
        self._master.wait(timeout=20)
        self._master = None
        _wait_until_refused(self.port)

    @property
    def status(self) -> int | None:
        """The master's exit status; None while it runs."""
        return self._master and self._master.poll()

    def arrived(self, domain: str = "example.jp") -> list[EmailMessage]:
        """What lies in that domain's mailbox, as the standard library reads it, oldest first."""
        return [_parse(path.read_bytes()) for path in self._files(domain)]

    def contents(self, domain: str = "example.jp") -> list[bytes]:
        """The same as bytes, LF line ends as Postfix writes them."""
        return [path.read_bytes() for path in self._files(domain)]

    def log(self) -> str:
        path = self.folder / "log" / "maillog"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def _files(self, domain: str) -> list[Path]:
        return sorted((self.folder / "mail" / domain / "new").glob("*"), key=lambda path: path.stat().st_mtime_ns)


@contextmanager
def postfix(
    folder: Path,
    *,
    domains: Sequence[str] = ("example.jp",),
    reject: Sequence[str] = (),
    tls: Path | None = None,
    settings: Mapping[str, str] | None = None,
    started: bool = True,
) -> Iterator[Postfix]:
    """`settings`: more lines of main.cf.  `started` False: configured and down."""
    required("postfix")
    if os.geteuid() != 0:
        pytest.skip("Postfix's master wants to be started by root")
    # Not under pytest's own folder: each new run of pytest closes that to other users, under our feet.
    borrowed = Path(tempfile.mkdtemp(prefix=f"{folder.name}-")) if "pytest-of-" in str(folder) else None
    own = borrowed or folder
    instance = Postfix(own, _port())
    try:
        _write(instance, domains, reject, tls, settings or {})
        if started:
            instance.start()
        yield instance
    finally:
        instance.stop()
        if borrowed:
            shutil.rmtree(borrowed)


def _write(
    instance: Postfix, domains: Sequence[str], reject: Sequence[str], tls: Path | None, settings: Mapping[str, str]
) -> None:
    folder = instance.folder
    owner = pwd.getpwnam("postfix")
    for name in ("conf", "queue", "data", "mail", "log"):
        (folder / name).mkdir(exist_ok=True)
    for name in ("data", "mail"):
        os.chown(folder / name, owner.pw_uid, owner.pw_gid)
    folder.chmod(0o755)  # its daemons drop to the user postfix
    conf = folder / "conf"
    (conf / "reject").write_text("".join(f"{address} 550 5.1.1 User unknown\n" for address in reject))
    (conf / "mailboxes").write_text("".join(f"/@{d.replace('.', '[.]')}$/ {d}/\n" for d in domains))
    (conf / "mark").write_text("/^Subject:/ PREPEND X-Taken-By-Primary: yes\n")
    values = {
        "compatibility_level": "3.6",
        "queue_directory": folder / "queue",
        "data_directory": folder / "data",
        "maillog_file_prefixes": folder / "log",
        "maillog_file": folder / "log" / "maillog",
        "mail_owner": "postfix",
        "setgid_group": "postdrop",
        "inet_protocols": "ipv4",
        "myhostname": "primary.test",
        "mydestination": "",
        "mynetworks": "",
        "alias_maps": "",
        "local_recipient_maps": "",
        "smtp_host_lookup": "native",
        "disable_dns_lookups": "yes",
        "relayhost": "",
        "virtual_mailbox_domains": ", ".join(domains),
        "virtual_mailbox_maps": f"regexp:{conf}/mailboxes",
        "virtual_mailbox_base": folder / "mail",
        "virtual_uid_maps": f"static:{owner.pw_uid}",
        "virtual_gid_maps": f"static:{owner.pw_gid}",
        "virtual_minimum_uid": 1,
        "header_checks": f"regexp:{conf}/mark",
        "nested_header_checks": "",
        "smtpd_recipient_restrictions": f"check_recipient_access texthash:{conf}/reject, reject_unauth_destination",
        "smtpd_peername_lookup": "no",
        **({"smtpd_tls_chain_files": tls, "smtpd_tls_security_level": "may"} if tls else {}),
        **settings,
    }
    (conf / "main.cf").write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
    (conf / "master.cf").write_text(_MASTER.format(port=instance.port))
    set_up = subprocess.run(
        ["postfix", "-c", str(conf), "check"], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"},
    )  # fmt: skip
    assert set_up.returncode == 0, set_up.stderr


def _port() -> int:
    """Below the range of outgoing connections: other tests open many while this instance is set up."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def _daemon(name: str) -> str:
    return f"/usr/lib/postfix/sbin/{name}"


def _parse(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def _wait_for(port: int, instance: Postfix) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and instance.status is None:
        with socket.socket() as probe:
            probe.settimeout(5)
            if probe.connect_ex(("127.0.0.1", port)) == 0 and probe.recv(100).startswith(b"220"):
                return
        time.sleep(0.05)
    errors = (instance.folder / "stderr").read_text()
    raise RuntimeError(f"Postfix did not start (status {instance.status}): {errors} {instance.log()}")


def _wait_until_refused(port: int) -> None:
    """A child that was just born holds the port for a moment after its master's end."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"something still listens on port {port}")
