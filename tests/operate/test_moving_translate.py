"""operate/moving: what of a Postfix configuration is taken, changed, or has no counterpart."""

import errno
from collections.abc import Mapping

import pytest

from backupmx.operate.moving.postfix_cf import DEFAULTS, parse_main, parse_master
from backupmx.operate.moving.translate import translate
from backupmx.operate.moving.translation import Fate, Translation

PLAIN = "smtp inet n - n - - smtpd\n"


def translated(main: str, files: Mapping[str, str] | None = None, master: str = PLAIN) -> Translation:
    def read(name: str) -> bytes:
        if files is None or name not in files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
        return files[name].encode()

    defaults = {**DEFAULTS, "mydomain": "example.net"}
    return translate(parse_main(main, defaults), parse_master(master), read, here="mx2.example.net", yara=False)


def said(found: Translation, fate: Fate) -> str:
    return "\n".join(f"{r.postfix} -> {r.ours}: {r.why}" for r in found.remarks if r.fate is fate)


@pytest.mark.parametrize(
    ("main", "key", "value"),
    [
        ("message_size_limit = 20971520", "smtp.message_size_limit", "20MiB"),
        ("message_size_limit = 20000001", "smtp.message_size_limit", 20000001),
        ("maximal_queue_lifetime = 10", "queue.lifetime", "10d"),
        ("minimal_backoff_time = 300", "queue.retry_min", "300s"),
        ("delay_warning_time = 4", "queue.delay_warning", "4h"),
        ("mynetworks = [::ffff:127.0.0.0]/104 [::1]/128", "smtp.limit_exceptions", ("::1/128",)),
        ("smtpd_client_restrictions = reject_rbl_client z.test=127.0.0.2", "smtp.dnsbl_sites", ("z.test=127.0.0.2",)),
        ("smtpd_sender_restrictions = permit_mynetworks reject_non_fqdn_sender", "smtp.reject_non_fqdn_sender", True),
        ("smtpd_recipient_restrictions = reject_unverified_recipient", "recipients.verify", True),
        ("smtp_tls_security_level = dane", "relay.tls_level", "may"),
        ("smtp_tls_security_level = verify", "relay.tls_level", "verify"),
        ("smtp_bind_address = 192.0.2.7\nsmtp_bind_address6 = [::7]", "relay.bind_address", "192.0.2.7, ::7"),
        ("smtpd_forbid_bare_newline = reject", "smtp.forbid_bare_newline", "reject"),
        ("smtpd_client_connection_count_limit = 10", "smtp.client_connection_limit", 10),
        ("inet_protocols = ipv4", "smtp.listen", ("0.0.0.0:25",)),
        ("smtpd_tls_cert_file = /c\nsmtpd_tls_key_file = /k\nsmtpd_use_tls=yes", "smtp.tls_chain_files", ("/k", "/c")),
        ("smtp_helo_name = out.example.net", "relay.helo_name", "out.example.net"),
    ],
)  # fmt: skip
def test_a_setting_becomes_ours(main: str, key: str, value: object) -> None:
    """Each Postfix setting with a counterpart becomes it, with its unit."""
    assert translated(f"myhostname = mx2.example.net\n{main}\n").settings[key] == value


@pytest.mark.parametrize(
    ("main", "words"),
    [
        ("content_filter = smtp-amavis:[127.0.0.1]:10024", "content_filter -> : a milter"),
        ("smtpd_recipient_restrictions = check_policy_service unix:private/policy", "policy services are not asked"),
        ("smtpd_client_restrictions = warn_if_reject reject_unknown_client_hostname", "only warned of"),
        ("transport_maps = mysql:/etc/postfix/t.cf", "transport_maps = mysql:/etc/postfix/t.cf"),
        ("transport_maps = hash:/gone", "/gone cannot be read"),
        ("relay_recipient_maps = pgsql:/x", "a command that prints all addresses"),
        ("header_checks = pcre:/gone", "/gone cannot be read"),
        ("strange_new_thing = 1", "strange_new_thing -> : not known here"),
        ("relay_domains = $a\na = $relay_domains", "relay_domains leads back to itself"),
        ("smtpd_milters = unix:", "no socket we understand"),
    ],
)
def test_what_has_no_counterpart_is_said(main: str, words: str) -> None:
    """What cannot be taken, with the reason; also files that are not there and values without end."""
    assert words in said(translated(main), Fate.NONE)


