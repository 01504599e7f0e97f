"""Pure.  unspoken: what has no counterpart here, what is so anyway, and what nobody spoke of.

Every parameter that main.cf sets is in one of these: translated (translate), named
below with its reason, about Postfix as a program, a variable that others name, or
listed as not known here.
"""

import re
from collections.abc import Iterator

from backupmx.operate.moving import restrictions, tables
from backupmx.operate.moving.postfix_cf import Main
from backupmx.operate.moving.translation import Fate, Translation

_WITHOUT = {
    "virtual_alias_maps": "addresses are not rewritten: the primary does it. Addresses that only this map knows belong"
    " into relay.relay_recipients",
    "virtual_alias_domains": "nothing is delivered or rewritten here",
    "virtual_mailbox_domains": "nothing is delivered here: give their domains a line in transport.map",
    "virtual_mailbox_maps": "nothing is delivered here",
    "canonical_maps": "addresses are not rewritten",
    "sender_canonical_maps": "addresses are not rewritten",
    "recipient_canonical_maps": "addresses are not rewritten",
    "masquerade_domains": "addresses are not rewritten",
    "smtp_generic_maps": "addresses are not rewritten",
    "relocated_maps": "the primary says who has moved",
    "content_filter": "a milter or a built-in check scans before we say 250: no bounces for what a filter refuses",
    "always_bcc": "no copies; the primary can",
    "sender_bcc_maps": "no copies; the primary can",
    "recipient_bcc_maps": "no copies; the primary can",
    "smtp_header_checks": "header_checks see what milters and checks add: a second table on the way out is not needed",
    "smtp_mime_header_checks": "no rules on the way out",
    "smtp_nested_header_checks": "no rules on the way out",
    "smtp_body_checks": "no rules on the way out",
    "smtp_fallback_relay": "a second next hop stands in transport.map: smtp:[first], [second]",
    "fallback_relay": "a second next hop stands in transport.map: smtp:[first], [second]",
    "sender_dependent_relayhost_maps": "routes are by recipient",
    "sender_dependent_default_transport_maps": "routes are by recipient",
    "smtp_sasl_password_maps": "we do not log in to a primary: let it know our address",
    "smtp_tls_CApath": "write the CAs into one file: relay.tls_ca_file",
    "smtpd_sasl_auth_enable": "nobody sends through a secondary: no AUTH",
    "smtp_destination_rate_delay": "relay.max_rate = messages a second",
    "default_destination_rate_delay": "relay.max_rate = messages a second",
    "smtpd_upstream_proxy_protocol": "smtp.proxy_protocol_from names the proxies' addresses",
    "postscreen_upstream_proxy_protocol": "smtp.proxy_protocol_from names the proxies' addresses",
    "smtpd_tls_ask_ccert": "client certificates mean nothing here",
    "smtpd_command_filter": "commands are not rewritten",
    "smtpd_reject_footer": "replies are bland and carry our queue id",
    "mailbox_command": "nothing is delivered here",
    "home_mailbox": "nothing is delivered here",
    "luser_relay": "nothing is delivered here",
    "mailbox_transport": "nothing is delivered here",
    "fast_flush_domains": "ETRN works for each of our domains: smtp.etrn_from",
}
_SO_ANYWAY = {
    "soft_bounce": "what the primary refuses is held: relay.on_refusal",
    "disable_vrfy_command": "VRFY tells nothing",
    "smtpd_helo_required": "nothing is taken without a greeting",
    "strict_rfc821_envelopes": "envelopes are strict",
    "smtp_send_xforward_command": "relay.forward_client is auto: XCLIENT or XFORWARD where the primary offers it",
    "unverified_recipient_reject_code": "recipients.verify",
    "smtp_tls_session_cache_database": "sessions are kept in memory",
    "smtpd_tls_session_cache_database": "tickets need no cache",
    "smtpd_tls_loglevel": "TLS is logged",
    "smtp_tls_loglevel": "TLS is logged",
    "smtpd_tls_received_header": "TLS stands in Received",
    "smtpd_tls_auth_only": "no AUTH",
}
_ITS_OWN = (
    "_directory", "_program", "compatibility_level", "command_", "daemon_", "setgid_group", "mail_owner",
    "queue_run", "default_privs", "alias_", "biff", "mailbox_size_limit", "readme", "html_", "manpage_",
    "sample_", "meta_", "shlib_", "sendmail_path", "newaliases_path", "mailq_path", "append_dot_mydomain",
    "append_at_myorigin", "myorigin", "mydomain", "myhostname", "debug", "debugger",
    "unknown_local_recipient_reject_code", "local_recipient_maps", "maillog_", "syslog_", "inet_",
    "smtpd_banner", "default_process_limit", "mydestination", "mynetworks", "smtputf8_enable", "mail_version",
    "mail_name", "import_environment", "export_environment", "parent_domain_matches", "relay_", "relayhost",
    "transport_maps", "smtpd_tls_", "smtp_tls_", "tls_", "milter_", "smtpd_milter", "non_smtpd_milters",
    "postscreen_", "smtp_bind_", "smtp_helo_name", "smtp_host_lookup", "smtpd_forbid_", "smtpd_recipient_limit",
    "smtpd_authorized_x", "lmtp_", "proxy_read", "smtpd_peername_lookup", "disable_dns_lookups", "smtp_dns_",
    "stress", "notify_classes", "bounce_", "double_bounce",
)  # fmt: skip
_NAMED = re.compile(r"\$[{(]?\s*([A-Za-z0-9_]+)")


def take(found: Translation, main: Main, translated: set[str]) -> None:
    spoken = translated | {remark.postfix.split(" ")[0].rstrip(":,") for remark in found.remarks}
    spoken |= {*restrictions.LISTS, "smtpd_milters", "smtpd_use_tls"}
    spoken |= {match[1] for text in main.values.values() for match in _NAMED.finditer(text)}
    prefixes = tuple(_directories(found, main))
    for name in main.values:
        if name in _WITHOUT:
            if tables.value(found, main, name) not in ("", "no", "0", "0s"):
                found.leave(name, _WITHOUT[name])
        elif name in _SO_ANYWAY:
            found.say(Fate.TAKEN, name, "", _SO_ANYWAY[name])
        elif name not in spoken and not _of_the_program(name) and not name.startswith(prefixes or ("/",)):
            found.leave(name, "not known here; does something depend on it?")
    _local(found, main)


def _directories(found: Translation, main: Main) -> Iterator[str]:
    """ldap:NAME has its settings in main.cf, as NAME_server_host."""
    for table in tables.specs(tables.words(found, main, "relay_recipient_maps")):
        if table.kind in tables.ANSWERS and "/" not in table.name:
            yield f"{table.name}_"


def _of_the_program(name: str) -> bool:
    return any(name.endswith(part) if part.startswith("_") else name.startswith(part) for part in _ITS_OWN)


def _local(found: Translation, main: Main) -> None:
    if "mydestination" not in main:
        return
    name, domain = (tables.value(found, main, each) for each in ("myhostname", "mydomain"))
    usual = {name, domain, "localhost", f"localhost.{domain}", "localhost.localdomain"}
    if local := set(tables.words(found, main, "mydestination")) - usual:
        why = "nothing is delivered here: give them a line in transport.map"
        found.leave(f"mydestination: {', '.join(sorted(local))}", why)
