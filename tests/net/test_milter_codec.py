"""The frames of the milter protocol, as the MTA writes and believes them."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.net.milter_codec import (
    CONNECT,
    HEADER,
    LONGEST,
    MAIL,
    RCPT,
    STEPS,
    Nonsense,
    connect_data,
    frame,
    length,
    macro_frame,
    negotiated,
    offer,
    strings,
)


def terms(version: int = 6, actions: int = 0, steps: int = 0, rest: bytes = b"") -> bytes:
    return struct.pack("!III", version, actions, steps) + rest


def test_the_offer_is_postfix_s() -> None:
    """Version 6, every action there is, every step may be declined but the report of refused recipients."""
    assert offer() == b"\0\0\0\x0dO" + struct.pack("!III", 6, 0x1FF, 0x1FF7FF)


def test_a_frame_counts_its_command() -> None:
    """The length is that of command and data."""
    assert frame(b"H", strings(b"mail.example")) == b"\0\0\0\x0eHmail.example\0"


def test_no_two_steps_share_a_bit() -> None:
    """What a milter declines is one step, and what it will not answer another bit."""
    bits = [bit for step in STEPS for bit in (step.declined, step.silent) if bit]
    assert len(bits) == len(set(bits))


@pytest.mark.parametrize(
    ("address", "data"),
    [(b"192.0.2.1", b"mx.example\x004\x9c\x40192.0.2.1\0"), (b"2001:db8::1", b"mx.example\x006\x9c\x402001:db8::1\0")],
)
def test_a_client_has_a_family(address: bytes, data: bytes) -> None:
    """The address of a client is told as IPv4 or IPv6, plain."""
    assert connect_data(b"mx.example", address, 40000) == data


def test_a_nul_ends_a_value() -> None:
    """What a client put behind a NUL cannot become a string of its own."""
    assert strings(b"a\0b", b"c") == b"a\0c\0"


def test_macros_name_their_step() -> None:
    """Values come before the step they belong to; without any there is no frame."""
    assert macro_frame(MAIL, [("i", "4hX"), ("{mail_addr}", "")]) == frame(b"D", b"M", b"i\x004hX\0{mail_addr}\0\0")
    assert macro_frame(RCPT, []) == b""


@pytest.mark.parametrize("size", [0, LONGEST + 1, 0xFFFFFFFF])
def test_a_length_is_not_believed(size: int) -> None:
    """A length of zero or of more than a milter ever writes is refused before anything is read."""
    with pytest.raises(Nonsense):
        length(struct.pack("!I", size))


def test_what_a_milter_declines() -> None:
    """A milter that declines headers and answers no recipient is taken at its word."""
    agreed = negotiated(terms(steps=0x20 | 0x8000))
    assert (agreed.wants(HEADER), agreed.wants(CONNECT), agreed.answers(RCPT), agreed.answers(MAIL)) == (
        False,
        True,
        False,
        True,
    )


def test_bits_that_were_not_offered_are_not_agreed() -> None:
    """Sizes beyond 64 KiB and refused recipients were not offered: such bits change nothing."""
    assert negotiated(terms(steps=0x30000800)).steps == 0


def test_a_milter_chooses_its_macros() -> None:
    """SMFIF_SETSYMLIST: names separated by blanks or commas, for one stage each."""
    rest = struct.pack("!I", 2) + b"i {auth_type}\0" + struct.pack("!I", 5) + b"i, {x}\0"
    assert negotiated(terms(actions=0x100, rest=rest)).macros == {2: ("i", "{auth_type}"), 5: ("i", "{x}")}


@pytest.mark.parametrize(
    "data",
    [b"", terms()[:11], terms(version=7), terms(version=1), terms(actions=0x200), terms(rest=b"\0\0\0\1"),
     terms(rest=b"\0\0\0\1i")],
)  # fmt: skip
def test_a_negotiation_that_is_none(data: bytes) -> None:
    """Cut short, of another version, or wishing what nobody knows: a named exception."""
    with pytest.raises(Nonsense):
        negotiated(data)


@given(st.binary(max_size=200))
def test_any_octets_negotiate_or_are_nonsense(data: bytes) -> None:
    """No answer to the offer raises anything else."""
    try:
        negotiated(data)
    except Nonsense:
        pass


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=50)), max_size=10))
def test_any_text_is_a_macro(macros: list[tuple[str, str]]) -> None:
    """What a client says of itself never breaks a frame: its length is right and its strings are pairs."""
    packed = macro_frame(MAIL, macros)
    if macros:
        assert length(packed[:4]) == len(packed) - 4
        assert packed.count(b"\0", 4) == 2 * len(macros)
