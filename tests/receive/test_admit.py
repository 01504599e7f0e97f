"""Who is let in."""

from backupmx.mail.envelope import Client
from backupmx.receive.admit import Admission
from backupmx.recipients.known import parse
from backupmx.recipients.who import Lists, Recipients
from tests.receive.doors import RelayDomains

CLIENT = Client("192.0.2.1", 25)


def reply(admission: Admission, recipient: str) -> str:
    return str(admission.recipient(CLIENT, "a@b.example", recipient) or "yes")


def test_relay_domains_only() -> None:
    """Other people's domains are not ours to take mail for."""
    admission = Admission(RelayDomains())
    assert reply(admission, "anybody@example.jp") == "yes"
    assert reply(admission, "a@example.com") == "554 5.7.1 <a@example.com>: Relay access denied"


def test_no_open_relay_through_the_primary() -> None:
    """An address that the primary would pass on to elsewhere is refused as its target would be."""
    admission = Admission(RelayDomains())
    for recipient in ("a%b.example@example.jp", "b.example!a@example.jp", '"a@b.example"@example.jp'):
        assert f"554 5.7.1 <{recipient}>: Relay access denied" == reply(admission, recipient)


def test_unknown_recipients() -> None:
    """With a list, who is not on it does not exist; postmaster always does."""
    admission = Admission(RelayDomains(), Recipients(parse("user@example.jp OK", "known"), None, Lists()))
    assert reply(admission, "User@Example.JP") == "yes"
    assert reply(admission, "Postmaster@example.jp") == "yes"
    expected = "550 5.1.1 <x@example.jp>: Recipient address rejected: User unknown in relay recipient table"
    assert expected == reply(admission, "x@example.jp")


def test_postmaster_alone() -> None:
    """<postmaster> is whom the operator named; without a name it is nobody of ours."""
    assert (
        Admission(RelayDomains(), postmaster="postmaster@example.jp").resolve("PostMaster") == "postmaster@example.jp"
    )
    assert reply(Admission(RelayDomains()), "postmaster") == "554 5.7.1 <postmaster>: Relay access denied"

    elsewhere = Admission(RelayDomains(), postmaster="admin@other.example")
    assert reply(elsewhere, elsewhere.resolve("postmaster")) == "yes"
    assert reply(elsewhere, "Other@other.example") == "554 5.7.1 <Other@other.example>: Relay access denied"


def test_the_null_sender_is_let_in() -> None:
    """Bounces come through."""
    assert None is Admission(RelayDomains()).sender(CLIENT, "")
