"""Pure.  translate: a whole Postfix configuration -> Translation.

What is set in main.cf and not spoken of below is listed too: an operator should
learn it here, not by a mail that went another way.
"""

from collections.abc import Callable, Mapping, Sequence

from backupmx.operate.moving import milters, restrictions, routing, tables, units, unspoken
from backupmx.operate.moving.postfix_cf import Main, Service
from backupmx.operate.moving.tables import Read
from backupmx.operate.moving.translation import Copy, Fate, Translation, Value

_POLICY = ("header_checks", "mime_header_checks", "nested_header_checks", "body_checks", "milter_header_checks")

_SIMPLE: Mapping[str, tuple[str, Callable[[str], Value | None]]] = {
    "message_size_limit": ("smtp.message_size_limit", lambda text: _size(text)),
    "maximal_queue_lifetime": ("queue.lifetime", lambda text: units.duration(text, "d") or None),
    "minimal_backoff_time": ("queue.retry_min", lambda text: units.duration(text, "s") or None),
    "maximal_backoff_time": ("queue.retry_max", lambda text: units.duration(text, "s") or None),
    "delay_warning_time": ("queue.delay_warning", lambda text: units.duration(text, "h") or None),
    "queue_minfree": ("queue.min_free", lambda text: _size(text)),
    "smtpd_timeout": ("smtp.timeout", lambda text: units.duration(text, "s") or None),
    "recipient_delimiter": ("relay.recipient_delimiter", lambda text: text or None),
    "smtpd_client_connection_count_limit": ("smtp.client_connection_limit", units.number),
    "smtpd_client_connection_rate_limit": ("smtp.client_connection_rate_limit", units.number),
    "smtpd_client_message_rate_limit": ("smtp.client_message_rate_limit", units.number),
    "smtpd_client_recipient_rate_limit": ("smtp.client_recipient_rate_limit", units.number),
    "smtpd_client_new_tls_session_rate_limit": ("smtp.client_new_tls_session_rate_limit", units.number),
    "smtpd_client_ipv6_prefix_length": ("smtp.client_ipv6_prefix_length", units.number),
    "smtp_tls_CAfile": ("relay.tls_ca_file", lambda text: text or None),
}
_ZERO_IS_OFF = ("queue_minfree", "delay_warning_time")


def translate(main: Main, services: Sequence[Service], read: Read, *, here: str, yara: bool) -> Translation:
    """`here`: this machine's own name, for a main.cf that has none; `yara`: its engine is installed."""
    found = Translation()
    door = _door(services)
    screened = any(service.command == "postscreen" for service in services)
    main = main.over(door.options) if door else main
    _who(found, main, here)
    _listen(found, main, services)
    found.settings.update({"checks.virus.engine": "yara" if yara else "off", "checks.spam.engine": "builtin"})
    routing.take(found, main, read)
    for name, (key, convert) in _SIMPLE.items():
        _simple(found, main, name, key, convert)
    _networks(found, main)
    restrictions.take(found, main, read, screened=screened)
    _tls_in(found, main, read)
    _tls_out(found, main, read)
    _rules(found, main, read)
    milters.take(found, main)
    _odds(found, main)
    unspoken.take(found, main, {*_SIMPLE, *_POLICY})
    return found


def _door(services: Sequence[Service]) -> Service | None:
    """The smtpd(8) strangers reach: on port 25, or behind postscreen."""
    doors = [s for s in services if s.command == "smtpd" and _port(s) in ("smtp", "25", "smtpd")]
    return doors[0] if doors else None


def _port(service: Service) -> str:
    return service.name.rpartition(":")[2]


def _who(found: Translation, main: Main, here: str) -> None:
    name = tables.value(found, main, "myhostname") if "myhostname" in main else ""
    if "." in name:
        found.take("hostname", name, "myhostname")
    elif "." in here and "localhost" not in here:
        found.take(
            "hostname", here, "myhostname", "main.cf has no whole name: it is this machine's. Is it the one in the MX?"
        )
    else:
        why = "main.cf has no whole name: write the one that the MX records have"
        found.take("hostname", f"{name or here.partition('.')[0] or 'mx2'}.example.net", "myhostname", why)
        found.origins["hostname"] = "CHANGE this"
    found.settings |= {"state_dir": "/var/spool/backupmx", "user": "backupmx"}
    helo = tables.value(found, main, "smtp_helo_name") if "smtp_helo_name" in main else ""
    if helo and helo != found.settings["hostname"]:
        found.take("relay.helo_name", helo, "smtp_helo_name")


