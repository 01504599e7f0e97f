"""Which refusals of a primary say that nobody has an address."""

import pytest

from backupmx.mail.reply import Reply
from backupmx.recipients.refusal import unknown_user


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        (550, ["5.1.1 <x@example.jp>: Recipient address rejected: User unknown in virtual mailbox table"]),
        (550, ["5.1.1 The email account that you tried to reach does not exist."]),
        (550, ["5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"]),
        (550, ["5.4.1 Recipient address rejected: Access denied. [TYO01.prod.outlook.com]"]),
        (550, ["sorry, no mailbox here by that name. (#5.1.1)"]),
        (550, ["Unrouteable address"]),
        (553, ["No such user here"]),
    ],
)
def test_unknown(code: int, lines: list[str]) -> None:
    """The words of Postfix, Gmail, Exchange, Exchange Online, qmail, Exim and others."""
    assert unknown_user(Reply.from_peer(code, lines))


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        (550, ["5.7.1 Service unavailable; Client host [192.0.2.1] blocked using bl.example"]),
        (554, ["5.7.1 <x@example.jp>: Relay access denied"]),
        (550, ["5.7.1 <x@example.jp>: User unknown to our block list, go away"]),
        (552, ["5.2.2 Mailbox full"]),
        (550, ["5.2.1 Mailbox disabled"]),
        (550, ["5.4.1 No answer from host"]),
        (550, ["Administrative prohibition"]),
        (450, ["4.1.1 <x@example.jp>: Recipient address rejected: unverified address"]),
        (451, ["Unknown user, for now"]),
        (250, ["2.1.5 Ok"]),
    ],
)
def test_anything_else(code: int, lines: list[str]) -> None:
    """A block list, a full mailbox, a moment's trouble: nobody knows more than before."""
    assert not unknown_user(Reply.from_peer(code, lines))
