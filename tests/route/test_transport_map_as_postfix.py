"""transport.map gives the routes that Debian's trivial-rewrite(8) gives for the same file."""

import socket
from collections.abc import Callable, Iterator

import pytest

from backupmx.route.transport_map import parse
from tests.neighbours.postfix import Postfix, postfix

pytestmark = pytest.mark.neighbours

MAP = """\
user+ext@example.jp smtp:[full]
user@example.jp smtp:[base]
example.jp smtp:[domain]
.example.jp smtp:[sub]
.deep.example.jp smtp:[deeper]
nothing.example.jp :
reset.example.jp smtp:
host.example.jp :[only]
"q q"@example.jp smtp:[quoted]
gone.example error:5.7.1 go away
later.example retry:
postmaster+x@example.jp smtp:[postmaster]
owner@example.jp smtp:[owner]
x@example.jp smtp:[x]
x-y@example.jp smtp:[xy]
+a@example.jp smtp:[plus]
.jp smtp:[jp]
* smtp:[star]
"""
OURS = "example.jp, .example.jp, gone.example, later.example"


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    folder = tmp_path_factory.mktemp("rewrite")
    settings = {"recipient_delimiter": "+-", "relay_domains": OURS, "virtual_mailbox_domains": ""}
    with postfix(folder, settings=settings, started=False) as instance:
        (instance.folder / "transport").write_text(MAP)
        with (instance.folder / "conf" / "main.cf").open("a") as main:
            main.write(f"transport_maps = texthash:{instance.folder}/transport\n")
        instance.start()
        yield lambda address: _resolve(instance, address)


def _resolve(instance: Postfix, address: str) -> str:
    """As its smtp(8) asks: attributes between NULs, an empty one ends them."""
    question = ("request", "resolve", "sender", "", "address", address)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(instance.folder / "queue" / "private" / "rewrite"))
        client.sendall(b"".join(word.encode() + b"\0" for word in question) + b"\0")
        answer = b""
        while b"\0recipient\0" not in answer or not answer.endswith(b"\0\0"):
            answer += client.recv(4096)
    words = answer.decode().split("\0")
    transport = words[words.index("transport") + 1].replace("relay", "smtp")  # the class's own, another name for it
    return f"{transport}:{words[words.index('nexthop') + 1]}"


@pytest.mark.parametrize(
    "address",
    [
        "user@example.jp", "USER@Example.JP", "user+ext@example.jp", "user+other@example.jp", "user-other@example.jp",
        "user+a+b@example.jp", "else@example.jp", "+a+b@example.jp", "+b@example.jp", "x-y@example.jp",
        "x-y-z@example.jp", "x+y-z@example.jp", "x-request@example.jp", "x-REQUEST@example.jp", "owner-x@example.jp",
        "owner+x@example.jp", "postmaster+x@example.jp", "postmaster+y@example.jp", "Postmaster+y@example.jp",
        "double-bounce@example.jp", "a@sub.example.jp", "a@deep.example.jp", "a@b.deep.example.jp",
        "a@nothing.example.jp", "a@reset.example.jp", "a@x.reset.example.jp", "a@host.example.jp", "a@gone.example",
        "a@later.example", "a@sub.gone.example", "a@other.jp", "a@other.test",
    ],
)  # fmt: skip
def test_route(address: str, ask: Callable[[str], str]) -> None:
    """Key order, extensions, `:`, `t:` and `:nexthop` are Postfix's."""
    ours = str(parse(MAP, delimiter="+-").lookup(address))
    assert ours.replace("retry:", "retry:Address is undeliverable") == ask(address)


def test_quoted(ask: Callable[[str], str]) -> None:
    """What SMTP quotes Postfix asks for without quotes: so quotes that are not needed do not count."""
    map = parse(MAP, delimiter="+-")
    assert str(map.lookup('"q q"@example.jp')) == ask("q q@example.jp") == "smtp:[quoted]"
    assert str(map.lookup(r'"q\ q"@example.jp')) == "smtp:[quoted]"
    assert str(map.lookup('"user"@example.jp')) == ask("user@example.jp") == "smtp:[base]"
    assert str(map.lookup('"user+other"@example.jp')) == "smtp:[base]"
