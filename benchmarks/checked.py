"""checked: how long until the primary has mail that was scanned and verified?  Beside Postfix, in one run.

    python -m benchmarks.checked [--rounds N] [--messages N] [--json FILE]      as root

The same job done by two sets of programs, each with the same clamd and the
same unbound:

    backupmx   virus = clamd, SPF, DKIM
    Postfix    clamav-milter, opendkim (both on Unix sockets), policyd-spf

Messages of 4 KB, each another one, signed with 2,048 bits of RSA, from a client
that SPF allows; 20 sessions, kept connections; from the first connection until
smtp-sink has counted every message.  Interleaved rounds, medians, ratio to
Postfix.  Each round's messages are new, and clamd's own cache is off: nobody
remembers anything.

What is compared does the work: InternalHosts does not name the client (opendkim
would sign in place of verifying), policyd-spf's exemption of 127.0.0.0/8 is
off, and before the rounds one message is read at the primary: it must carry
dkim=pass and spf=pass from both, and both must have found it clean.

It runs in network and mount namespaces of its own (unshare), where the
unbound has port 53 and /etc/resolv.conf names it: policyd-spf takes no other.

cpu is what all processes of a side used for each message, clamd and unbound
aside: they serve both.

BUGS
    As in end_to_end: source, sink, engines and servers share the machine.
"""

import argparse
import asyncio
import base64
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks.servers import CONFIG, Ours, Server, Sink, Theirs, cpu, listens, quiet, wait
from tests.neighbours.clamav_milter import clamav_milter
from tests.neighbours.clamd import clamd
from tests.neighbours.opendkim import opendkim
from tests.neighbours.unbound import free_port, unbound

SESSIONS = 20
INSIDE = "BACKUPMX_BENCH_NAMESPACE"
OURS = (
    CONFIG.replace('virus = {{ engine = "off" }}', 'virus = {{ engine = "clamd", address = "CLAMD" }}')
    .replace("spf = {{ enabled = false }}", "spf = {{ enabled = true }}")
    .replace("dkim = {{ enabled = false }}", "dkim = {{ enabled = true }}")
) + '[dns]\nservers = ["127.0.0.1"]\n'  # fmt: skip
POLICYD = "policyd-spf unix - n n - 0 spawn user=policyd-spf argv=/usr/bin/policyd-spf {folder}/policyd-spf.conf\n"
POLICYD_CONF = (
    "debugLevel = 0\nTestOnly = 1\nHELO_reject = Fail\nMail_From_reject = Fail\nskip_addresses = 192.0.2.255/32\n"
)
LINE = b"a line of an ordinary message, as long as lines are\r\n"


