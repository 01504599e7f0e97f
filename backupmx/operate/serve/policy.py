"""policy: the operator's files, read and checked together.

`read_policy(config)` gives what the files say or raises ConfigTrouble with
the errors of all of them at once: a broken rule, a bad transport line and a
missing certificate are one list, not three restarts.  `read_all(path)` reads
the configuration first and tells its errors in the same list.  `serve`, SIGHUP
and `check config` all call it.  A command that needs one file reads that one
(`read_routes` and its sisters): what is wrong with the others does not stop it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from backupmx.check import milters
from backupmx.check.milters import Milters
from backupmx.check.run import Engines, engines
from backupmx.check.trouble import RulesTrouble
from backupmx.config import Config, ConfigTrouble, load
from backupmx.config.home import unreadable
from backupmx.journal import silent
from backupmx.net.tls import ServerTls, TlsTrouble
from backupmx.operate.serve.sources import sources
from backupmx.operate.serve.tables import TableTrouble, read_table
from backupmx.receive.policy import access, dnsbl
from backupmx.receive.policy.clients import ClientRules
from backupmx.recipients import known
from backupmx.recipients.known import Known, KnownTrouble
from backupmx.route import tls_policy, transport_map
from backupmx.route.routes import Routes
from backupmx.route.tls_policy import PolicyTrouble, TlsPolicies
from backupmx.route.transport_map import TransportTrouble
from backupmx.rules.engine import Tables
from backupmx.rules.table import EMPTY, Table

_T = TypeVar("_T")
_TROUBLES = (
    TableTrouble, TransportTrouble, KnownTrouble, TlsTrouble, PolicyTrouble, RulesTrouble, ValueError, OSError
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Files:
    """What the operator's files say."""

    tables: Tables
    routes: Routes
    known: Known | None
    """None: every address of a relay domain exists, as with an empty relay_recipient_maps."""
    tls: ServerTls | None
    """None: STARTTLS is not offered."""
    relay_tls: TlsPolicies
    """Which TLS the next hops want."""
    engines: Engines
    clients: ClientRules
    """What is held against clients."""
    warnings: tuple[str, ...]
    """Rules that could not be used and were skipped (rules.strict = false)."""


def read_policy(config: Config) -> Files:
    """Everything the configuration names.  Raises ConfigTrouble."""
    errors: list[str] = []

    def attempt(read: Callable[[], _T], instead: _T) -> _T:
        try:
            return read()
        except _TROUBLES as trouble:
            errors.extend(_sentences(trouble))
            return instead

    def table(spec: str) -> Table:
        return attempt(lambda: read_table(config.table(spec)), EMPTY) if spec else EMPTY

    tables = Tables(*map(table, config.rules.specs))
    warnings = tables.warnings
    if config.rules.strict:
        errors.extend(map(_refused, warnings))
    routes = attempt(lambda: _routes(config), None)
    recipients = attempt(lambda: _known(config), None)
    tls = attempt(lambda: read_tls(config), None)
    relay_tls = attempt(lambda: _relay_tls(config), TlsPolicies())
    ready = attempt(lambda: engines(config), Engines())
    clients = attempt(lambda: read_clients(config), ClientRules())
    attempt(lambda: milters.build(config, silent()), None)
    attempt(lambda: bool(sources(config)), False)  # can they be fetched here at all?
    if errors or routes is None:
        raise ConfigTrouble(list(dict.fromkeys(errors)))  # one file may be several tables
    warnings += routes.map.warnings + relay_tls.warnings
    return Files(tables, routes, recipients, tls, relay_tls, ready, clients, warnings)


def read_all(path: Path) -> tuple[Config, Files]:
    """The configuration and every file it names.  Raises ConfigTrouble with the errors of all of them."""
    try:
        config = load(path)
    except ConfigTrouble as trouble:
        if trouble.rest is None:
            raise
        try:
            read_policy(trouble.rest)
        except ConfigTrouble as more:
            raise ConfigTrouble([*trouble.errors, *more.errors], trouble.rest) from None
        raise
    try:
        return config, read_policy(config)
    except ConfigTrouble as trouble:
        raise ConfigTrouble(trouble.errors, config) from None


