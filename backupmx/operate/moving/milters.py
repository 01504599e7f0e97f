"""Pure.  milters: smtpd_milters -> [[milter]], and the built-in checks that could take their place.

    unix:/path, local:/path     relative paths begin in queue_directory
    inet:HOST:PORT, inet:PORT
    { inet:HOST:PORT, connect_timeout=10s, default_action=accept }

Every milter stays a milter: its program has its own configuration, which nobody
can read from here (whom clamav-milter spares, what spamass-milter rejects).  The
built-in check that could replace it is proposed below it; both together would do
the work twice, so where a milter scans, our own engine starts switched off.
"""

import re
from collections.abc import Collection

from backupmx.operate.moving import tables, units
from backupmx.operate.moving.postfix_cf import Main, split
from backupmx.operate.moving.translation import Fate, Translation, Value

_ACTIONS = {
    "accept": "accept",
    "reject": "reject",
    "tempfail": "defer",
    "quarantine": "quarantine",
    "shutdown": "defer",
}
_TIMEOUTS = ("connect_timeout", "command_timeout", "content_timeout")
_KNOWN = (
    ("clam|clmilter", "clamav-milter"), ("spamass", "spamass-milter"), ("opendkim|dkim", "opendkim"),
    ("dmarc", "opendmarc"),
    ("milter-manager", "milter-manager"), ("rspamd|:11332$", "rspamd"),
    ("grey", "milter-greylist"), ("amavis", "amavis"),
)  # fmt: skip
INSTEAD = {
    "clamav-milter": '[checks.virus] engine = "clamd", address = "unix:..." as in clamd.conf, asks clamd without it',
    "spamass-milter": '[checks.spam] engine = "spamd", address = "tcp:127.0.0.1:783" asks spamd without it',
    "opendkim": "signatures are verified by [checks.dkim], which is on: without it when it does nothing but verify",
    "opendmarc": 'DMARC is checked by [checks.dmarc], which is on; enforce = "reject" does as p=reject says',
    "rspamd": '[checks.spam] engine = "rspamd", address = "tcp:127.0.0.1:11333" asks rspamd without it',
    "milter-manager": "each milter can stand here itself: backupmx check services finds those that run",
}


def take(found: Translation, main: Main) -> None:
    named = tables.words(found, main, "smtpd_milters")
    taken: dict[str, str] = {}
    for word in named:
        inside = split(word[1:-1]) if word.startswith("{") else [word]
        address = _address(inside[0], main) if inside else ""
        if not address:
            found.leave(f"smtpd_milters: {word}", "no socket we understand; write unix:/PATH or inet:HOST:PORT")
            continue
        name = _name(address, taken.values())
        taken[address] = name
        _section(found, main, name, address, inside[1:])
    if named and (others := set(tables.words(found, main, "non_smtpd_milters")) - set(named)):
        found.leave(f"non_smtpd_milters: {', '.join(sorted(others))}", "no mail begins here")
    if maps := tables.value(found, main, "smtpd_milter_maps"):
        found.leave(
            f"smtpd_milter_maps = {maps}", "every client meets the same milters; smtp.client_access spares some"
        )
    _engines(found, set(taken.values()))


def _section(found: Translation, main: Main, name: str, address: str, options: list[str]) -> None:
    own = {key.strip(): text.strip() for key, _, text in (option.partition("=") for option in options)}
    action = own.get("default_action") or tables.value(found, main, "milter_default_action")
    section: dict[str, Value] = {
        "name": name,
        "address": address,
        "on_error": _ACTIONS.get(action.split(" ")[0], "defer"),
    }
    for timeout in _TIMEOUTS:
        text = own.get(timeout) or (
            tables.value(found, main, f"milter_{timeout}") if f"milter_{timeout}" in main else ""
        )
        if duration := units.duration(text, "s"):
            section[timeout] = duration
    instead = INSTEAD.get(name, "")
    found.sections.append(("milter", section, f"instead: {instead}" if instead else ""))
    why = (
        ""
        if action in ("accept", "reject", "tempfail", "quarantine")
        else f"milter_default_action {action} is defer here"
    )
    ours = f"[[milter]] {name}, on_error = {section['on_error']}"
    found.say(Fate.CHANGED if why else Fate.TAKEN, f"smtpd_milters: {address}", ours, why or _why(name))


def _why(name: str) -> str:
    return "kept, its own configuration cannot be seen from here" if name in INSTEAD else ""


def _engines(found: Translation, names: set[str]) -> None:
    """Nothing is scanned twice."""
    spam = names & {"spamass-milter", "rspamd", "milter-manager", "amavis"}
    virus = names & {"clamav-milter", "milter-manager", "amavis"}
    if virus:
        found.settings["checks.virus.engine"] = "off"
        found.origins["checks.virus.engine"] = f"{', '.join(sorted(virus))} does it"
    if spam:
        found.settings["checks.spam.engine"] = "off"
        found.origins["checks.spam.engine"] = f"{', '.join(sorted(spam))} does it"


def _address(word: str, main: Main) -> str:
    kind, _, place = word.partition(":")
    if kind in ("unix", "local") and place:
        return f"unix:{place if place.startswith('/') else main.get('queue_directory') + '/' + place}"
    if kind in ("inet", "inet6"):
        host, _, port = place.rpartition(":")
        host = host.strip("[]") or "127.0.0.1"
        if not port.isdigit() and "@" in place:  # libmilter's own way to write it
            port, _, host = place.partition("@")
        host = f"[{host}]" if ":" in host else host
        return f"inet:{host}:{port}" if port.isdigit() else ""
    return ""


def _name(address: str, names: Collection[str]) -> str:
    place = address.lower()
    known = next((name for pattern, name in _KNOWN if re.search(pattern, place)), "")
    plain = known or re.sub(r"[^A-Za-z0-9._-]", "-", re.sub(r"\.(sock|socket|ctl)$", "", address.rpartition("/")[2]))
    plain = plain.strip("-")[:50] or "milter"
    return plain if plain not in names else f"{plain}-{len(names) + 1}"
