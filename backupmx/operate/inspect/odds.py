"""Pure.  odds: settings that are each right and cannot work together, or with what this machine has.

Each is one sentence: both settings, what comes of it, what to write instead.
Nothing here stops a start: mail flows, and one of the two says nothing, or
refuses what the other promises.

Why not errors?  A setting that has no effect loses no mail, and a machine that
does not start does.
"""

from collections.abc import Iterator

from backupmx.check.milters import TOGETHER
from backupmx.config import Config, Smtp
from backupmx.operate.serve.descriptors import clients_of
from backupmx.receive.policy import dnsbl

_PATIENCE = 600.0
"""RFC 5321 4.5.3.2.6: so long a client waits for the reply to its final dot, then it sends the message again."""
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


def odds(config: Config, free: int | None = None, files: int | None = None) -> Iterator[str]:
    """`free`: octets on the queue's disk, `files`: descriptors a process may have; None: not known, or no limit."""
    yield from _talk(config.smtp)
    yield from _places(config.smtp, files)
    yield from _rates(config.smtp)
    yield from _everybody(config.smtp)
    yield from _checks(config)
    yield from _patience(config)
    yield from _sizes(config)
    yield from _disk(config, free)
    yield from _queue(config)
    yield from _recipients(config)


def _talk(smtp: Smtp) -> Iterator[str]:
    if smtp.timeout < 10:
        yield (
            f"smtp.timeout ({span(smtp.timeout)}) is so short that clients are disconnected while they think;"
            " RFC 5321 4.5.3.2.7 asks for 5m"
        )
    if smtp.pregreet != "off" and smtp.pregreet_wait >= smtp.timeout:
        yield (
            f"smtp.pregreet_wait ({span(smtp.pregreet_wait)}) is not less than smtp.timeout ({span(smtp.timeout)}):"
            " who waits for our greeting, as it should, is disconnected before it comes; raise smtp.timeout"
        )
    if smtp.tls_sni_map and not smtp.tls_chain_files:
        yield (
            "smtp.tls_sni_map says nothing without smtp.tls_chain_files: STARTTLS is not offered; name the certificate"
            " for clients that ask for no name"
        )
    most = sum(max(0, site.weight) for site in dnsbl.parse(smtp.dnsbl_sites))
    if smtp.dnsbl_sites and most < smtp.dnsbl_threshold:
        yield (
            f"smtp.dnsbl_threshold ({smtp.dnsbl_threshold}) is more than all smtp.dnsbl_sites weigh together ({most}):"
            " no client is ever listed; lower it, or give the sites weights"
        )


def _places(smtp: Smtp, files: int | None) -> Iterator[str]:
    if smtp.client_connection_limit > smtp.connection_limit:
        yield (
            f"smtp.client_connection_limit ({smtp.client_connection_limit}) is more than smtp.connection_limit"
            f" ({smtp.connection_limit}): one client can take every place of a worker; lower the first"
        )
    if files is not None and (most := clients_of(files)) < smtp.connection_limit:
        yield (
            f"smtp.connection_limit ({smtp.connection_limit}) is more than the {most} clients for which a process"
            f" started from here has descriptors ({files}, ulimit -Hn): the others wait unanswered; raise"
            " LimitNOFILE= or the limit of the service, or lower it"
        )


def _rates(smtp: Smtp) -> Iterator[str]:
    at_once, tls, messages, recipients = (
        smtp.client_connection_limit, smtp.client_new_tls_session_rate_limit, smtp.client_message_rate_limit,
        smtp.client_recipient_rate_limit,
    )  # fmt: skip
    if 0 < tls < at_once:
        yield (
            f"smtp.client_new_tls_session_rate_limit ({tls}) is less than smtp.client_connection_limit ({at_once}):"
            " a client that may connect so often is refused when all its connections ask for TLS; raise the first"
        )
    if 0 < recipients < smtp.recipient_limit:
        yield (
            f"smtp.client_recipient_rate_limit ({recipients}) is less than smtp.recipient_limit"
            f" ({smtp.recipient_limit}): one large message is more than a client may send in a minute; raise the first"
        )
    if 0 < recipients < messages:
        yield (
            f"smtp.client_message_rate_limit ({messages}) is more than smtp.client_recipient_rate_limit"
            f" ({recipients}), and no message is without a recipient: it is never reached; raise the second"
        )


def _everybody(smtp: Smtp) -> Iterator[str]:
    """A network with a prefix of no bits."""
    if any(network.endswith("/0") for network in smtp.limit_exceptions):
        yield (
            "smtp.limit_exceptions has every client in it, so that no smtp.client_…_limit and no client policy holds"
            " for any; name your own networks"
        )
    for setting in ("xclient_from", "proxy_protocol_from"):
        if any(network.endswith("/0") for network in getattr(smtp, setting)):
            yield (
                f"smtp.{setting} has every client in it: each may pretend to be any other, past every limit;"
                " name your own hosts"
            )