def read_routes(config: Config) -> Routes:
    """transport.map alone, for a command.  Raises ConfigTrouble."""
    return _alone(lambda: _routes(config))


def read_known(config: Config) -> Known | None:
    """relay_recipients alone, for a command.  Raises ConfigTrouble."""
    return _alone(lambda: _known(config))


def read_relay_tls(config: Config) -> TlsPolicies:
    """What the relay wants of TLS alone, for a command.  Raises ConfigTrouble."""
    return _alone(lambda: _relay_tls(config))


def read_engines(config: Config) -> Engines:
    """Engines with their rules alone, for a command.  Raises ConfigTrouble."""
    return _alone(lambda: engines(config))


def read_milters(config: Config) -> Milters:
    """[[milter]] alone, for a command.  Raises ConfigTrouble."""
    return _alone(lambda: milters.build(config, silent()))


def _alone(read: Callable[[], _T]) -> _T:
    try:
        return read()
    except _TROUBLES as trouble:
        raise ConfigTrouble(_sentences(trouble)) from None


def _refused(warning: str) -> str:
    """A table's own words are Postfix's, which skips the rule; here nothing is skipped."""
    return re.sub(r": (?:skipping|ignoring) this rule$", ": this rule cannot be used", warning)


def _sentences(trouble: Exception) -> list[str]:
    if isinstance(trouble, OSError):
        return [f"{trouble.filename}: {unreadable(trouble)}"]
    return list(getattr(trouble, "errors", None) or [str(trouble)])


def _routes(config: Config) -> Routes:
    """transport.map; `hash:` and other map types before the path are Postfix's business, the text file is ours."""
    path = config.policy_path(_without_type(config.relay.transport_map))
    map = transport_map.parse(_text(path), str(path), delimiter=config.relay.recipient_delimiter)
    if not (config.relay.relay_domains or map.relay_domains()):
        raise TransportTrouble([f"{path}: names no domain, so we would take mail for none; add a line for each"])
    return Routes(map, config.relay.relay_domains, config.relay.postmaster)


def _known(config: Config) -> Known | None:
    recipients = _without_type(config.relay.relay_recipients)
    return known.read(config.policy_path(recipients)) if recipients else None


def read_tls(config: Config) -> ServerTls | None:
    smtp = config.smtp
    if not smtp.tls_chain_files:
        return None
    sni_map = config.policy_path(smtp.tls_sni_map) if smtp.tls_sni_map else None
    files = [config.policy_path(file) for file in smtp.tls_chain_files]
    return ServerTls(files, sni_map)


def _relay_tls(config: Config) -> TlsPolicies:
    """relay.tls_level, and the file of exceptions from it.  Raises PolicyTrouble."""
    relay = config.relay
    ca_file = config.policy_path(relay.tls_ca_file) if relay.tls_ca_file else None
    policies = tls_policy.level(relay.tls_level, ca_file)
    if not relay.tls_policy_map:
        return policies
    path = config.policy_path(_without_type(relay.tls_policy_map))
    return tls_policy.parse(_text(path), str(path), policies, ca_file=ca_file, folder=path.parent)


def read_clients(config: Config) -> ClientRules:
    """What [smtp] holds against clients, and its own list of them.  Raises AccessTrouble, SiteTrouble."""
    smtp = config.smtp
    same = {f.name: getattr(smtp, f.name) for f in fields(ClientRules) if f.name in type(smtp).model_fields}
    list_of_ours = access.Access()
    if smtp.client_access:
        path = config.policy_path(smtp.client_access.removeprefix("cidr:"))
        list_of_ours = access.parse(_text(path), str(path))
    sites = dnsbl.parse(smtp.dnsbl_sites, smtp.dnsbl_reply_map)
    return ClientRules(hostname=config.hostname, access=list_of_ours, sites=sites, **same)


def _without_type(spec: str) -> str:
    kind, colon, path = spec.partition(":")
    return path if colon and kind in ("hash", "btree", "lmdb", "texthash", "cdb", "dbm") else spec


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")