class Letters:
    """Signed messages, each another one, and the zone that speaks for them."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        record = "v=DKIM1; p=" + base64.b64encode(der).decode()
        self.zone = [
            'sender.example. 3600 IN TXT "v=spf1 ip4:127.0.0.1 -all"',
            'client.sender.example. 3600 IN TXT "v=spf1 ip4:127.0.0.1 -all"',
            f's1._domainkey.sender.example. 3600 IN TXT "{record[:200]}" "{record[200:]}"',
        ]
        self._number = 0

    def some(self, count: int) -> list[bytes]:
        return [self._signed() for _ in range(count)]

    def _signed(self) -> bytes:
        self._number += 1
        raw = (
            b"From: Alice <s@sender.example>\r\nTo: u@example.jp\r\nSubject: lunch\r\n"
            b"Date: Tue, 24 Nov 2026 04:00:00 +0000\r\nMessage-ID: <%d@sender.example>\r\n" % self._number
        )
        raw += b"".join(b"X-Header-%d: a value as long as values are\r\n" % n for n in range(6)) + b"\r\n"
        raw += b"letter %d\r\n" % self._number
        raw += LINE * ((4096 - len(raw)) // len(LINE))
        signature: bytes = dkim.sign(raw, b"s1", b"sender.example", self._key, canonicalize=(b"relaxed", b"relaxed"))
        return signature + raw


async def sent(port: int, letters: Sequence[bytes], sessions: int = SESSIONS) -> None:
    """All of them, over kept connections."""
    left = iter(letters)

    async def session() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await _says(reader, b"220")
        writer.write(b"EHLO client.sender.example\r\n")
        await _says(reader, b"250")
        for letter in left:
            writer.write(b"MAIL FROM:<s@sender.example>\r\nRCPT TO:<u@example.jp>\r\nDATA\r\n")
            for code in (b"250", b"250", b"354"):
                await _says(reader, code)
            writer.write(letter + b".\r\n")
            await _says(reader, b"250")
        writer.write(b"QUIT\r\n")
        writer.close()

    await asyncio.gather(*(session() for _ in range(sessions)))


async def _says(reader: asyncio.StreamReader, code: bytes) -> None:
    while True:
        line = await reader.readline()
        if not line.startswith(code):
            raise RuntimeError(f"{code.decode()} expected, {line!r}")
        if line[3:4] != b"-":
            return


def measure(server: Server, helpers: Sequence[int], sink: Sink, letters: Sequence[bytes]) -> tuple[float, float]:
    """-> (messages a second, CPU milliseconds a message)"""
    sink.restart()
    used, began = _cpu(server, helpers), time.monotonic()
    asyncio.run(sent(server.port, letters))
    wait(lambda: sink.counted() >= len(letters))
    seconds = time.monotonic() - began
    quiet(server)
    return len(letters) / seconds, (_cpu(server, helpers) - used) / len(letters) * 1000


def _cpu(server: Server, helpers: Sequence[int]) -> float:
    class Both:
        port = server.port

        def pids(self) -> list[int]:
            return [*_family(server.pids()), *helpers]

        def flush(self) -> None: ...

    return cpu(Both())


def _family(pids: Sequence[int]) -> list[int]:
    """These and all below them: spawn(8) has policyd-spf as its children."""
    found = list(pids)
    for pid in found:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            continue
        found.extend(int(child) for child in children if int(child) not in found)
    return found


@contextmanager
def servers(letters: Letters) -> Iterator[tuple[dict[str, tuple[Server, list[int]]], dict[str, Sink]]]:
    with tempfile.TemporaryDirectory(prefix="backupmx-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)

        def new(name: str) -> Path:
            (folder / name).mkdir()
            return folder / name

        stack.enter_context(unbound(new("unbound"), letters.zone, port=53))
        engine, _ = stack.enter_context(clamd(new("clamd"), 30 << 20, "DisableCache yes\n"))
        before = set(_family([os.getpid()]))
        milters = [
            stack.enter_context(opendkim(new("opendkim"), None)),
            stack.enter_context(clamav_milter(new("clamav-milter"), engine)),
        ]
        helpers = [pid for pid in _family([os.getpid()]) if pid not in before]
        for address in milters:
            os.chmod(address.removeprefix("unix:"), 0o666)
        (folder / "policyd-spf.conf").write_text(POLICYD_CONF)
        sinks = {who: Sink(new(f"sink-{who}")) for who in ("backupmx", "Postfix")}
        for sink in sinks.values():
            stack.callback(sink.stop)
        more = {
            "smtpd_milters": ", ".join(milters),
            "milter_default_action": "tempfail",
            "smtpd_recipient_restrictions": "reject_unauth_destination, check_policy_service unix:private/policyd-spf",
            "policyd-spf_time_limit": "3600",
        }
        theirs = Theirs(stack, folder / "postfix", sinks["Postfix"].port, more, POLICYD.format(folder=folder))
        ours = Ours(folder / "ours", sinks["backupmx"].port, free_port(), OURS.replace("CLAMD", engine))
        stack.callback(ours.stop)
        wait(lambda: listens(ours.port), 60)
        yield {"backupmx": (ours, []), "Postfix": (theirs, helpers)}, sinks


def prove(server: Server, port: int, letters: Letters, log: Path | None) -> None:
    """One letter, read behind the server: RuntimeError if one of the three did not do its work.

    The first user's rules take our own "Clean" off again: there the log tells.
    """
    with tempfile.TemporaryDirectory(prefix="backupmx-bench-") as name:
        dump = Path(name) / "dump"
        sink = subprocess.Popen(["smtp-sink", "-u", "root", "-D", str(dump), f"127.0.0.1:{port}", "1000"])
        try:
            wait(lambda: listens(port))
            asyncio.run(sent(server.port, letters.some(1), 1))
            wait(lambda: dump.exists() and LINE.strip() in dump.read_bytes(), 30)
            text = (dump.read_text() + (log.read_text() if log else "")).lower()
        finally:
            sink.terminate()
            sink.wait()
    spf = "spf=pass" in text or "received-spf: pass" in text
    if not (spf and "dkim=pass" in text and ("x-virus-status: clean" in text or "virus=clean" in text)):
        raise RuntimeError(f"not all is checked:\n{text.partition('letter')[0]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=300, help="of one round and side")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    letters = Letters()
    results: dict[str, list[tuple[float, float]]] = {}
    with servers(letters) as (running, sinks):
        for who, (server, _) in running.items():
            prove(server, sinks[who].port, letters, server.folder / "log" if isinstance(server, Ours) else None)
        for _ in range(arguments.rounds):
            for who, (server, helpers) in running.items():
                rate = measure(server, helpers, sinks[who], letters.some(arguments.messages))
                results.setdefault(who, []).append(rate)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'':<12}{'msg/s':>10}{'cpu ms':>10}")
    rates = {}
    for who, by in results.items():
        rates[who] = median(rate for rate, _ in by)
        print(f"{who:<12}{rates[who]:>10.0f}{median(ms for _, ms in by):>10.2f}")
    print(f"{'ratio':<12}{rates['backupmx'] / rates['Postfix']:>10.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results))


def enclosed() -> None:
    """Begins again in namespaces of its own, with a resolv.conf of its own."""
    with tempfile.NamedTemporaryFile("w", prefix="backupmx-resolv-", suffix=".conf") as resolv:
        resolv.write("nameserver 127.0.0.1\n")
        resolv.flush()
        os.chmod(resolv.name, 0o644)
        script = 'ip link set lo up && mount --bind "$0" /etc/resolv.conf && exec "$@"'
        command = ["unshare", "-m", "-n", "sh", "-c", script, resolv.name, sys.executable, "-m", "benchmarks.checked"]
        sys.exit(subprocess.run([*command, *sys.argv[1:]], env={**os.environ, INSIDE: "1"}, check=False).returncode)


if __name__ == "__main__":
    if os.environ.get(INSIDE):
        main()
    else:
        enclosed()