def test_the_services_own_settings_count() -> None:
    """What master.cf sets for the service on port 25 is what that service did."""
    master = "smtp inet n - n - - smtpd -o smtpd_milters=inet:127.0.0.1:8891\nsubmission inet n - n - - smtpd\n"
    found = translated("smtpd_milters = unix:/run/other.sock\n", master=master)
    assert [section["address"] for _, section, _ in found.sections] == ["inet:127.0.0.1:8891"]
    assert "master.cf: submission" in said(found, Fate.NONE)


def test_milters_keep_their_own_options() -> None:
    """A milter in braces has its own action and time limits; the others those of main.cf."""
    main = (
        "milter_default_action = accept\nmilter_connect_timeout = 9s\nqueue_directory = /var/spool/postfix\n"
        "smtpd_milters = unix:spamass/spamass.sock, { inet:[::1]:8891, default_action=quarantine,"
        " connect_timeout=3s }\n"
    )
    first, second = (settings for _, settings, _ in translated(main).sections)
    assert first == {
        "name": "spamass-milter", "address": "unix:/var/spool/postfix/spamass/spamass.sock", "on_error": "accept",
        "connect_timeout": "9s",
    }  # fmt: skip
    assert (second["address"], second["on_error"], second["connect_timeout"]) == ("inet:[::1]:8891", "quarantine", "3s")


def test_nothing_is_scanned_twice() -> None:
    """Where a milter scans, our own engine is off; else the built-in ones are there."""
    found = translated("smtpd_milters = unix:/var/run/clamav/clmilter.sock")
    assert (found.settings["checks.virus.engine"], found.settings["checks.spam.engine"]) == ("off", "builtin")


def test_several_tables_are_one_file() -> None:
    """Postfix asks its tables one after the other: so the lines of one file."""
    files = {"/a": "one.example smtp:[a.example]\n", "/b": "two.example smtp:[b.example]\n"}
    found = translated("transport_maps = hash:/a, inline:{ three.example=smtp:[c.example] }, proxy:texthash:/b", files)
    (map,) = (copy.content for copy in found.copies if copy.name == "transport.map")
    assert map.decode().split() == [
        "one.example", "smtp:[a.example]", "three.example", "smtp:[c.example]", "two.example", "smtp:[b.example]",
    ]  # fmt: skip


def test_a_relayhost_is_the_last_line() -> None:
    """Domains that no line names go where relayhost says, and stay ours by relay_domains."""
    found = translated("relay_domains = example.jp\nrelayhost = [hub.example.net]:2525")
    (map,) = (copy.content for copy in found.copies if copy.name == "transport.map")
    assert map == b"*\tsmtp:[hub.example.net]:2525\n"
    assert found.settings["relay.relay_domains"] == ("example.jp",)


def test_a_directory_becomes_a_list() -> None:
    """An ldap: table of one question becomes a search for all addresses, its password a file of its own."""
    text = "server_host = ldap.example\nsearch_base = dc=x\nquery_filter = (|(mail=%s)(alias=%u@%d))\nbind_dn = cn=a\n"
    files = {"/l.cf": text + "bind_pw = s3\n"}
    found = translated("relay_recipient_maps = ldap:/l.cf", files)
    ((_, section, _),) = found.sections
    assert (section["filter"], section["attributes"]) == ("(|(mail=*)(alias=*))", ("mail", "alias"))
    assert [(c.name, c.content) for c in found.copies if c.secret] == [("ldap-1.password", b"s3\n")]
