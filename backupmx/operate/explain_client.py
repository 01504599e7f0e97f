"""explain_client: what the door would hold against a client, for `backupmx explain`.

The same Clients and Abilities as the door's, asked once.  What only a
connection shows (who talks before the greeting) is told as what would happen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from backupmx.config import Config
from backupmx.journal import silent
from backupmx.mail.envelope import Client
from backupmx.mail.reply import Reply
from backupmx.net.dns import Resolver
from backupmx.operate.serve.policy import Files
from backupmx.operate.serve.worker import clients
from backupmx.receive.ability import Abilities
from backupmx.receive.limits import Networks
from backupmx.receive.policy.clients import Visit
from backupmx.receive.sender import Senders
from backupmx.route.primaries import Primaries


@dataclass(frozen=True, slots=True)
class AtTheDoor:
    """What would be said of the client, whoever the recipient is."""

    client: Client
    """With what the lists in the DNS say of it."""
    refusal: Reply | None
    told: tuple[str, ...]
    """For a person: what decided."""


async def at_the_door(
    config: Config, files: Files, resolver: Resolver, primaries: Primaries, client: Client, sender: str
) -> AtTheDoor:
    found = await _client(config, files, resolver, primaries, client, sender)
    if found.refusal is None and config.smtp.reject_unknown_sender_domain and not files.routes.is_ours(sender):
        doubt = await Senders(resolver).find(sender)
        if doubt is not None:
            told = (*found.told, f"{doubt.reply} [smtp.reject_unknown_sender_domain]")
            return AtTheDoor(found.client, doubt.reply, told)
    return found


async def _client(
    config: Config, files: Files, resolver: Resolver, primaries: Primaries, client: Client, sender: str
) -> AtTheDoor:
    policy = clients(files, resolver, silent())
    if policy is None:
        return AtTheDoor(client, None, ())
    spared = client.address in Networks(config.smtp.limit_exceptions)
    trusted = spared or primaries.is_primary_address(client.address)
    visit = policy.visit(client.address, trusted=trusted)
    if visit is None:
        entry = files.clients.access.lookup(client.address)
        allowed = entry.where if entry is not None and entry.action == "OK" else ""
        why = allowed or ("smtp.limit_exceptions" if spared else "it is a primary")
        return AtTheDoor(client, None, (f"nothing is held against it: {why}",))
    if visit.asks:
        await visit.ask()
    objection = visit.refusal(client, sender)
    told = tuple(_told(config, visit))
    if objection is None:
        return AtTheDoor(visit.seen(client), None, told)
    return AtTheDoor(client, objection.reply, (*told, f"{objection.reply} [{objection.setting}]"))


def unable(files: Files, primaries: Primaries, sender: str, recipient: str, size: int) -> Reply | None:
    """Its primary would not take it."""
    abilities = Abilities(files.routes.next_hop, lambda: primaries)
    inability = abilities.mail(size) or abilities.recipient(sender, recipient, size)
    return inability.reply if inability else None


def _told(config: Config, visit: Visit) -> Iterator[str]:
    listing = visit.listing
    if listing.hits:
        yield f"lists in the DNS: {listing.score} of {config.smtp.dnsbl_threshold} ({listing})"
    if config.smtp.pregreet != "off":
        yield f"waits {config.smtp.pregreet_wait:g} s for our greeting, if it was not here within a week"
