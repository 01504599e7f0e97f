"""Whatever a stranger or an operator writes is an answer or a named trouble, and nothing unprintable leaves."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from backupmx.receive.policy import access, dnsbl, helo

WORDS = st.text(max_size=80) | st.text(st.sampled_from("[]IPv6:.-_a0% \x01é"), max_size=40)


@given(WORDS)
def test_greetings_and_senders(text: str) -> None:
    """Any greeting, any sender: a reply on one line without control bytes, or none."""
    for reply in (helo.invalid(text), helo.non_fqdn(text), helo.as_us(text, text, text), helo.sender_non_fqdn(text)):
        if reply is not None:
            assert not any(ord(c) < 32 or ord(c) == 127 for c in str(reply))


@given(WORDS)
def test_addresses(text: str) -> None:
    """Any address: found in a list or not, asked about or not."""
    access.parse("0.0.0.0/0 OK\n::/0 OK\n", "f").lookup(text)
    assert dnsbl.reversed_address(text).isascii()


@given(st.text(st.sampled_from("0123456789./:ab \n\t#!OKREJCT\x01é"), max_size=60) | st.text(max_size=60))
def test_files(text: str) -> None:
    """Any file, any site: used as a whole, or every mistake in it told."""
    with suppress(access.AccessTrouble):
        access.parse(text, "f")
    with suppress(dnsbl.SiteTrouble):
        dnsbl.parse([text])
