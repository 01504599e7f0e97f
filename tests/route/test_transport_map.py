"""route/transport_map.py: transport(5)."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.route.transport_map import TransportTrouble, parse
from tests.neighbours.unbound import required

FIRST_USER = """
# The first user's own file.
example.jp                 smtp:[primary1.example.net]
example.net                smtp:[primary2.example.net]
"""
EVERYTHING = """\
user@example.jp     lmtp:unix:/var/run/lmtp
base@example.jp     smtp:[base.example]
"x y"@example.jp    smtp:[quoted.example]
Example.JP          smtp:[primary1.example.net]
.example.jp         smtp:[sub.example.net]:2525
deep.example.jp     :
next.example        :[elsewhere.example]
own.example         relay:
gone.example        error:5.1.2 this domain has moved
later.example       retry:4.3.2 maintenance
hole.example        discard:
.own.example        smtp:
list.example        smtp:[a.example],
  # a comment between
\t  [b.example]
*                   smtp:[hub.example]
"""


@pytest.mark.parametrize(
    ("address", "route"),
    [
        ("user@example.jp", "lmtp:unix:/var/run/lmtp transport.map:1"),
        ("USER@EXAMPLE.JP", "lmtp:unix:/var/run/lmtp transport.map:1"),
        ('"x y"@example.jp', "smtp:[quoted.example] transport.map:3"),
        ("else@example.jp", "smtp:[primary1.example.net] transport.map:4"),
        ("base+ext@example.jp", "smtp:[primary1.example.net] transport.map:4"),
        ("a@sub.example.jp", "smtp:[sub.example.net]:2525 transport.map:5"),
        ("a@very.deep.example.jp", "smtp:[sub.example.net]:2525 transport.map:5"),
        ("a@deep.example.jp", "smtp:deep.example.jp transport.map:6"),
        ("a@next.example", "smtp:[elsewhere.example] transport.map:7"),
        ("a@own.example", "relay:own.example transport.map:8"),
        ("a@x.own.example", "smtp:x.own.example transport.map:12"),
        ("a@gone.example", "error:5.1.2 this domain has moved transport.map:9"),
        ("a@later.example", "retry:4.3.2 maintenance transport.map:10"),
        ("a@hole.example", "discard: transport.map:11"),
        ("a@list.example", "smtp:[a.example], [b.example] transport.map:13"),
        ("a@stranger.example", "smtp:[hub.example] transport.map:16"),
        ("postmaster", "smtp:[hub.example] transport.map:16"),
    ],
)
def test_lookup(address: str, route: str) -> None:
    """Whole address, domain, parents from the longest on, `*`; then what the result changes."""
    found = parse(EVERYTHING).lookup(address)
    assert route == f"{found} {found.source}"


def test_extension() -> None:
    """With a delimiter user+ext falls back to user; postmaster never has an extension."""
    map = parse("base@a.jp smtp:[b]\npostmaster@a.jp smtp:[p]\n* smtp:[hub]\n", delimiter="+-")
    routes = [str(map.lookup(a)) for a in ("base+x@a.jp", "base-x+y@a.jp", "+x@a.jp", "postmaster@a.jp", "b@a.jp")]
    assert routes == ["smtp:[b]", "smtp:[b]", "smtp:[hub]", "smtp:[p]", "smtp:[hub]"]


def test_without_a_line() -> None:
    """What no line names goes to its own domain's MX hosts."""
    found = parse(FIRST_USER).lookup("someone@elsewhere.example")
    assert (str(found), found.source) == ("smtp:elsewhere.example", "default")


def test_another_script() -> None:
    """A domain in another script and its ASCII form are one."""
    map = parse("日本.jp smtp:[a]\n")
    assert [str(map.lookup(a)) for a in ("x@日本.jp", "x@xn--wgv71a.JP")] == ["smtp:[a]"] * 2


def test_relay_domains() -> None:
    """Domains and subdomain keys are ours; `*` and addresses make nothing ours."""
    assert parse(FIRST_USER).relay_domains() == ("example.jp", "example.net")
    assert parse("x@c.jp smtp:[x]\nA.jp smtp:[x]\n.b.jp :\n* :\n").relay_domains() == ("a.jp", ".b.jp")


def test_every_error_at_once() -> None:
    """All errors come together, each with its line and a remedy; good lines do not hide them."""
    text = " a.jp smtp:[x]\n\nb.jp\nc.jp smtp:[x]\n@d.jp smtp:[x]\n*.e.jp smtp:[x]\nf.jp fax:[x]\ng.jp smtp:[x]:y\n"
    with pytest.raises(TransportTrouble) as trouble:
        parse(text)
    assert trouble.value.errors == [
        "transport.map:1: begins with a blank but continues nothing; take the blank away",
        'transport.map:3: "b.jp" has no result; write: b.jp smtp:[host.example.net]',
        'transport.map:5: "@d.jp" is never looked up; write d.jp',
        'transport.map:6: "*.e.jp" is never looked up; for subdomains write .e.jp',
        'transport.map:7: unknown transport "fax"; write one of smtp, relay, lmtp, error, retry, discard',
        'transport.map:8: "[x]:y": unknown service "y"; write the port as a number',
    ]


def test_same_key_twice() -> None:
    """The first of two lines counts, as with postmap, and a warning says so."""
    map = parse("a.jp smtp:[one]\nA.jp smtp:[two]\nb.jp: smtp:[x]\n")
    assert str(map.lookup("x@a.jp")) == "smtp:[one]"
    assert map.warnings == (
        'transport.map:2: "A.jp" again; transport.map:1 counts, take this line out',
        'transport.map:3: "b.jp:" ends in a colon, so it never matches; is this an alias file?',
    )


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    """Any text is a map or TransportTrouble; any address has a route in it."""
    try:
        map = parse(text)
    except TransportTrouble:
        return
    assert map.lookup("user@a.example.jp").source
    assert map.next_hops() is not None


@pytest.mark.neighbours
def test_like_postmap(tmp_path: Path) -> None:
    """Keys and results are those Debian's postmap finds in the same file."""
    postmap = required("postmap")
    path = tmp_path / "transport"
    path.write_text(EVERYTHING + "example.jp smtp:[again]\n")
    ours = parse(path.read_text()).entries
    asked = subprocess.run(
        [postmap, "-q", "-", f"texthash:{path}"], input="\n".join(ours), capture_output=True, text=True, timeout=20
    )
    theirs = dict(line.split("\t", 1) for line in asked.stdout.splitlines())
    assert {k: result.split() for k, (result, _) in ours.items()} == {k: v.split() for k, v in theirs.items()}
