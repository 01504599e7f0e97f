"""Pure.  routing: what Postfix relays, where to, and for whom -> transport.map, relay_domains, recipients.

In Postfix relay_domains says what is ours and transport_maps where it goes.  Here
the domains of transport.map are ours unless relay.relay_domains says otherwise, so
it is left out where Postfix names the same table twice.
"""

from backupmx.operate.moving import directory, tables
from backupmx.operate.moving.postfix_cf import Main
from backupmx.operate.moving.tables import Read, Spec
from backupmx.operate.moving.translation import Copy, Fate, Translation
from backupmx.route.transport_map import TransportTrouble, parse

_NO_MAP = b"# No line: each domain of relay.relay_domains goes to its own MX hosts that are better than we are.\n"
_QUERIES = "a database that is asked at each message; write its lines into a file"


def take(found: Translation, main: Main, read: Read) -> None:
    content = tables.joined(found, main, "transport_maps", read, why_not=_QUERIES) + _fallback(found, main)
    found.copies.append(Copy("transport.map", content or _NO_MAP))
    named = tables.words(found, main, "transport_maps")
    found.take(
        "relay.transport_map", "transport.map", f"transport_maps = {', '.join(named)}" if named else "transport_maps"
    )
    _relay_domains(found, main, read, content)
    recipients(found, main, read)


def _fallback(found: Translation, main: Main) -> bytes:
    """relay_transport and relayhost: where all goes that no line names."""
    for name in ("relay_transport", "relayhost"):
        said = tables.value(found, main, name)
        transport, colon, hop = said.partition(":") if name == "relay_transport" else ("smtp", ":", said)
        if colon and hop.strip() and transport in ("smtp", "relay"):
            found.say(Fate.TAKEN, f"{name} = {said}", f"transport.map: * {transport}:{hop}")
            return f"*\t{transport}:{hop.strip()}\n".encode("utf-8", "surrogateescape")
    return b""


def _relay_domains(found: Translation, main: Main, read: Read, content: bytes) -> None:
    words = tables.words(found, main, "relay_domains")
    if not words:
        found.leave("relay_domains", "empty: this Postfix relays for no domain. Ours are now those of transport.map")
        return
    if set(words) <= set(tables.words(found, main, "transport_maps")):
        found.say(Fate.TAKEN, f"relay_domains = {', '.join(words)}", "relay.relay_domains = [], those of transport.map")
        return
    domains: list[str] = []
    for word in words:
        domains += _domains(found, tables.spec(word), read)
    if not domains:
        return  # said already: none of it can be read
    if set(domains) == set(_of(content)):
        found.say(Fate.TAKEN, "relay_domains", "relay.relay_domains = [], those of transport.map")
        return
    why = ""
    if "relay_domains" in tables.words(found, main, "parent_domain_matches_subdomains"):
        why = "Postfix takes mail for all their subdomains too (parent_domain_matches_subdomains);"
        why += " write .example.jp if you want that"
    found.take("relay.relay_domains", tuple(dict.fromkeys(domains)), "relay_domains", why)


def _of(content: bytes) -> tuple[str, ...]:
    try:
        return parse(content.decode("utf-8", "surrogateescape")).relay_domains()
    except TransportTrouble:
        return ()  # check config has the lines


def _domains(found: Translation, table: Spec, read: Read) -> list[str]:
    if not table.kind and "/" not in table.name:
        return [table.name.lower()]
    try:
        content = read(table.name) if not table.kind else tables.text_of(table, read)
    except OSError as error:
        tables.unread(found, f"relay_domains = {table}", table.name, error)
        return []
    if content is None:
        found.leave(f"relay_domains = {table}", "wants a list of names: write them into relay.relay_domains")
        return []
    return [key.lower() for key in tables.keys(content)]


def recipients(found: Translation, main: Main, read: Read) -> None:
    """relay_recipient_maps: files are one list, directories are fetched."""
    parts = []
    for table in tables.specs(tables.words(found, main, "relay_recipient_maps")):
        if table.kind == "ldap":
            directory.take(found, main, "relay_recipient_maps", table, read)
            continue
        said = f"relay_recipient_maps = {table}"
        try:
            content = tables.text_of(table, read)
        except OSError as error:
            tables.unread(found, said, table.name, error)
            continue
        if content is not None:
            parts.append(content)
            found.say(Fate.TAKEN, said, "relay.relay_recipients")
        elif table.kind in tables.ANSWERS:
            found.leave(said, "a [[recipients.source]] with a command that prints all addresses, one a line")
        else:
            found.leave(said, "patterns are no list of who exists; recipients.verify = true asks the primary")
    if parts:
        found.copies.append(Copy("relay_recipients", tables.end_to_end(parts)))
        found.settings["relay.relay_recipients"] = "relay_recipients"
        found.origins["relay.relay_recipients"] = "relay_recipient_maps"
