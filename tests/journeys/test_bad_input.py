"""Journey 6: an operator's mistakes are told at once and all together; a client's never cost more than a reply."""

import smtplib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.appliance import Appliance, bound_to
from tests.journeys.arrivals import arrived
from tests.journeys.client import message, send
from tests.journeys.conftest import Serve
from tests.journeys.primary import DOMAINS, Primary, real_primary
from tests.neighbours.unbound import free_port

pytestmark = pytest.mark.neighbours


def test_every_mistake_at_once(serve: Serve, tmp_path: Path) -> None:
    """Wrong keys, values, routes and rules, missing files, a taken port, no such user: one list, and status 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        mx = serve(
            "example.jp\nexample.net  smtp:[primary\n", started=False,
            header_checks="/unfinished\n/^Subject: x/ DISCRD\n",
            user="nobody-of-this-name",
            smtp={
                "listen": [f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}"], "workrs": 3, "timeout": "5 x",
                "tls_chain_files": ["missing.pem"],
            },
            rules={"header_checks": "header_checks", "body_checks": "no-such-file"},
            relay={"transport_map": "transport.map", "relay_recipients": "no-recipients"},
        )  # fmt: skip
        done = mx.cli("serve")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert all(line.startswith("backupmx: ") for line in lines)
    expected = [
        "smtp.workrs: unknown key; did you mean workers?",
        "smtp.timeout: ",
        "transport.map:1: ",
        "transport.map:2: ",
        "header_checks:1: ",
        "header_checks:2: ",
        "no-such-file: ",
        "no-recipients: ",
        "missing.pem: ",
        'user: no user "nobody-of-this-name" here',
        f"smtp.listen: 127.0.0.1:{port}: Address already in use",
    ]
    assert [sum(words in line for line in lines) for words in expected] == [1] * len(expected), done.stderr
    assert len(lines) == len(expected), done.stderr


@pytest.mark.slow
def test_second_appliance(serve: Serve, tmp_path: Path) -> None:
    """A second appliance on the same queue, or on the same port, says so and ends with status 2; the first goes on."""
    mx = serve(bound_to(["example.jp"], free_port()))
    same_queue = Appliance(
        tmp_path / "second", {**mx.settings, "state_dir": str(mx.folder / "state")}, mx.transport_map
    )
    done = same_queue.cli("serve")
    assert (done.returncode, "another backupmx works on this queue" in done.stderr) == (2, True)
    same_port = Appliance(tmp_path / "third", mx.settings, mx.transport_map, port=mx.port)
    done = same_port.cli("serve")
    assert (done.returncode, "Address already in use" in done.stderr) == (2, True)
    assert send(mx.port, message("to the first")).code == 250


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hostname = ", "Invalid"),
        ('hostname = "mx2.example.net"\n', "relay: missing"),
        ('hostname = "mx2"\n[relay]\ntransport_map = "x"\n', "hostname: "),
    ],
)
def test_unusable_configuration(serve: Serve, text: str, words: str) -> None:
    """What cannot be read at all is one sentence and status 2, for every command."""
    mx = serve(bound_to(["example.jp"], 1), started=False)
    mx.config.write_text(text)
    for command in (["serve"], ["check", "config"], ["queue", "list"]):
        done = mx.cli(*command)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def mx(tmp_path_factory: pytest.TempPathFactory, dns: str) -> Iterator[tuple[Appliance, Primary]]:
    with real_primary() as primary:
        settings = {"dns": {"servers": [dns]}}
        appliance = Appliance(tmp_path_factory.mktemp("mx"), settings, bound_to(DOMAINS, primary.port)).start()
        yield appliance, primary
        assert appliance.stop() == 0
        assert "Traceback" not in appliance.log


def strange(subject: str, kind: str) -> bytes:
    head, _, body = message(subject).partition(b"\r\n\r\n")
    return {
        "NUL in the body": head + b"\r\n\r\nbefore\0after\r\n",
        "NUL in a header": head + b"\r\nX-Nul: be\0fore\r\n\r\n" + body,
        "bare LF": head + b"\r\n\r\none\ntwo\r\n",
        "bare CR": head + b"\r\n\r\none\rtwo\r\n",
        "10,000 headers": head + b"\r\n" + b"".join(b"X-H%d: v\r\n" % n for n in range(10_000)) + b"\r\n" + body,
        "a header line of 1 MB": head + b"\r\nX-Long: " + b"x" * 1_000_000 + b"\r\n\r\n" + body,
        "a body line of 1 MB": head + b"\r\n\r\n" + b"x" * 1_000_000 + b"\r\n",
        "no header at all": b"\r\nSubject: " + subject.encode() + b" is in the body\r\n",
        "bytes of all kinds": head + b"\r\n\r\n" + bytes(set(range(1, 256)) - {10, 13}) + b"\r\n",
        "no empty line": head + b"\r\nthis is no header\r\n",
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "NUL in the body", "NUL in a header", "bare LF", "bare CR", "10,000 headers", "a header line of 1 MB",
        "a body line of 1 MB", "bytes of all kinds", "no empty line",
    ],
)  # fmt: skip
def test_strange_messages(mx: tuple[Appliance, Primary], kind: str) -> None:
    """A message as no program should write it arrives as the primary would have it from the client itself."""
    appliance, primary = mx
    through, straight = f"{kind}, through us", f"{kind}, straight"
    ours = raw_dialogue(appliance.port, strange(through, kind))
    theirs = raw_dialogue(primary.port, strange(straight, kind))
    assert ours[:1] == theirs[:1], (ours, theirs)
    if ours.startswith("250"):
        relayed, direct = arrived(primary, through), arrived(primary, straight)
        content = relayed.content.partition(b"From: Alice")
        expected = direct.content.replace(straight.encode(), through.encode())
        if content[1]:
            assert without_ids(content[1] + content[2]) == without_ids(expected[expected.index(b"From: Alice") :])


def without_ids(content: bytes) -> bytes:
    """Message-ID differs, as it should."""
    return b"\n".join(line for line in content.split(b"\n") if not line.startswith(b"Message-ID: "))


def raw_dialogue(port: int, content: bytes) -> str:
    """The reply to a message that is sent as it stands."""
    with smtplib.SMTP("127.0.0.1", port, "client.sender.test", 60) as smtp:
        smtp.ehlo()
        smtp.mail("alice@sender.test")
        smtp.rcpt("bob@example.jp")
        assert smtp.docmd("DATA")[0] == 354
        smtp.sock.sendall(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        code, text = smtp.getreply()
        return f"{code} {text.decode()}"
