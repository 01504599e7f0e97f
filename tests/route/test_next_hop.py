"""route/next_hop.py: what a next hop means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.route.next_hop import Destination, HopTrouble, parse


@pytest.mark.parametrize(
    ("text", "transport", "destinations"),
    [
        ("smtp:[primary1.example.net]", "smtp", (Destination("primary1.example.net", 25),)),
        ("relay:[Primary1.Example.net.]:2525", "smtp", (Destination("primary1.example.net", 2525),)),
        ("smtp:example.jp", "smtp", (Destination("example.jp", 25, mx=True),)),
        ("smtp:example.jp:submission", "smtp", (Destination("example.jp", 587, mx=True),)),
        ("smtp:192.0.2.1:26", "smtp", (Destination("192.0.2.1", 26),)),
        ("smtp:[2001:DB8::1]:26", "smtp", (Destination("2001:db8::1", 26),)),
        ("smtp:[IPv6:2001:db8::1]", "smtp", (Destination("2001:db8::1", 25),)),
        ("smtp:[a.jp], b.jp:26 [c.jp]", "smtp", (
            Destination("a.jp", 25), Destination("b.jp", 26, mx=True), Destination("c.jp", 25))),
        ("lmtp:host.jp", "lmtp", (Destination("host.jp", 24),)),
        ("lmtp:inet:host.jp:2003", "lmtp", (Destination("host.jp", 2003),)),
        ("lmtp:unix:/var/run/lmtp", "lmtp", (Destination("", 0, path="/var/run/lmtp"),)),
    ],
)  # fmt: skip
def test_destinations(text: str, transport: str, destinations: tuple[Destination, ...]) -> None:
    """Hosts, ports, brackets, lists and socket files are read as Postfix reads them."""
    hop = parse(text)
    assert (transport, destinations) == (hop.transport, hop.destinations)


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("error:5.1.1 nobody here", "5.1.1", "nobody here"),
        ("error:", "5.0.0", "Address is undeliverable"),
        ("error:4.2.1 the class is the transport's", "5.2.1", "the class is the transport's"),
        ("retry:4.3.2 maintenance", "4.3.2", "maintenance"),
        ("retry:later", "4.0.0", "later"),
        ("discard:", "2.0.0", "silently"),
    ],
)
def test_words(text: str, status: str, words: str) -> None:
    """error:, retry: and discard: carry a code and words, as in Postfix's error(8) and discard(8)."""
    hop = parse(text)
    assert (status, words, False) == (hop.status, hop.words, hop.connects)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("smpt:[a.jp]", 'unknown transport "smpt"; write one of smtp, relay, lmtp, error, retry, discard'),
        ("smtp:", 'no host after "smtp:"; write smtp:[host.example.net]'),
        ("smtp:[a.jp", '"[a.jp": write [host] or [host]:port'),
        ("smtp:[a.jp]:smpt", '"[a.jp]:smpt": unknown service "smpt"; write the port as a number'),
        ("smtp:[a.jp]:99999", '"[a.jp]:99999": unknown service "99999"; write the port as a number'),
        ("smtp:2001:db8::1", '"2001:db8::1": an IPv6 address stands in brackets: [2001:db8::1]'),
        ("smtp:[a.jp], smtp:[b.jp]",
         '"smtp:[b.jp]": the transport stands once, before the list: smtp:[a.example], [b.example]'),
        ("lmtp:unix:run/lmtp", '"unix:run/lmtp": write the whole path, lmtp:unix:/var/run/lmtp'),
        ("smtp:a..jp", '"a..jp" is no host name; write [host.example.net]'),
    ],
)  # fmt: skip
def test_trouble(text: str, says: str) -> None:
    """What is no next hop is refused with a remedy, not found out at delivery."""
    with pytest.raises(HopTrouble) as trouble:
        parse(text)
    assert says == str(trouble.value)


@given(st.text(max_size=60), st.sampled_from(["smtp:", "lmtp:", "relay:[", "smtp:[", ""]))
def test_any_text(text: str, begin: str) -> None:
    """Any text is a next hop or HopTrouble, never anything else."""
    try:
        hop = parse(begin + text)
    except HopTrouble:
        return
    assert begin + text == hop.text
