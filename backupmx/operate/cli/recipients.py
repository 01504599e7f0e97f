"""recipients: who exists, from which list, how old; fetch a list, or look at what fetching would change."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from backupmx.config import Config, ConfigTrouble
from backupmx.mail.address import Malformed, check, domain_of
from backupmx.operate.cli.domains import folded, require_ours
from backupmx.operate.cli.options import config_option, json_option, load_config, say, write_json
from backupmx.operate.measures import ago
from backupmx.operate.serve.identity import become_owner_of
from backupmx.recipients.known import Known
from backupmx.recipients.source import Source, SourceTrouble
from backupmx.recipients.standing import Decision, Knowledge, Standing, decide, judge
from backupmx.recipients.store import FILE, Store, StoreTrouble
from backupmx.recipients.sync import Difference, look, sync

Act = Callable[[Source, Store], Difference]

_SHOWN = 20
"""Addresses of a difference that a person is shown; --json has all."""

_MEANS = {
    Decision.ACCEPT: "taken",
    Decision.REJECT: "refused, 550 5.1.1",
    Decision.DEFER: "put off, 450",
    Decision.ASK: "asked of the primary, 450 without an answer",
}
_WHILE_UP = {
    "defer": "clients are told to use it, 450",
    "verify": "it is asked about each recipient",
}


@click.group("recipients")
def command() -> None:
    """Who exists: lists, their age, what primaries said."""


@command.command("list")
@click.argument("domains", nargs=-1, metavar="[DOMAIN]…")
@click.option("--addresses", is_flag=True, help="Every address that a list has, one a line.")
@config_option
@json_option
def list_(domains: tuple[str, ...], addresses: bool, config_file: str | None, as_json: bool) -> None:
    """How many are known in each relay domain, from where, how old, and what happens to an unknown address."""
    from backupmx.operate.serve.policy import read_known

    config = load_config(config_file)
    require_ours(config, domains)
    wanted = [folded(domain) for domain in domains]
    with _store(config) as store:
        known = read_known(config)
        if addresses:
            _print_addresses(config, known, store, wanted, as_json)
            return
        for one in overview(config, known, store, wanted):
            if as_json:
                write_json(one)
            else:
                _print_domain(one)


@command.command("show")
@click.argument("address")
@config_option
@json_option
def show(address: str, config_file: str | None, as_json: bool) -> None:
    """What is known of one address, and what the door says to it.  Status 1: it is not known to exist."""
    from backupmx.operate.serve.policy import read_known
    from backupmx.operate.serve.sources import recipients

    config = load_config(config_file)
    try:
        address = check(address)
    except Malformed as error:
        raise click.UsageError(f"{address}: {error}; write user@domain") from None
    require_ours(config, [domain_of(address)])
    with _store(config) as store:
        ruling = recipients(config, read_known(config), store).rule(address, can_ask=True)
    knowledge, decision = ruling.knowledge, ruling.decision
    if as_json:
        write_json(
            {"address": address, "standing": knowledge.standing, "source": knowledge.source,
             "at": knowledge.at and int(knowledge.at), "said": knowledge.said, "decision": decision}
        )  # fmt: skip
    else:
        say(f"{address}: {told(knowledge)}; {_MEANS[decision]}")
    sys.exit(0 if knowledge.standing.exists else 1)


@command.command("sync")
@click.argument("names", nargs=-1, metavar="[SOURCE]…")
@click.option("--confirm", is_flag=True, help="Take a list although much of the last one is missing in it.")
@config_option
@json_option
def sync_(names: tuple[str, ...], confirm: bool, config_file: str | None, as_json: bool) -> None:
    """Fetch these lists (none named: all that can be fetched) and take them."""
    config = load_config(config_file)

    def take(source: Source, store: Store) -> Difference:
        return sync(source, store, max_shrink=config.recipients.max_shrink, now=time.time(), confirmed=confirm)

    sys.exit(_each(config, names, as_json, take))


@command.command("diff")
@click.argument("names", nargs=-1, metavar="[SOURCE]…")
@config_option
@json_option
def diff(names: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """Fetch these lists and show what would change; nothing is taken."""
    sys.exit(_each(load_config(config_file), names, as_json, look, shows=True))


@command.command("import")
@click.argument("name", metavar="SOURCE")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--confirm", is_flag=True, help="Take a list although much of the last one is missing in it.")
@config_option
@json_option
def import_(name: str, file: TextIO, confirm: bool, config_file: str | None, as_json: bool) -> None:
    """Bring a list by hand: FILE has "user@domain" or "@domain" a line, as a Postfix map has; `-` is standard input."""
    from backupmx.recipients.source_import import ImportedSource

    config = load_config(config_file)
    try:
        lines = file.readlines()
    except UnicodeDecodeError:
        raise click.ClickException(f"{file.name}: not UTF-8") from None

    def take(source: Source, store: Store) -> Difference:
        brought = ImportedSource(source.name, source.domains, _suffixes(config, source.name), lines)
        return sync(brought, store, max_shrink=config.recipients.max_shrink, now=time.time(), confirmed=confirm)

    sys.exit(_each(config, (name,), as_json, take))


def overview(config: Config, known: Known | None, store: Store, wanted: list[str]) -> Iterator[dict[str, object]]:
    """One object a relay domain: the sources that speak for it, their age, what happens to an unknown address."""
    from backupmx.operate.serve.policy import read_routes
    from backupmx.operate.serve.sources import lists, recipients

    now, who, states, settings = time.time(), recipients(config, known, store), store.states(), lists(config)
    for domain in read_routes(config).relay_domains:
        if wanted and domain not in wanted:
            continue
        name = domain.lstrip(".")
        sources, asked = who.lists_of(name), settings.asked(name)
        listed = {address for one in sources for address in _addresses(one.name, known, store)}
        unknown = judge(sources, "", None, asked, now).standing
        yield {
            "domain": domain,
            "known": sum(domain_of(address) == name for address in listed),
            "taught": sum(1 for _, one in store.taught(name) if one.exists and one.stands(now)),
            "sources": [
                {"name": one.name, "synced": one.synced and int(one.synced), "fresh": one.fresh(now),
                 "error": states[one.name].error if one.name in states else ""}
                for one in sources
            ],
            "unknown": decide(unknown, settings.otherwise(name), asked),
            "verify": asked,
            "when_primary_up": config.relay.mode_of(name),
        }  # fmt: skip


def told(knowledge: Knowledge) -> str:
    """Pure.  What is known, as a sentence."""
    age = f", {ago(time.time() - knowledge.at)} old" if knowledge.at else ""
    words = {
        Standing.LISTED: f"listed by {knowledge.source}{age}",
        Standing.TAUGHT: f"taken by {knowledge.source}{age.replace(' old', ' ago')}",
        Standing.ABSENT: f"in no list of its domain ({knowledge.source}{age})",
        Standing.UNTAUGHT: f"refused by {knowledge.source}{age.replace(' old', ' ago')}: {knowledge.said}",
        Standing.UNSURE: f"in no list, and {knowledge.source or 'nothing'} is fresh enough to say no{age}",
        Standing.UNLISTED: "nobody was named who knows this domain's recipients",
    }
    return words[knowledge.standing]


def _print_domain(one: dict[str, object]) -> None:
    say(f"{one['domain']}: {one['known']} listed, {one['taught']} taken by the primary lately;"
               f" an unknown address is {_MEANS[Decision(str(one['unknown']))]}")  # fmt: skip
    if one["when_primary_up"] != "accept":
        say(f"    while the primary is up: {_WHILE_UP[str(one['when_primary_up'])]}")
    sources = one["sources"]
    for source in sources if isinstance(sources, list) else ():
        age = f"{ago(time.time() - source['synced'])} old" if source["synced"] else "never fetched"
        stale = "" if source["fresh"] else ", STALE"
        say(f"    {source['name']}: {age}{stale}{'; ' + source['error'] if source['error'] else ''}")
    if not sources and one["verify"]:
        say("    no list; the primary is asked while it is not down")
    elif not sources:
        say("    no source: name relay.relay_recipients or a [[recipients.source]]")


def _print_addresses(config: Config, known: Known | None, store: Store, wanted: list[str], as_json: bool) -> None:
    names = [*((known.name,) if known else ()), *(one.name for one in config.recipients.source)]
    for name in names:
        for address in _addresses(name, known, store):
            if wanted and domain_of(address) not in wanted:
                continue
            if as_json:
                write_json({"address": address, "source": name})
            else:
                say(address)


def _addresses(name: str, known: Known | None, store: Store) -> Iterator[str]:
    if known is not None and name == known.name:
        yield from known
    else:
        yield from store.addresses(name)


def _each(config: Config, names: tuple[str, ...], as_json: bool, act: Act, *, shows: bool = False) -> int:
    """-> exit status: 1 when one failed"""
    status = 0
    with _store(config) as store:
        for source in _named(config, names):
            try:
                change = act(source, store)
            except SourceTrouble as trouble:
                say(f"backupmx: {trouble}", err=True)
                status = 1
            else:
                _print_change(source.name, change, as_json, shows)
    return status


def _print_change(name: str, change: Difference, as_json: bool, shows: bool) -> None:
    if as_json:
        write_json(
            {"source": name, "before": change.before, "after": change.after, "elsewhere": change.elsewhere,
             "added": sorted(change.added), "removed": sorted(change.removed)}
        )  # fmt: skip
        return
    say(f"{name}: {change.after} addresses, {len(change.added)} new, {len(change.removed)} gone")
    if not shows:
        return
    for sign, addresses in (("+", change.added), ("-", change.removed)):
        for address in sorted(addresses)[:_SHOWN]:
            say(f"  {sign} {address}")
        if len(addresses) > _SHOWN:
            say(f"  {sign} and {len(addresses) - _SHOWN} more")


def _named(config: Config, names: tuple[str, ...]) -> list[Source]:
    from backupmx.operate.serve.sources import sources

    by_name = {source.name: source for source in sources(config)}
    if strange := [name for name in names if name not in by_name]:
        say(f"backupmx: no [[recipients.source]] is called {', '.join(strange)}", err=True)
        sys.exit(1)
    if not names and not any(source.every for source in by_name.values()):
        say("backupmx: no [[recipients.source]] that can be fetched", err=True)
    return [by_name[name] for name in names] or [source for source in by_name.values() if source.every]


def _suffixes(config: Config, name: str) -> tuple[str, ...]:
    return next(one.suffixes for one in config.recipients.source if one.name == name)


@contextmanager
def _store(config: Config) -> Iterator[Store]:
    """recipients.db as the owner of the state directory.  Raises ConfigTrouble."""
    become_owner_of(config.state_path(""))
    try:
        with Store(config.state_path(FILE)) as store:
            yield store
    except StoreTrouble as trouble:
        raise ConfigTrouble([str(trouble)]) from None
