"""Pure.  restrictions: smtpd_*_restrictions and postscreen -> [smtp].

Restrictions stand in five lists with an order; here each is a switch.  Where a
list lets some clients through before it refuses others, that is smtp.client_access
(check_client_access with a cidr: table) and smtp.limit_exceptions (permit_mynetworks).
"""

from collections.abc import Iterator

from backupmx.operate.moving import tables, units
from backupmx.operate.moving.postfix_cf import Main
from backupmx.operate.moving.tables import Read
from backupmx.operate.moving.translation import Translation

LISTS = tuple(
    f"smtpd_{stage}_restrictions"
    for stage in ("client", "helo", "sender", "relay", "recipient", "data", "end_of_data", "etrn")
)
_SWITCHES = {
    "reject_unknown_sender_domain": "reject_unknown_sender_domain",
    "reject_invalid_helo_hostname": "reject_invalid_helo_hostname",
    "reject_invalid_hostname": "reject_invalid_helo_hostname",
    "reject_non_fqdn_helo_hostname": "reject_non_fqdn_helo_hostname",
    "reject_non_fqdn_hostname": "reject_non_fqdn_helo_hostname",
    "reject_unknown_reverse_client_hostname": "reject_unknown_reverse_client_hostname",
    "reject_unknown_client_hostname": "reject_unknown_client_hostname",
    "reject_unknown_client": "reject_unknown_client_hostname",
    "reject_non_fqdn_sender": "reject_non_fqdn_sender",
    "reject_unauth_pipelining": "reject_unauth_pipelining",
}
_ALWAYS = {
    "permit_mynetworks", "permit_sasl_authenticated", "reject_unauth_destination", "defer_unauth_destination",
    "permit_auth_destination", "reject_unlisted_recipient", "reject_non_fqdn_recipient", "permit", "reject",
    "reject_unknown_recipient_domain", "permit_tls_clientcerts", "permit_mx_backup",
}  # fmt: skip
"""What is so anyway: only mail for our domains is taken, from everybody, for recipients that exist."""
_WHY_NOT = {
    "check_policy_service": "policy services are not asked; SPF is checked here ([checks.spf]), greylisting is not"
    " done: who is greylisted here would only try the primary",
    "check_sender_access": "no access table for senders; a header_checks line may do",
    "check_helo_access": "no access table for greetings; smtp.reject_helo_as_us refuses those that use our name",
    "check_recipient_access": "no access table for recipients; relay.relay_recipients says who exists",
    "reject_unverified_sender": "senders are not called back",
    "reject_unknown_helo_hostname": "greetings are not looked up; reject_non_fqdn_helo_hostname is there",
    "reject_rhsbl_sender": "lists of domains are not asked; smtp.dnsbl_sites are for addresses",
    "reject_rhsbl_client": "lists of domains are not asked; smtp.dnsbl_sites are for addresses",
    "reject_rhsbl_helo": "lists of domains are not asked; smtp.dnsbl_sites are for addresses",
}
_ARGUED = ("check_", "reject_rbl_client", "reject_rhsbl_", "permit_dnswl_client", "permit_rhswl_client", "sleep")


def take(found: Translation, main: Main, read: Read, *, screened: bool) -> None:
    """`screened`: postscreen(8) listens."""
    sites: list[str] = []
    for parameter in LISTS:
        for name, argument in _restrictions(tables.words(found, main, parameter)):
            _one(found, parameter, name, argument, sites, read)
    if sites:
        found.take("smtp.dnsbl_sites", tuple(dict.fromkeys(sites)), "reject_rbl_client")
        found.take("smtp.dnsbl_action", "enforce", "reject_rbl_client refuses")
    if screened:
        _postscreen(found, main, bool(sites))


def _restrictions(words: list[str]) -> Iterator[tuple[str, str]]:
    """(name, argument); warn_if_reject stays in front of what it softens."""
    left = iter(words)
    for word in left:
        if word == "warn_if_reject":
            softened = next(left, "")
            yield "warn_if_reject", f"{softened} {next(left, '')}" if softened.startswith(_ARGUED) else softened
        else:
            yield word, next(left, "") if word.startswith(_ARGUED) else ""


def _one(found: Translation, parameter: str, name: str, argument: str, sites: list[str], read: Read) -> None:
    said = f"{parameter}: {f'{name} {argument}'.strip()}"
    if key := _SWITCHES.get(name):
        found.take(f"smtp.{key}", True, said)
    elif name == "reject_rbl_client":
        sites.append(argument)
    elif name == "permit_dnswl_client":
        sites.append(f"{argument}*-1")
    elif name == "check_client_access" and argument.startswith("cidr:"):
        _access(found, said, argument, read)
    elif name == "reject_unverified_recipient":
        found.take("recipients.verify", True, said)
    elif name == "warn_if_reject":
        found.leave(said, "only warned of, so it is left out")
    elif name == "check_client_access":
        found.leave(said, "only cidr: tables of networks; names of clients change too easily (smtp.client_access)")
    elif name not in _ALWAYS:
        found.leave(said, _WHY_NOT.get(name, "no such restriction here"))


def _access(found: Translation, said: str, argument: str, read: Read) -> None:
    table = tables.spec(argument)
    try:
        content = read(table.name)
    except OSError as error:
        tables.unread(found, said, table.name, error)
        return
    if "smtp.client_access" in found.settings:
        found.leave(said, "one list of clients; join the two files")
        return
    tables.copied(found, "smtp.client_access", "client_access", content, said)


def _postscreen(found: Translation, main: Main, listed: bool) -> None:
    sites = tables.words(found, main, "postscreen_dnsbl_sites")
    action = tables.value(found, main, "postscreen_dnsbl_action") or "ignore"
    if sites and listed:
        found.leave("postscreen_dnsbl_sites", "reject_rbl_client is taken; join the two in smtp.dnsbl_sites")
    elif sites:
        found.take("smtp.dnsbl_sites", tuple(sites), "postscreen_dnsbl_sites")
        found.take("smtp.dnsbl_action", "score" if action == "ignore" else "enforce", "postscreen_dnsbl_action")
        if (threshold := units.number(tables.value(found, main, "postscreen_dnsbl_threshold"))) is not None:
            found.take("smtp.dnsbl_threshold", max(1, threshold), "postscreen_dnsbl_threshold")
    greet = tables.value(found, main, "postscreen_greet_action") or "ignore"
    found.take("smtp.pregreet", "score" if greet == "ignore" else "enforce", f"postscreen_greet_action = {greet}")
    if (access := tables.words(found, main, "postscreen_access_list")) and access != ["permit_mynetworks"]:
        why = "write its networks into smtp.client_access: permit is OK, reject is REJECT"
        found.leave(f"postscreen_access_list = {', '.join(access)}", why)
    for name in (
        "postscreen_pipelining_enable",
        "postscreen_non_smtp_command_enable",
        "postscreen_bare_newline_enable",
    ):
        if tables.value(found, main, name) == "yes":
            found.leave(name, "deep protocol tests that greylist; bare newlines: smtp.forbid_bare_newline")
    if tables.words(found, main, "postscreen_dnsbl_reply_map"):
        found.leave("postscreen_dnsbl_reply_map", 'write smtp.dnsbl_reply_map = { "KEY.zone" = "zone" }')
