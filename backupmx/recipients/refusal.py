"""Pure.  refusal: does a primary's reply say that nobody has this address?

Only that unteaches an address, and only that becomes our own 550.  Everything else a
primary may refuse with is about us, the sender or the moment (a block list: 5.7.1, a full
mailbox: 5.2.2, a relay that is not open: 5.7.1): then nobody knows more than before.

    5.1.1           bad destination mailbox (RFC 3463); Postfix, Gmail, Dovecot, Sendmail
    5.1.6           the mailbox has moved
    5.1.10          recipient not found: Exchange
    5.4.1           with "Recipient address rejected": Exchange Online, of an address its directory lacks
    550, 551, 553   without an enhanced code (qmail, Exim), when the words say so

Standards: RFC 3463 section 3.2, RFC 5321 4.2.3.
"""

import re

from backupmx.mail.reply import Reply

_UNKNOWN = frozenset({"5.1.1", "5.1.6", "5.1.10"})
_WORDS = re.compile(
    r"#5\.1\.1|(?:user|recipient|mailbox|address|account|addressee) (?:is )?(?:unknown|not (?:found|known))"
    r"|(?:unknown|no such|invalid) (?:local )?(?:user|recipient|mailbox|address|account|person)|unrouteable address"
    r"|no mailbox here|(?:does not|doesn't) exist",
    re.IGNORECASE,
)


def unknown_user(reply: Reply) -> bool:
    """A primary's reply to RCPT, or to the message."""
    if reply.status == "5.4.1":
        return reply.text.startswith("Recipient address rejected")
    if reply.status:
        return reply.status in _UNKNOWN
    return reply.code in (550, 551, 553) and _WORDS.search(reply.text) is not None
