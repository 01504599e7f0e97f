"""A hundred clients with fifty megabytes each, all at once; six hundred with one."""

import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.journeys.appliance import Appliance, bound_to
from tests.journeys.client import ADDRESS, message
from tests.journeys.conftest import Serve
from tests.neighbours.unbound import free_port

pytestmark = pytest.mark.neighbours

CLIENTS = 100
SIZE = 50_000_000
BLOCK = (b"0123456789" * 7 + b"\r\n") * 14_000


def memory(mx: Appliance) -> int:
    """Octets that all processes have in memory, files they look into and what they share counted for each."""
    assert mx.process is not None
    total = 0
    for pid in (mx.process.pid, *mx.children()):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        total += int(status.partition("VmRSS:")[2].split()[0]) << 10
    return total


def send(port: int, begins: bytes, block: bytes, start: threading.Barrier, replies: list[bytes]) -> None:
    """One client; all begin their content together."""
    with socket.create_connection(("127.0.0.1", port), 30, (ADDRESS, 0)) as client:
        client.settimeout(300)
        with client.makefile("rb") as said:
            said.readline()
            client.sendall(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.jp>\r\nDATA\r\n")
            for _ in range(4):
                said.readline()
            start.wait(60)
            client.sendall(begins)
            for _ in range(SIZE // len(block)):
                client.sendall(block)
            client.sendall(b".\r\n")
            replies.append(said.readline())


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("begins", "block"),
    [(message("large"), BLOCK), (b"", BLOCK), (b"Subject: x\r\n", b" " + BLOCK.replace(b"\r\n", b"\r\n ")[:-1])],
    ids=["ordinary", "no header at all", "a header without end"],
)
def test_large_messages_from_everybody(serve: Serve, begins: bytes, block: bytes) -> None:
    """All are taken, and all processes together stay under 500 MiB from the first octet to the last reply."""
    mx = serve(bound_to(["example.jp"], free_port()), smtp={"workers": 2, "client_connection_limit": 0})
    start, replies = threading.Barrier(CLIENTS), []
    arguments = (mx.port, begins, block, start, replies)
    clients = [threading.Thread(target=send, args=arguments, daemon=True) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    most = 0
    for client in clients:
        while client.is_alive():
            client.join(0.05)
            most = max(most, memory(mx))
    assert [reply[:9] for reply in replies] == [b"250 2.0.0"] * CLIENTS
    assert most < 500 << 20


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_megabyte_from_everybody(serve: Serve) -> None:
    """Six hundred clients that stop before their dot hold what the budget of each worker says, not 600 MB."""
    mx = serve(bound_to(["example.jp"], free_port()), smtp={"workers": 2, "client_connection_limit": 0})
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", mx.port), 30, (ADDRESS, 0))) for _ in range(600)
        ]
        said = [stack.enter_context(client.makefile("rb")) for client in clients]
        for client, replies in zip(clients, said, strict=True):
            client.sendall(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.jp>\r\nDATA\r\n")
            while not replies.readline().startswith(b"354"):
                continue
            client.sendall(message("a megabyte") + BLOCK)
        waiting = memory(mx)
        for client in clients:
            client.sendall(b".\r\n")
        assert [replies.readline()[:9] for replies in said] == [b"250 2.0.0"] * len(clients)
    assert waiting < 400 << 20
