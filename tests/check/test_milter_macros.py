"""What a milter learns beside the events."""

from dataclasses import replace

from backupmx.check.milter_macros import Macros
from backupmx.mail.envelope import Tls
from backupmx.net.milter_codec import BODY, CONNECT, DATA, END_OF_MESSAGE, HELO, MAIL, RCPT, Step, Terms
from tests.check.messages import CLIENT, mail

USUAL = Terms(6, 0, 0, {})


def macros(client: object = CLIENT, sender: str = "alice@sender.test") -> Macros:
    hops = {"bob@example.test": "smtp:[primary1.example.net]:25", "alice@sender.test": "smtp:"}
    return Macros(mail(sender=sender, client=client), "mx2.example.net", hops.__getitem__)  # type: ignore[arg-type]


def names(step: Step, terms: Terms = USUAL) -> list[str]:
    return [name for name, _ in macros().of(step, terms, "bob@example.test" if step is RCPT else "")]


def test_postfix_s_lists() -> None:
    """Postfix's milter_*_macros, those without a value left out."""
    assert names(CONNECT) == ["j", "{daemon_name}", "v", "_"]
    assert names(HELO) == []
    assert names(MAIL) == ["i", "{mail_addr}", "{mail_host}", "{mail_mailer}"]
    assert names(RCPT) == ["i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"]
    assert [names(step) for step in (DATA, END_OF_MESSAGE, BODY)] == [["i"], ["i"], []]


def test_their_values() -> None:
    """Names, addresses and the next hop of each."""
    values = dict(macros().of(CONNECT, USUAL)) | dict(macros().of(MAIL, USUAL))
    assert values.pop("v").startswith("backupmx ")
    assert values == {
        "j": "mx2.example.net",
        "{daemon_name}": "mx2.example.net",
        "_": "mx1.sender.test [192.0.2.1]",
        "i": "4hTESTz1",
        "{mail_addr}": "alice@sender.test",
        "{mail_host}": "sender.test",
        "{mail_mailer}": "smtp",
    }
    assert dict(macros().of(RCPT, USUAL, "bob@example.test")) == {
        "i": "4hTESTz1",
        "{rcpt_addr}": "bob@example.test",
        "{rcpt_host}": "[primary1.example.net]:25",
        "{rcpt_mailer}": "smtp",
    }


def test_the_null_sender_has_an_address_and_no_host() -> None:
    """MAIL FROM:<>: {mail_addr} is there, and empty."""
    assert macros(sender="").of(MAIL, USUAL) == [("i", "4hTESTz1"), ("{mail_addr}", "")]


def test_tls_is_told_with_helo() -> None:
    """Version, cipher and bits."""
    client = replace(CLIENT, tls=Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256))
    assert macros(client).of(HELO, USUAL) == [
        ("{tls_version}", "TLSv1.3"), ("{cipher}", "TLS_AES_256_GCM_SHA384"), ("{cipher_bits}", "256"),
    ]  # fmt: skip


def test_a_milter_asks_for_its_own() -> None:
    """SMFIF_SETSYMLIST: its list in place of ours, for that step; what has no value is left out."""
    terms = Terms(6, 0x100, 0, {0: ("{client_addr}", "{client_port}", "{client_resolve}", "{nonsense}"), 4: ()})
    assert macros().of(CONNECT, terms) == [
        ("{client_addr}", "192.0.2.1"), ("{client_port}", "40000"), ("{client_resolve}", "OK"),
    ]  # fmt: skip
    assert macros().of(DATA, terms) == []
    assert names(MAIL, terms)[0] == "i"


def test_where_the_client_is_connected() -> None:
    """{daemon_addr} and {daemon_port}: for machines with several addresses."""
    client = replace(CLIENT, daemon=("192.0.2.25", 2525))
    terms = Terms(6, 0x100, 0, {0: ("{daemon_addr}", "{daemon_port}")})
    assert macros(client).of(CONNECT, terms) == [("{daemon_addr}", "192.0.2.25"), ("{daemon_port}", "2525")]
