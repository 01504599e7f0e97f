"""unbound: Debian's resolver with zones that a test wrote, on a loopback port of its own.

All records live in one root zone, so nothing is ever asked of the network.
    zone       lines of a zone file, names absolute: "example.test. 300 IN TXT ..."
    refused    names below which every answer is REFUSED, at once
    servfail   names below which every answer is SERVFAIL (their server is a closed port)
    silent     names below which no answer ever comes
    anchor     the root's DNSKEY, when the zone is signed: answers are validated
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

SOA = ". 60 IN SOA ns.test. root.test. 1 3600 600 86400 60\n. 60 IN NS ns.test.\nns.test. 60 IN A 127.0.0.1\n"
_BROKEN = """\
stub-zone:
    name: "{name}"
    stub-addr: 127.0.0.1@{port}
"""
_CONFIGURATION = """\
server:
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    logfile: "{folder}/log"
    interface: 127.0.0.1
    port: {port}
    do-ip6: no
    do-daemonize: no
    num-threads: 1
    access-control: 127.0.0.0/8 allow
    do-not-query-localhost: no
    module-config: "{modules}"
    {anchor}
    outbound-msg-retry: 1
    unknown-server-time-limit: 50
    unblock-lan-zones: yes
    insecure-lan-zones: yes
    local-zone: "127.in-addr.arpa." nodefault
    local-zone: "test." nodefault
    {local}
auth-zone:
    name: "."
    zonefile: "{folder}/zone"
    for-downstream: no
    for-upstream: yes
    fallback-enabled: no
{servfail}
remote-control:
    control-enable: no
"""


def required(program: str) -> str:
    """The path of a Debian program; where it is missing the test is skipped, unless it must not be."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None and os.environ.get("BACKUPMX_NEIGHBOURS") != "required":
        pytest.skip(f"{program} is not installed")
    assert path is not None, f"{program} is not installed"
    return path


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


@contextmanager
def unbound(
    folder: Path,
    zone: Sequence[str],
    *,
    refused: Sequence[str] = (),
    servfail: Sequence[str] = (),
    silent: Sequence[str] = (),
    anchor: str = "",
    port: int = 0,
) -> Iterator[str]:
    """-> "127.0.0.1:PORT" while it runs; `port` 0: a free one."""
    program = required("unbound")
    port = port or free_port()
    text = _CONFIGURATION.format(
        folder=folder,
        port=port,
        modules="validator iterator" if anchor else "iterator",
        anchor=f'trust-anchor: "{anchor}"' if anchor else "",
        local="\n    ".join(
            f'local-zone: "{name}" {kind}'
            for names, kind in ((silent, "always_deny"), (refused, "always_refuse"))
            for name in names
        ),
        servfail="".join(_BROKEN.format(name=name, port=free_port()) for name in servfail),
    )
    (folder / "unbound.conf").write_text(text)
    lines = "\n".join(zone) + "\n"
    (folder / "zone").write_text(lines if " SOA " in lines else SOA + lines)
    process = subprocess.Popen([program, "-d", "-c", str(folder / "unbound.conf")], stderr=subprocess.PIPE)
    try:
        _wait_for(port, process, folder)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=10)


def _wait_for(port: int, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if process.poll() is not None:
            log = folder / "log"
            raise RuntimeError(f"unbound ended: {process.communicate()[1]!r} {log.read_text() if log.exists() else ''}")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError("unbound did not start")