def _checks(config: Config) -> Iterator[str]:
    checks = config.checks
    if checks.deadline < 1:
        yield f"checks.deadline ({span(checks.deadline)}) is so short that no check has an answer by then; write 60s"
    engines = {"virus": bool(checks.virus.engines), "spam": checks.spam.engine in ("spamd", "rspamd")}
    for name, timeout in (("virus", checks.virus.timeout), ("spam", checks.spam.timeout)):
        if engines[name] and timeout > checks.deadline:
            yield (
                f"checks.{name}.timeout ({span(timeout)}) is more than checks.deadline ({span(checks.deadline)}),"
                " which ends the check before; raise the second or lower the first"
            )
    if checks.dmarc.enabled and not (checks.spf.enabled or checks.dkim.enabled):
        yield (
            "checks.dmarc has nothing to go by with checks.spf and checks.dkim off: no mail can pass"
            + (", and honest mail is treated as forged" if checks.dmarc.enforce != "off" else "")
            + "; switch one of them on, or checks.dmarc off"
        )


def _patience(config: Config) -> Iterator[str]:
    """What may pass between the final dot and our reply."""
    deadline = config.checks.deadline
    if deadline > _PATIENCE * 0.9:
        yield (
            f"checks.deadline ({span(deadline)}): clients wait ten minutes (RFC 5321 4.5.3.2.6), then send the message"
            " again; write 9m at most"
        )
    for milter in config.milter:
        if milter.content_timeout > TOGETHER:
            yield (
                f"milter {milter.name}: content_timeout ({span(milter.content_timeout)}) is more than the"
                f" {span(TOGETHER)} that all milters have together, as clients wait ten minutes; lower it"
            )
    milters = min(TOGETHER, sum(milter.content_timeout for milter in config.milter))
    if milters and deadline <= _PATIENCE * 0.9 and deadline + milters > _PATIENCE:
        yield (
            f"checks.deadline ({span(deadline)}) and the content_timeout of all milters ({span(milters)} together) are"
            " more than the ten minutes that clients wait (RFC 5321 4.5.3.2.6): they may send the message again;"
            " lower either"
        )


def _sizes(config: Config) -> Iterator[str]:
    largest, quarantine = config.smtp.message_size_limit, config.quarantine.max_size
    if largest == 0:
        yield "smtp.message_size_limit is 0: one message may fill the disk up to queue.min_free; set a limit"
    elif largest < 64 << 10:
        yield (
            f"smtp.message_size_limit ({size(largest)}) is less than the 64 KiB that every server has to take"
            " (RFC 5321 4.5.3.1.7); raise it"
        )
    if config.rules.discard == "quarantine" and quarantine < largest:
        yield (
            f"quarantine.max_size ({size(quarantine)}) is less than smtp.message_size_limit ({size(largest)}): larger"
            ' mail that a rule discards is not kept; raise it, or write rules.discard = "drop"'
        )


def _disk(config: Config, free: int | None) -> Iterator[str]:
    largest, floor, alarm = config.smtp.message_size_limit, config.queue.min_free, config.alarms.disk_free
    if largest and free is not None and free - floor < largest:
        yield (
            f"smtp.message_size_limit ({size(largest)}) is more than the queue's disk holds beyond"
            f" queue.min_free ({size(floor)}): {size(free)} are free, so large mail is put off; make room"
        )
    if 0 < alarm <= floor:
        yield (
            f"alarms.disk_free ({size(alarm)}) is not more than queue.min_free ({size(floor)}): mail is put off before"
            " anybody is told; raise the first"
        )


def _queue(config: Config) -> Iterator[str]:
    queue, timeouts = config.queue, config.relay.timeouts
    if queue.retry_min > queue.retry_max:
        yield (
            f"queue.retry_min ({span(queue.retry_min)}) is more than queue.retry_max ({span(queue.retry_max)}), which"
            " is then every wait; lower the first"
        )
    if queue.lifetime < queue.retry_max:
        yield (
            f"queue.lifetime ({span(queue.lifetime)}) is less than queue.retry_max ({span(queue.retry_max)}): mail is"
            " returned before it has waited so long once; raise the first (RFC 5321 4.5.4.1: 5d)"
        )
    if queue.delay_warning >= queue.lifetime:
        yield (
            f"queue.delay_warning ({span(queue.delay_warning)}) is not less than queue.lifetime"
            f" ({span(queue.lifetime)}): mail is returned before its sender is told of the delay; lower the first"
        )
    for phase in ("mail", "rcpt", "data", "block", "dot"):
        if (limit := getattr(timeouts, phase)) > timeouts.message:
            yield (
                f"relay.timeouts.{phase} ({span(limit)}) is more than relay.timeouts.message"
                f" ({span(timeouts.message)}), the time for a whole message; raise the second"
            )


def _recipients(config: Config) -> Iterator[str]:
    max_age = config.recipients.max_age
    for source in config.recipients.source:
        if 0 < max_age < source.every:
            yield (
                f"recipients.max_age ({span(max_age)}) is less than the every ({span(source.every)}) of"
                f" recipients.source {source.name}: its list is too old to say no before it is fetched anew; raise the"
                " first"
            )


def span(seconds: float) -> str:
    """As it is written in the file: "5d", "90s"."""
    for unit, name in _UNITS:
        if seconds and seconds % unit == 0:
            return f"{seconds / unit:g}{name}"
    return f"{seconds:g}s"


def size(octets: int) -> str:
    """As it is written in the file, rounded down: "50 MiB", "512 KiB"."""
    for shift, name in ((20, "MiB"), (10, "KiB")):
        if octets >> shift:
            return f"{octets >> shift} {name}"
    return f"{octets} B"
