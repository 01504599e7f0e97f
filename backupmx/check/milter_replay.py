"""milter_replay: one message told to one milter, event by event, as if the client were talking now.

    connect, helo, mail, rcpt ..., data, header ..., end of header, body ..., end of message

We ask milters when the message is here, so what a milter says early it says
late: a refused connection, HELO or MAIL refuses the message, a refused
recipient that recipient.  Accept at any event means: as it is, and no more of
it.  Why not while the client talks?  The rules come first (a DISCARD saves
every milter its work), and a milter that is slow holds up one reply, not six.

Raises MilterLost; then nothing it said counts.
"""

from dataclasses import dataclass

from backupmx.check.finding import Mail
from backupmx.check.milter_draft import Draft
from backupmx.check.milter_macros import Macros
from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.reply import Reply
from backupmx.net.milter import Dialogue
from backupmx.net.milter_answers import Answer, Continue, Edit, Refuse, Skip
from backupmx.net.milter_codec import (
    BODY,
    CONNECT,
    DATA,
    END_OF_HEADER,
    END_OF_MESSAGE,
    HEADER,
    HELO,
    MAIL,
    RCPT,
    Step,
    connect_data,
    strings,
)


@dataclass(frozen=True, slots=True)
class Said:
    """What one milter said of one message."""

    step: Step
    """Where it said its last word."""
    answer: Answer
    edits: tuple[Edit, ...] = ()
    refused: tuple[tuple[Recipient, Reply], ...] = ()
    """Recipients it does not want, while others go on."""


async def replay(milter: Dialogue, mail: Mail, draft: Draft, macros: Macros, largest: int) -> Said:
    """The whole of it.  Raises MilterLost."""
    said = await _envelope(milter, mail, macros)
    if not isinstance(said.answer, Continue):
        return said
    step, answer = await _content(milter, draft, macros)
    if isinstance(answer, Continue):
        shown = len(draft.top) + len(draft.below)
        edits, answer = await milter.end(macros.of(END_OF_MESSAGE, milter.terms), largest, shown)
        return Said(END_OF_MESSAGE, answer, edits, said.refused)
    return Said(step, answer, (), said.refused)


async def _envelope(milter: Dialogue, mail: Mail, macros: Macros) -> Said:
    client, envelope = mail.client, mail.envelope
    opening = (
        (CONNECT, connect_data(_octets(_host(client)), _octets(client.address), client.port)),
        (HELO, strings(_octets(client.helo))),
        (MAIL, strings(*map(_octets, _mail_words(envelope)))),
    )
    for step, data in opening:
        answer = await milter.step(step, data, macros.of(step, milter.terms))
        if not isinstance(answer, Continue):
            return Said(step, answer)
    refused: list[tuple[Recipient, Reply]] = []
    for recipient in envelope.recipients:
        data = strings(*map(_octets, _rcpt_words(recipient)))
        answer = await milter.step(RCPT, data, macros.of(RCPT, milter.terms, recipient.address))
        if isinstance(answer, Refuse):
            refused.append((recipient, answer.reply))
        elif not isinstance(answer, Continue):
            return Said(RCPT, answer, (), tuple(refused))
    if len(refused) == len(envelope.recipients):
        return Said(RCPT, Refuse(_worst([reply for _, reply in refused])))
    answer = await milter.step(DATA, b"", macros.of(DATA, milter.terms))
    return Said(DATA, answer, (), tuple(refused))


async def _content(milter: Dialogue, draft: Draft, macros: Macros) -> tuple[Step, Answer]:
    if milter.terms.wants(HEADER):
        for name, value in draft.headers(milter.terms.leading_space):
            answer = await milter.step(HEADER, strings(name, value))
            if not isinstance(answer, Continue):
                return HEADER, answer
    answer = await milter.step(END_OF_HEADER, b"", macros.of(END_OF_HEADER, milter.terms))
    if not isinstance(answer, Continue) or not milter.terms.wants(BODY):
        return END_OF_HEADER, answer
    for chunk in draft.chunks():
        answer = await milter.step(BODY, chunk)
        if isinstance(answer, Skip):
            break
        if not isinstance(answer, Continue):
            return BODY, answer
    return BODY, Continue()


def _worst(replies: list[Reply]) -> Reply:
    """For all recipients at once: temporary when one of them may still be accepted later."""
    return next((reply for reply in replies if reply.temporary), replies[0])


def _mail_words(envelope: Envelope) -> list[str]:
    """MAIL's argument and its parameters, as the client gave them."""
    words = [f"<{envelope.sender}>"]
    for key, value in (("BODY", envelope.body), ("RET", envelope.ret), ("ENVID", envelope.envid)):
        words += [f"{key}={value}"] if value else []
    return [*words, "SMTPUTF8"] if envelope.smtputf8 else words


def _rcpt_words(recipient: Recipient) -> list[str]:
    words = [f"<{recipient.address}>"]
    for key, value in (("NOTIFY", recipient.notify), ("ORCPT", recipient.orcpt)):
        words += [f"{key}={value}"] if value else []
    return words


def _host(client: Client) -> str:
    """A client without a name is its address in brackets, as in sendmail; only {client_name} says "unknown"."""
    return f"[{client.address}]" if client.name == "unknown" else client.name


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
