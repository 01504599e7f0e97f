"""smtp.dnsbl_sites: postscreen's syntax and its sums."""

import pytest

from backupmx.receive.policy.dnsbl import NOT_LISTED, SiteTrouble, parse, reversed_address, weigh

SITES = (
    "zen.example=127.0.0.[2..4;10]*3",
    "zen.example=127.0.0.11*2",
    "bl.example",
    "wl.example=127.[0..255].1.[1;3]*-4",
)


@pytest.mark.parametrize(
    ("answers", "score", "told"),
    [
        ({}, 0, ""),
        ({"zen.example": ["127.0.0.2"]}, 3, "zen.example*3"),
        ({"zen.example": ["127.0.0.2", "127.0.0.3"]}, 3, "zen.example*3"),
        ({"zen.example": ["127.0.0.4", "127.0.0.11"]}, 5, "zen.example*3, zen.example*2"),
        ({"zen.example": ["127.0.0.5"]}, 0, ""),
        ({"bl.example": ["127.1.2.3"]}, 1, "bl.example*1"),
        ({"bl.example": ["192.0.2.1"]}, 0, ""),
        ({"bl.example": ["127.0.0.2"], "wl.example": ["127.9.1.3"]}, -3, "bl.example*1, wl.example*-4"),
        ({"zen.example": [], "other.example": ["127.0.0.2"]}, 0, ""),
    ],
)
def test_scores(answers: dict[str, list[str]], score: int, told: str) -> None:
    """Each site that has the client counts once; a hijacked zone that answers with its web server counts nothing."""
    listing = weigh(parse(SITES), answers)
    assert (listing.score, str(listing)) == (score, told)
    assert (listing is NOT_LISTED) == (not told)


def test_keys_stay_secret() -> None:
    """A zone with a customer's key in it is told under another name."""
    site = weigh(parse(["KEY.zen.example"], {"key.zen.example.": "zen.example"}), {"key.zen.example": ["127.0.0.2"]})
    assert str(site) == "zen.example*1"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "1.2.0.192"),
        ("2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"),
        ("fe80::1%eth0", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f"),
        ("unknown", ""),
    ],
)
def test_questions(address: str, expected: str) -> None:
    """An address is asked for as RFC 5782 has it."""
    assert reversed_address(address) == expected


@pytest.mark.parametrize(
    "site",
    ["", "zone", "a..b", ".a.b", "a.b*0", "a.b*x", "a.b=", "a.b=127.0.0", "a.b=127.0.0.300", "a.b=127.0.0.[5..2]",
     "a.b=127.0.0.2.3", "a.b=127.0.0.[]", "a.b=127.0.0.2.", "a b", "a.b=127..0.0"],
)  # fmt: skip
def test_bad_sites(site: str) -> None:
    """A site that cannot be asked is an error of the configuration that names it."""
    with pytest.raises(SiteTrouble, match=r"smtp\.dnsbl_sites"):
        parse([site])


def test_a_name_for_no_zone() -> None:
    """A name for a zone that nobody asks is a slip of the pen, and the key it was to hide would be told."""
    with pytest.raises(SiteTrouble, match=r"smtp\.dnsbl_reply_map"):
        parse(["a.example"], {"b.example": "b"})


@pytest.mark.parametrize("answer", ["127.255.255.254", "127.255.255.252", "127.0.0.1", "203.0.113.9"])
def test_you_may_not_ask(answer: str) -> None:
    """What lists say to who may not ask them lists nobody, unless a pattern asks for it."""
    plain, ranged = parse(["bl.example.net", "bl.example.org=127.[0..255].[0..255].[0..255]"])
    assert not plain.lists([answer])
    assert plain.lists([answer, "127.0.0.2"])
    assert ranged.lists([answer]) is answer.startswith("127.")


def test_a_list_that_lists_everybody() -> None:
    """Who lists 127.0.0.1 was given up; its word is nobody's."""
    two = parse(["dead.example.net*3", "bl.example.org"])
    answers = {"dead.example.net": ("127.0.0.2",), "bl.example.org": ("127.0.0.2",)}
    assert weigh(two, answers).score == 4
    assert weigh(two, {**answers, "!dead.example.net": ("127.0.0.2",), "!bl.example.org": ()}).score == 1
