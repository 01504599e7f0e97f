"""The demo's configuration is the shipped one with a few values replaced, and its port is free or it says so."""

import socket
from pathlib import Path

import pytest

from backupmx.config import load
from backupmx.operate.cli.init import SHIPPED, shipped, write
from backupmx.operate.demo.scene import PortTaken, Scene, edited, free_port
from backupmx.operate.demo.step import Trouble


def test_only_the_named_keys_change() -> None:
    """A value is replaced in its own section and nowhere else."""
    text = "# head\na = 1\n[x]\na = 2   # why\n[y]\na = 3\n"
    assert edited(text, {("x", "a"): ["n:1"]}) == '# head\na = 1\n[x]\na = ["n:1"]\n[y]\na = 3\n'


def test_a_key_that_is_not_there_is_trouble() -> None:
    """The demo cannot drift from the shipped file: a key that went missing is said."""
    with pytest.raises(Trouble, match=r"no x\.b"):
        edited("[x]\na = 1\n", {("x", "b"): 1})


def test_the_demo_has_the_embedded_defaults(tmp_path: Path) -> None:
    """Engines, rules and limits of the demo are those of the shipped configuration."""
    for name in shipped():
        write(tmp_path, name)
    Scene(tmp_path, 2525, {"example.jp": 1, "example.net": 2}, "127.0.0.1:5300", ("a@example.jp",)).dress()
    demo, ours = load(tmp_path / "backupmx.toml"), load(SHIPPED / "backupmx.toml")
    assert (ours.checks, ours.rules, ours.hostname) == (demo.checks, demo.rules, demo.hostname)
    assert (demo.checks.virus.engine, demo.checks.spam.engine) == ("yara", "builtin")
    assert (demo.smtp.listen, demo.dns.servers) == (("127.0.0.1:2525",), ("127.0.0.1:5300",))
    assert (
        (tmp_path / "transport.map").read_text()
    ) == "example.jp  smtp:[127.0.0.1]:1\nexample.net  smtp:[127.0.0.1]:2\n"


def test_taken_port() -> None:
    """A port that another program has is said, with what to do."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"127\.0\.0\.1:{port}: another program listens there; .*--port"):
            free_port(port)


def test_free_port() -> None:
    """A free port can be had by its number or as any."""
    port = free_port()
    assert port == free_port(port)
