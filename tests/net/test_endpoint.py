"""Where engines and milters listen."""

import pytest

from backupmx.net.endpoint import Endpoint, connected
from tests.net.scripted_milter import ScriptedMilter


@pytest.mark.parametrize(
    ("text", "tcp", "endpoint"),
    [
        ("unix:/var/run/clamav/clamd", "tcp", Endpoint(path="/var/run/clamav/clamd")),
        ("tcp:127.0.0.1:783", "tcp", Endpoint(host="127.0.0.1", port=783)),
        ("tcp:[::1]:783", "tcp", Endpoint(host="::1", port=783)),
        ("tcp:localhost:783", "tcp", Endpoint(host="localhost", port=783)),
        ("unix:/run/opendkim/x.sock", "inet", Endpoint(path="/run/opendkim/x.sock")),
        ("inet:127.0.0.1:8891", "inet", Endpoint(host="127.0.0.1", port=8891)),
    ],
)
def test_places(text: str, tcp: str, endpoint: Endpoint) -> None:
    """unix:/PATH; TCP is tcp:HOST:PORT for engines and inet:HOST:PORT for milters, as in Postfix."""
    assert Endpoint.parse(text, tcp) == endpoint


@pytest.mark.parametrize("tcp", ["tcp", "inet"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "/run/clamd",
        "unix:",
        "unix:clamd",
        "X:h",
        "X::783",
        "X:h:0",
        "X:h:65536",
        "X:h:\u0663",
        "X:h:" + "9" * 9999,
        "y:h:1",
    ],
)  # fmt: skip
def test_no_places(text: str, tcp: str) -> None:
    """Anything else is refused with what to write instead."""
    with pytest.raises(ValueError, match=f"write unix:/PATH or {tcp}:HOST:PORT"):
        Endpoint.parse(text.replace("X", tcp), tcp)


async def test_a_name_is_looked_up() -> None:
    """inet:localhost:PORT works as well as an address, and is shown as it was written."""
    async with ScriptedMilter() as milter:
        endpoint = Endpoint.parse(f"inet:localhost:{milter.port}", "inet")
        (await connected(endpoint)).close()
        assert str(endpoint) == f"inet:localhost:{milter.port}"
