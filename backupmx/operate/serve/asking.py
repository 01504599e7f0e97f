"""asking: what the door goes by while a primary is up, made of the configuration: whom it asks, whom it puts off.

    worker ─► verify      asks primaries by SMTP, as the relay speaks to them
           └► primary_up  relay.when_primary_up and what is known of the primaries' health

Both follow a reload: the settings of the one are replaced, the other is made anew.
"""

from collections.abc import Callable

from backupmx.config import Config
from backupmx.journal import Journal
from backupmx.operate.serve import sources
from backupmx.operate.serve.courier import relay_settings
from backupmx.operate.serve.policy import Files
from backupmx.receive.limits import Networks
from backupmx.receive.primary_up import Patience, PrimaryUp
from backupmx.recipients.probe import Heard, ProbeSettings, ProbeTrouble, probe
from backupmx.recipients.verify import Ask, Verify, VerifySettings
from backupmx.route import next_hop as hops
from backupmx.route.hosts import Resolver
from backupmx.route.primaries import Primaries


def asks(config: Config) -> bool:
    """Primaries are asked about recipients."""
    return config.recipients.verifies or config.relay.when_up("verify")


def verify(config: Config, files: Files, resolver: Resolver, journal: Journal) -> Verify:
    """One process's questions; without any of its own the store is not opened."""
    return Verify(sources.store(config), ask(config, files, resolver), verify_settings(config), journal)


def verify_settings(config: Config) -> VerifySettings:
    """Pure."""
    return VerifySettings(config.recipients.verify_wait, config.recipients.probe_rate)


def ask(config: Config, files: Files, resolver: Resolver) -> Ask:
    """How a question is put: with the relay's own name, address and TLS."""
    relay = relay_settings(config, files.relay_tls)
    settings = ProbeSettings(relay.helo, relay.bind, relay.tls)

    async def put(address: str, next_hop: str, *, stranger: bool) -> Heard:
        try:
            place = hops.parse(next_hop)
        except hops.HopTrouble as trouble:
            raise ProbeTrouble(str(trouble)) from None
        if not place.connects:
            raise ProbeTrouble(f"{next_hop} is nobody who could be asked")
        return await probe(address, place, resolver, settings, stranger=stranger)

    return put


def primary_up(
    config: Config, files: Files, primaries: Callable[[], Primaries], patience: Patience | None
) -> PrimaryUp | None:
    """None: nothing depends on whether a primary is up.  `primaries`: as they are known now."""
    relay = config.relay
    if not (asks(config) or relay.when_up("defer")):
        return None
    friends = Networks(config.smtp.limit_exceptions)
    return PrimaryUp(
        relay.when_primary_up,
        relay.when_primary_up_for,
        files.routes.next_hop,
        lambda hop: primaries().state(hop),
        spares=lambda address: address in friends or primaries().is_primary_address(address),
        patience=patience,
    )
