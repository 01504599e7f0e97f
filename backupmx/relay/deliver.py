"""deliver: one claim to one next hop: an answer for each of its recipients.

The message goes over a line of the next hop's connections.  Who is deferred by
the first host (4xx, a broken connection) is offered to the next one, as
Postfix does, to two hosts of each place at most; who was refused (5xx) or
taken is settled.  A kept connection that turns out to be gone, or
says 421, costs nothing but a new one.

A host that breaks off at BDAT is asked again at once, without it.

More than 100 recipients go in several transactions; those a server has no
room for (452 4.5.3) are sent at once in another one, RFC 5321 4.5.3.1.10.

error:, retry: and discard: need no connection: the map has the answer.

Trouble
    HopDown, NoHosts   from `connections`: nobody was asked about anybody.
    A connection that goes after the final dot defers who has no answer: the
    message may have been taken, and comes twice then, but never not at all.
"""

from collections.abc import Iterable, Sequence

from backupmx.mail.envelope import Envelope, Recipient
from backupmx.mail.reply import Reply
from backupmx.net.smtp import Lost
from backupmx.queue.entry import Claim, ClaimedRecipient
from backupmx.relay.connections import Connections, HopDown, Line
from backupmx.relay.judge import Answer
from backupmx.route.hosts import Host
from backupmx.route.next_hop import NextHop

_CODES = {"error": 550, "retry": 450, "discard": 250}


def by_map(hop: NextHop) -> Answer:
    """Pure.  What error:, retry: and discard: say."""
    words = f"discarded: {hop.words}" if hop.transport == "discard" else hop.words
    return Answer(Reply(_CODES[hop.transport], hop.status, words), policy=True, dsn=True)


async def deliver(claim: Claim, connections: Connections) -> list[Answer]:
    """An answer for each recipient, in order.  Raises HopDown, NoHosts."""
    answers: dict[int, Answer] = {}
    undone = list(range(len(claim.recipients)))
    asked: set[Host] = set()
    while undone:
        line = await connections.take(asked, claim.client)
        if line is None:
            break
        stale, could_chunk = line.connection.served > 0, line.connection.chunking
        try:
            said = await _converse(line, claim, [claim.recipients[i] for i in undone], connections.settings.recipients)
        finally:
            connections.release(line)
        if could_chunk and not line.connection.chunking:
            connections.without_chunking(line.host)
            stale = True
        if stale and _nothing_taken(said):
            continue  # The connection was at its end, not the host.
        answers.update(zip(undone, said, strict=True))
        undone = [i for i in undone if answers[i].reply.temporary and not answers[i].uncertain]
        asked.add(line.host)
        if line.connection.usable:
            connections.window.succeeded(connections.many)
        elif connections.broke() and _nothing_taken(answers.values()):
            raise HopDown(said[0].reason, said[0].status)
    return [answers[index] for index in range(len(claim.recipients))]


async def _converse(line: Line, claim: Claim, recipients: Sequence[ClaimedRecipient], most: int) -> list[Answer]:
    """All of them, in as many transactions as this host wants.  For one there is no more to it."""
    if len(recipients) == 1:
        return await _transact(line, claim, recipients)
    answers: dict[str, Answer] = {}
    left = list(recipients)
    while left:
        batch, left = left[:most], left[most:]
        said = await _transact(line, claim, batch)
        again = [r for r, a in zip(batch, said, strict=True) if _no_room(a)]
        if again and len(again) < len(batch) and line.connection.usable:
            left = again + left
        answers |= {r.address: a for r, a in zip(batch, said, strict=True)}
    return [answers[recipient.address] for recipient in recipients]


async def _transact(line: Line, claim: Claim, recipients: Sequence[ClaimedRecipient]) -> list[Answer]:
    connection, relay = line.connection, line.relay
    envelope = Envelope(
        claim.sender, tuple(Recipient(r.address, r.notify, r.orcpt) for r in recipients),
        claim.body, claim.smtputf8, claim.ret, claim.envid,
    )  # fmt: skip
    if unfit := connection.unfit(envelope, claim.message, claim.size):
        return [Answer(unfit, relay)] * len(recipients)
    try:
        result = await connection.deliver(envelope, claim.message, claim.size, client=claim.client, ident=claim.id)
    except Lost as lost:
        return [Answer(Reply(421, "4.4.2", str(lost)), relay)] * len(recipients)
    dsn = "DSN" in connection.extensions
    unknown = Answer(Reply(421, "4.4.2", result.lost), relay, uncertain=True)
    return [unknown if reply is None else Answer(reply, relay, connection.peer, dsn=dsn) for reply in result.replies]


def _nothing_taken(said: Iterable[Answer]) -> bool:
    """The connection ended before anybody got an answer of his own."""
    return all(answer.reply.code == 421 and not answer.uncertain for answer in said)


def _no_room(answer: Answer) -> bool:
    """RFC 5321 4.5.3.1.10: too many recipients, the rest in another transaction."""
    return answer.reply.code == 452 and answer.reply.status in ("", "4.5.3")
