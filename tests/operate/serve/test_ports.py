"""Every worker's listening sockets, or every reason why not."""

import socket

import pytest

from backupmx.config import ConfigTrouble
from backupmx.operate.serve.ports import close, listening, shown


def test_one_port_for_all_workers() -> None:
    """Port 0 becomes one free port that every worker listens on."""
    sockets = listening(["127.0.0.1:0"], 3)
    ports = {each.getsockname()[1] for mine in sockets for each in mine}
    assert (len(sockets), len(ports)) == (3, 1)
    assert shown(sockets) == f"127.0.0.1:{ports.pop()}"
    close(sockets)


def test_every_address_that_cannot_be_had() -> None:
    """A port that another program has, nonsense and an address of another host are one list."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigTrouble) as caught:
            listening([place, "localhost", "192.0.2.1:25"], 1)
    assert tuple(error.partition("; ")[0] for error in caught.value.errors) == (
        f"smtp.listen: {place}: Address already in use",
        'smtp.listen: localhost: write "0.0.0.0:25" or "[::]:25"',
        "smtp.listen: 192.0.2.1:25: Cannot assign requested address",
    )
    assert "stop the program that has it" in caught.value.errors[0]
    assert "an address of this host" in caught.value.errors[2]


def test_no_port_is_shared_with_a_stranger() -> None:
    """Another appliance of ours on the same port is a mistake, although the kernel would let both have it."""
    first = listening(["127.0.0.1:0"], 2)
    with pytest.raises(ConfigTrouble, match="Address already in use"):
        listening([shown(first)], 1)
    place = shown(first)
    close(first)
    close(listening([place], 1))
