"""idle: what does a client that only holds its connection cost, and does anybody else feel it?

    python -m benchmarks.idle [--connections N] [--rounds N] [--messages N]

`backupmx serve` as in end_to_end.py.  N clients connect, say EHLO and then
nothing.  In turns, without and with them, smtp-source brings messages of 4 KB
over a connection each, 20 at once; medians of the rounds.

    rate      what the others are served while N idle, as a share of the rate without
    memory    proportional set size of all processes, more than before, for each
              idle connection

Postfix beside it has a process for each connection: it is asked with a few
hundred only, and for its memory.

BUGS
    The idle clients live in this process on the same machine: their kernel
    buffers are in nobody's PSS.
"""

import argparse
import resource
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.servers import CONFIG, Ours, Server, Sink, Theirs, listens, machine, quiet, wait
from tests.neighbours.unbound import free_port

SMTP = "connection_limit = 20000\n"
POSTFIX = {"default_process_limit": "1000", "smtpd_client_connection_count_limit": "0"}


def memory(server: Server) -> int:
    """Octets, what is shared counted once."""
    total = 0
    for pid in server.pids():
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(text.partition("\nPss:")[2].split()[0]) << 10
    return total


def idle(port: int, count: int) -> list[socket.socket]:
    """Clients that have said EHLO and read the answer."""
    clients = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port), 60)
        if not client.recv(1000).startswith(b"220 "):
            raise RuntimeError("refused")
        client.sendall(b"EHLO idle.example\r\n")
        clients.append(client)
    for client in clients:
        if not client.recv(1000).startswith(b"250-"):
            raise RuntimeError("EHLO refused")
    return clients


def room_for(connections: int) -> None:
    """Descriptors of this process, which holds the clients; children have them too."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (connections + 500, most))


def rate(port: int, messages: int) -> float:
    """Messages a second that come through."""
    began = time.monotonic()
    subprocess.run(
        ["smtp-source", "-s", "20", "-l", "4096", "-m", str(messages), "-f", "s@upstream.example", "-t", "u@example.jp",
         f"127.0.0.1:{port}"], check=True,
    )  # fmt: skip
    return messages / (time.monotonic() - began)


def ours(folder: Path, stack: ExitStack, sink: int) -> Server:
    server = Ours(folder / "backupmx", sink, free_port(), CONFIG.replace("[relay]", f"{SMTP}[relay]"))
    stack.callback(server.stop)
    return server


def cost(server: Server, count: int) -> float:
    """Octets for each of so many idle clients."""
    before = memory(server)
    clients = idle(server.port, count)
    quiet(server)
    each = (memory(server) - before) / count
    for client in clients:
        client.close()
    return each


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--connections", type=int, default=5000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--messages", type=int, default=2000)
    given = arguments.parse_args()
    room_for(given.connections)
    alone, beside = [], []
    with tempfile.TemporaryDirectory(prefix="backupmx-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        sink = Sink(folder)
        sink.start()
        stack.callback(sink.stop)
        server = ours(folder, stack, sink.port)
        postfix = Theirs(stack, folder / "postfix", sink.port, more=POSTFIX)
        for one in (server, postfix):
            wait(lambda port=one.port: listens(port))  # type: ignore[misc]
            quiet(one)
        each = cost(server, given.connections)
        rate(server.port, given.messages)
        for _ in range(given.rounds):
            alone.append(rate(server.port, given.messages))
            clients = idle(server.port, given.connections)
            beside.append(rate(server.port, given.messages))
            for client in clients:
                client.close()
            quiet(server)
        theirs = cost(postfix, 200)
    print(machine())
    print(f"{given.connections} idle connections, {given.rounds} rounds of {given.messages} messages")
    print(
        f"rate      {median(alone):.0f} msg/s without, {median(beside):.0f} with: {median(beside) / median(alone):.0%}"
    )
    print(f"memory    {each / 1024:.1f} KiB a connection; Postfix (200 connections) {theirs / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
