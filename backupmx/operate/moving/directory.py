"""Pure.  directory: an ldap: table of relay_recipient_maps -> [[recipients.source]].

Postfix asks the directory about one address; we fetch the list.  So the filter
(mail=%s) becomes (mail=*), and the attributes it compares with %s are those
whose values are addresses.

Standards: ldap_table(5).
"""

import re
from collections.abc import Mapping

from backupmx.operate.moving.postfix_cf import CfTrouble, Main, parse_main, split
from backupmx.operate.moving.tables import Read, Spec, unread
from backupmx.operate.moving.translation import Copy, Fate, Translation, Value

_COMPARED = re.compile(r"\(\s*([A-Za-z][A-Za-z0-9;-]*)\s*[~<>]?=\s*([^()]*%[suSUdD][^()]*)\)")
_FILTER = "(mailacceptinggeneralid=%s)"
# ldap_table(5): the default of query_filter.


def take(found: Translation, main: Main, parameter: str, table: Spec, read: Read) -> None:
    """A section [[recipients.source]], or why there is none."""
    try:
        settings = _settings(main, table, read)
        get = {name: settings.get(name) for name in _NAMES}
    except OSError as error:
        unread(found, f"{parameter} = {table}", table.name, error)
        return
    except CfTrouble as trouble:
        found.leave(f"{parameter} = {table}", str(trouble))
        return
    count = sum(name == "recipients.source" for name, _, _ in found.sections)
    name = f"ldap-{count + 1}"
    section = _section(name, get)
    if get["bind_pw"] and get["bind"] != "no":
        found.copies.append(
            Copy(f"{name}.password", get["bind_pw"].encode("utf-8", "surrogateescape") + b"\n", secret=True)
        )
        section["password_file"] = f"{name}.password"
    found.sections.append(("recipients.source", section, f"from {table}; wants the extra backupmx[ldap]"))
    why = "the whole list is fetched once an hour, so that it is known while the directory is away; try recipients diff"
    found.say(Fate.CHANGED, f"{parameter} = {table}", f"[[recipients.source]] {name}", why)


_NAMES = (
    "server_host", "server_port", "search_base", "query_filter", "domain", "bind", "bind_dn", "bind_pw", "start_tls",
    "tls_ca_cert_file",
)  # fmt: skip


def _settings(main: Main, table: Spec, read: Read) -> Main:
    """Of a file of its own, or of main.cf, ldap:NAME as NAME_server_host."""
    if "/" in table.name:
        return parse_main(read(table.name).decode("utf-8", "surrogateescape"), {})
    prefix = f"{table.name}_"
    own = {key.removeprefix(prefix): main.get(key) for key in main.values if key.startswith(prefix)}
    return Main(own, defaults={})


def _section(name: str, get: Mapping[str, str]) -> dict[str, Value]:
    query = get["query_filter"] or _FILTER
    attributes = tuple(dict.fromkeys(match[1] for match in _COMPARED.finditer(query)))
    section: dict[str, Value] = {
        "name": name,
        "ldap": _server(get),
        "base": get["search_base"] or "FILL-IN",
        "filter": re.sub(r"\*{2,}", "*", _COMPARED.sub(r"(\1=*)", query)),
        "attributes": attributes or ("mail",),
    }
    if domains := tuple(d for d in split(get["domain"]) if ":" not in d and "/" not in d):
        section["domains"] = domains
    if get["bind"] != "no" and get["bind_dn"]:
        section["bind_dn"] = get["bind_dn"]
    if get["start_tls"] == "yes":
        section["starttls"] = True
    if get["tls_ca_cert_file"]:
        section["ca_file"] = get["tls_ca_cert_file"]
    return section


def _server(get: Mapping[str, str]) -> str:
    """The first of several."""
    host = next(iter(split(get["server_host"])), "localhost")
    if "://" in host:
        return host
    port = get["server_port"]
    return f"ldap://{host}" + (f":{port}" if port and ":" not in host and port != "389" else "")