def _listen(found: Translation, main: Main, services: Sequence[Service]) -> None:
    protocols = tables.words(found, main, "inet_protocols")
    four, six = ("all" in protocols or "ipv4" in protocols), ("all" in protocols or "ipv6" in protocols)
    every = [*(["0.0.0.0:25"] if four else []), *(["[::]:25"] if six else [])]
    listen: list[str] = []
    for word in tables.words(found, main, "inet_interfaces"):
        if word == "loopback-only":
            listen += ["127.0.0.1:25"]
        elif word == "all":
            listen += every
        elif units.network(word):
            listen.append(f"[{word.strip('[]')}]:25" if ":" in word else f"{word}:25")
        else:
            found.leave(f"inet_interfaces: {word}", "write its address into smtp.listen")
    if listen and listen != ["0.0.0.0:25", "[::]:25"]:
        found.take("smtp.listen", tuple(dict.fromkeys(listen)), "inet_interfaces, inet_protocols")
    for service in services:
        if service.kind == "inet" and service.command == "smtpd" and _port(service) not in ("smtp", "25"):
            found.leave(f"master.cf: {service.name}", "submission and other ports: nobody sends through a secondary")


def _simple(found: Translation, main: Main, name: str, key: str, convert: Callable[[str], Value | None]) -> None:
    if name not in main:
        return
    text = tables.value(found, main, name)
    if text == "0" and name in _ZERO_IS_OFF:
        return
    value = convert(text)
    if value is not None:
        found.take(key, value, f"{name} = {text}")
    elif text:
        found.leave(f"{name} = {text}", f"not understood; see {key}")


def _size(text: str) -> Value | None:
    octets = units.number(text)
    return None if octets is None else units.size(octets)


def _networks(found: Translation, main: Main) -> None:
    if "mynetworks" not in main:
        return
    good: list[str] = []
    bad: list[str] = []
    for word in tables.words(found, main, "mynetworks"):
        network = units.network(word)
        (good if network else bad).append(network or word)
    good = [network for network in good if not network.startswith("::ffff:")]  # as IPv4 with us
    if good:
        why = "spared by limits and client policy, and nothing more: nobody sends through a secondary"
        found.take("smtp.limit_exceptions", tuple(good), "mynetworks", why)
    if bad:
        found.leave(f"mynetworks: {', '.join(bad)}", "write the networks themselves into smtp.limit_exceptions")


def _tls_in(found: Translation, main: Main, read: Read) -> None:
    level = tables.value(found, main, "smtpd_tls_security_level")
    chain = tables.words(found, main, "smtpd_tls_chain_files")
    origin = "smtpd_tls_chain_files" if chain else "smtpd_tls_cert_file, smtpd_tls_key_file"
    if not chain:
        for key, cert in (
            ("smtpd_tls_key_file", "smtpd_tls_cert_file"),
            ("smtpd_tls_eckey_file", "smtpd_tls_eccert_file"),
        ):
            files = [tables.value(found, main, key), tables.value(found, main, cert)]
            if files[1] and files[1] != "none":
                chain += list(dict.fromkeys(files))
    if not chain:
        return
    if level in ("", "none") and tables.value(found, main, "smtpd_use_tls") != "yes":
        found.leave(origin, "smtpd_tls_security_level is none, so it was not used; smtp.tls_chain_files takes it")
        return
    found.take("smtp.tls_chain_files", tuple(chain), origin)
    if level == "encrypt":
        found.leave("smtpd_tls_security_level = encrypt", "STARTTLS is offered, not demanded (RFC 3207 section 4)")
    if content := tables.joined(found, main, "tls_server_sni_maps", read):
        tables.copied(found, "smtp.tls_sni_map", "tls_sni.map", content, "tls_server_sni_maps")


_LEVELS = {
    "dane": ("may", "DANE wants DNSSEC and a library we do not have: verify in relay.tls_policy_map is as sure"),
    "dane-only": (
        "encrypt",
        "DANE wants DNSSEC and a library we do not have: verify in relay.tls_policy_map is as sure",
    ),
    "fingerprint": ("encrypt", "fingerprints stand in relay.tls_policy_map"),
}


def _tls_out(found: Translation, main: Main, read: Read) -> None:
    level = tables.value(found, main, "smtp_tls_security_level")
    if level in ("none", "may", "encrypt", "verify", "secure"):
        found.take("relay.tls_level", level, f"smtp_tls_security_level = {level}")
    elif level in _LEVELS:
        found.take("relay.tls_level", _LEVELS[level][0], f"smtp_tls_security_level = {level}", _LEVELS[level][1])
    else:
        why = "not set: Postfix relays in clear. Here TLS is used where the primary offers it (relay.tls_level = may)"
        found.say(Fate.CHANGED, "smtp_tls_security_level", "relay.tls_level", why)
    if content := tables.joined(found, main, "smtp_tls_policy_maps", read):
        tables.copied(found, "relay.tls_policy_map", "tls_policy", content, "smtp_tls_policy_maps")


def _rules(found: Translation, main: Main, read: Read) -> None:
    for name in _POLICY:
        if name not in main:
            continue
        named = tables.specs(tables.words(found, main, name))
        if not named:
            if not main.raw(name):  # else what is wrong with it was said
                found.take(f"rules.{name}", "", f"{name} is empty")
            continue
        if not (kind := tables.one_kind(named, ("pcre", "regexp"))):
            found.leave(f"{name} = {', '.join(map(str, named))}", "one file, pcre: or regexp:; join them")
            continue
        _rule_file(found, name, kind, [table.name for table in named], read)
    if found.settings.get("rules.header_checks"):
        _differences(found, main)


def _rule_file(found: Translation, name: str, kind: str, files: list[str], read: Read) -> None:
    try:
        content = b"\n".join(read(file) for file in files)
    except OSError as error:
        tables.unread(found, f"{name} = {kind}:{', '.join(files)}", str(error.filename), error)
        return
    same = next((copy.name for copy in found.copies if copy.content == content), "")
    if not same:
        found.copies.append(Copy(name, content))
    prefix = "" if kind == "pcre" else "regexp:"
    found.take(f"rules.{name}", f"{prefix}{same or name}", f"{name} = {kind}:{', '.join(files)}")


def _differences(found: Translation, main: Main) -> None:
    """What changes for rules that were written for Postfix, without a line of theirs changing."""
    if "milter_header_checks" not in main:
        why = 'not set: what milters add passed no rule. Here it passes header_checks; write "" for as it was'
        found.say(Fate.CHANGED, "milter_header_checks", "rules.milter_header_checks", why)
    for name in ("mime_header_checks", "nested_header_checks"):
        if name not in main:
            why = "not set: attached messages passed header_checks. Here they are left alone"
            found.say(Fate.CHANGED, name, f"rules.{name}", why)


def _odds(found: Translation, main: Main) -> None:
    _bind(found, main)
    limit = (
        units.number(tables.value(found, main, "smtpd_recipient_limit")) if "smtpd_recipient_limit" in main else None
    )
    if limit is not None:
        found.take(
            "smtp.recipient_limit", max(100, limit), "smtpd_recipient_limit", "" if limit >= 100 else "at least 100"
        )
    bare = tables.value(found, main, "smtpd_forbid_bare_newline")
    if bare == "reject":
        found.take("smtp.forbid_bare_newline", "reject", "smtpd_forbid_bare_newline")
    elif bare in ("no", "note"):
        found.say(
            Fate.CHANGED,
            f"smtpd_forbid_bare_newline = {bare}",
            "smtp.forbid_bare_newline",
            "normalized here: CVE-2023-51764",
        )
    trusted = [units.network(word) for word in tables.words(found, main, "smtpd_authorized_xclient_hosts")]
    if trusted and all(trusted):
        found.take("smtp.xclient_from", tuple(trusted), "smtpd_authorized_xclient_hosts")
    elif trusted:
        found.leave("smtpd_authorized_xclient_hosts", "write the addresses themselves into smtp.xclient_from")
    if "message_size_limit" not in main:
        why = "not set: Postfix has 10240000. Here 50MiB are taken: at least what the primary takes"
        found.say(Fate.CHANGED, "message_size_limit", "smtp.message_size_limit", why)
    if found.settings.get("relay.relay_recipients") is None and not any(
        s[0] == "recipients.source" for s in found.sections
    ):
        why = "without a list everybody in a relay domain exists, and the primary refuses later: see recipients.md"
        found.leave("relay_recipient_maps", why)


def _bind(found: Translation, main: Main) -> None:
    names = [name for name in ("smtp_bind_address", "smtp_bind_address6") if tables.value(found, main, name)]
    if names:
        addresses = ", ".join(tables.value(found, main, name).strip("[]") for name in names)
        found.take("relay.bind_address", addresses, ", ".join(names))
