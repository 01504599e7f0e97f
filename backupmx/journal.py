"""journal: every event an operator can see, one method each.

One event is one log line and one step of one counter.  The lines have
Postfix's shapes, so `grep QUEUEID` tells a message's life in order and
`pflogsumm --syslog-name=backupmx` counts right; `log.format = "json"` writes
the same events as JSON objects.  The programs named in the lines are those a
Postfix admin looks for: smtpd receives, cleanup judges, qmgr keeps, smtp
relays, bounce returns, master supervises.

    journal.delivered(...) ─► Nov 24 04:28:43 mx2 backupmx/smtp[611]: 4h...: to=<...>, ... status=sent (...)

How lines are written is logbook.py's.  Control bytes become "?".  An event
that could repeat for every message while something is broken is written once a
minute, with the number of times it was left out.

Nothing else in backupmx logs.

Beside the lines two things are kept for who asks later (operate/report/tally.py writes
them down): `counts`, by name and labels, as Prometheus has them; and `alarms`,
what is wrong now.  An event that says that something broke raises one, the
event that says that it is whole again clears it.
"""

import traceback
from bisect import bisect_left
from collections.abc import Sequence

from backupmx.logbook import (
    CHECK_TIME,
    CHECKS,
    DELIVERIES,
    EVENTS,
    FSYNC_STEPS,
    FSYNC_TIME,
    FSYNCS,
    LABELS,
    RULE_HITS,
    VERDICTS,
    Alarm,
    Key,
    Logbook,
)
from backupmx.mail.envelope import Client, Envelope, Tls
from backupmx.mail.reply import Reply

__all__ = [
    "CHECKS", "DELIVERIES", "EVENTS", "LABELS", "RULE_HITS", "VERDICTS", "Alarm", "Journal", "Key", "silent",
]  # fmt: skip

_FSYNCS_WITHIN = tuple((FSYNCS, str(step)) for step in FSYNC_STEPS)
_FSYNC_TIME = (FSYNC_TIME,)
_QUEUE_ALARM = 900.0
"""Seconds after which trouble with the queue that did not come again is over, though no mail came to prove it."""
_LOOP_ALARM = 7200.0
"""Twice the longest wait between two tries."""


class Journal(Logbook):
    """The events of one process."""

    # smtpd: the door

    def connected(self, client: Client) -> None:
        """A client connected."""
        self._write("connected", "smtpd", f"connect from {client}", client=str(client))

    def disconnected(self, client: Client, commands: str = "") -> None:
        """A client left; what it said, as Postfix counts it: "ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5"."""
        self._write("disconnected", "smtpd", f"disconnect from {client} {commands}".rstrip(), client=str(client))

    def lost(self, client: Client, after: str) -> None:
        """A client went away in the middle; `after` is the last command it gave."""
        self._write("lost", "smtpd", f"lost connection after {after} from {client}", client=str(client), after=after)

    def timed_out(self, client: Client, after: str, limit: float) -> None:
        """A client said nothing for longer than smtp.timeout, or its content came slower than 500 octets a second."""
        line = f"timeout after {after} from {client} [smtp.timeout={limit:g}s]"
        self._write("timed_out", "smtpd", line, client=str(client), after=after, limit=limit)

    def too_many_errors(self, client: Client, after: str, limit: int, junk_limit: int = 0) -> None:
        """A client went beyond the limit of errors (Postfix smtpd_hard_error_limit) and was disconnected.

        `junk_limit`: some of them were commands that are errors only beyond smtpd_junk_command_limit; 0: none was.
        """
        junk = f" junk_command_limit={junk_limit}" if junk_limit else ""
        line = f"too many errors after {after} from {client} [hard_error_limit={limit}{junk}]"
        self._write("too_many_errors", "smtpd", line, client=str(client), after=after, limit=limit)

    def proxied(self, proxy: str, client: str, how: str) -> None:
        """A proxy named the client for whom it speaks; `how`: PROXY or XCLIENT.  What follows is that client's."""
        self._write("proxied", "smtpd", f"{how} from {proxy}: client={client}", proxy=proxy, client=client, how=how)

    def no_header(self, proxy: str, why: str) -> None:
        """A connection from smtp.proxy_protocol_from did not begin with a PROXY header, and was dropped."""
        line = f"warning: dropped a connection from {proxy}: {why} [smtp.proxy_protocol_from]"
        self._seldom(f"no_header {proxy}", "no_header", "smtpd", line, proxy=proxy, why=why)

    def limited(self, limit: str, who: str, count: int, setting: str) -> None:
        """A client had more, or asked more often, than smtp.`setting` allows; once a minute for each."""
        line = f"warning: {limit} limit exceeded: {count} from {who} for service smtp [smtp.{setting}]"
        self._seldom(f"limit {setting} {who}", "limited", "smtpd", line, limit=setting, client=who, count=count)

    def pregreet(self, client: Client, seconds: float, said: bytes) -> None:
        """A client talked before our greeting (smtp.pregreet): a bot, most likely.  postscreen's line."""
        words = said[:100].decode("ascii", "replace").encode("unicode_escape").decode()
        line = f"PREGREET {len(said)} after {seconds:.2g} from [{client.address}]:{client.port}: {words}"
        self._write("pregreet", "postscreen", line, client=client.address, seconds=seconds, said=words)

    def pipelined(self, client: Client, after: str, said: bytes) -> None:
        """A client sent on behind its first greeting, before it could know that we pipeline.  postscreen's line."""
        words = said[:100].decode("ascii", "replace").encode("unicode_escape").decode()
        line = f"COMMAND PIPELINING from [{client.address}]:{client.port} after {after}: {words}"
        self._write("pipelined", "postscreen", line, client=client.address, after=after, said=words)

    def listed(self, client: Client, score: int, sites: str) -> None:
        """Lists in the DNS know a client whose mail is taken (smtp.dnsbl_sites).  postscreen's line, and the lists."""
        line = f"DNSBL rank {score} for [{client.address}]:{client.port} ({sites})"
        self._write("listed", "postscreen", line, client=client.address, score=score, sites=sites)

    def lists_all(self, zone: str) -> None:
        """A list in the DNS lists 127.0.0.1, hence everybody: it has no opinion.  Take it out of smtp.dnsbl_sites."""
        line = f"warning: {zone} lists 127.0.0.1, which no list may: it has no opinion until it stops"
        self._seldom(f"lists_all {zone}", "lists_all", "postscreen", line, zone=zone)

    def clients_trouble(self, why: str) -> None:
        """clients.db cannot be used: clients that were here before wait for the greeting once more."""
        self._seldom("clients.db", "clients_trouble", "smtpd", f"warning: {why}", why=why)

    def out_of_files(self, why: str) -> None:
        """No more clients can be taken: there are no file descriptors.  Raise LimitNOFILE= or the system's limit."""
        self._seldom("out_of_files", "out_of_files", "smtpd", f"error: no new clients: {why}", why=why)

    def secured(self, client: Client) -> None:
        """STARTTLS succeeded."""
        tls = client.tls
        words = f"{tls.version} with cipher {tls.cipher} ({tls.bits}/{tls.bits} bits)" if tls else "none"
        self._write(
            "secured", "smtpd", f"Anonymous TLS connection established from {client}: {words}", client=str(client)
        )

    def tls_failed(self, client: Client, why: str) -> None:
        """A STARTTLS handshake failed; the client usually comes again in clear."""
        self._write("tls_failed", "smtpd", f"SSL_accept error from {client}: {why}", client=str(client), why=why)

    def taken(self, queue_id: str, client: Client) -> None:
        """A first recipient was accepted: the message has its queue id."""
        self._write("taken", "smtpd", f"{queue_id}: client={client}", queue_id=queue_id, client=str(client))

    def refused(
        self,
        stage: str,
        client: Client,
        reply: Reply,
        *,
        sender: str = "",
        recipient: str = "",
        queue_id: str = "NOQUEUE",
        setting: str = "",
    ) -> None:
        """A command or a message got 4xx or 5xx.  `stage` is CONNECT, HELO, MAIL, RCPT, DATA or END-OF-MESSAGE.
        `setting`: the limit that was reached, "smtp.recipient_limit=1000"; it stands at the end, in brackets."""
        to = f" to=<{recipient}>" if recipient else ""
        who = f"from=<{sender}>{to} proto={client.protocol} helo=<{client.helo}>"
        text = f"{queue_id}: reject: {stage} from {client}: {reply}; {who}{f' [{setting}]' if setting else ''}"
        self._write(
            "refused", "smtpd", text, queue_id=queue_id, stage=stage, client=str(client), reply=str(reply),
            sender=sender, recipient=recipient, setting=setting,
        )  # fmt: skip

    def bug(self, where: str, error: BaseException) -> None:
        """Something we did not think of.  The peer read 451 4.3.0, nothing is lost; please report the traceback."""
        self.counters["bug"] += 1
        lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
        for line in (f"error: {where}: {type(error).__name__}", *lines):
            self._write("bug_line", "smtpd", line, where=where, text=line)

    # cleanup: rules and checks

    def message_id(self, queue_id: str, message_id: str) -> None:
        """The message's own name for itself."""
        line = f"{queue_id}: message-id={message_id or '<>'}"
        self._write("message_id", "cleanup", line, queue_id=queue_id, message_id=message_id)

    def ruled(
        self, queue_id: str, action: str, header: str, client: Client, envelope: Envelope,
        *, text: str = "", rule: str = "", where: str = "header",
    ) -> None:  # fmt: skip
        """A rule took an action that Postfix logs too.  `rule`: "header_checks:4"; `where`: header, body, or added."""
        first = envelope.recipients[0].address if envelope.recipients else ""
        kind = "milter-header-" if where == "added" else ""
        what = "body" if where == "body" else "header"
        word = "warning" if action == "warn" else action  # cleanup_act
        line = (
            f"{queue_id}: {kind}{word}: {what} {header[:200]} from {client}; from=<{envelope.sender}> to=<{first}>"
            f" proto={client.protocol} helo=<{client.helo}>{': ' + text if text else ''}{f' [{rule}]' if rule else ''}"
        )
        self._write("ruled", "cleanup", line, queue_id=queue_id, action=action, header=header, text=text, rule=rule)

    def counting(self, table: str, line: int, rule: str) -> None:
        """A rule is in force: from now on it is known how often it matches.  No line."""
        self._labelled.setdefault((RULE_HITS, table, str(line), rule), 0)

    def rule_hit(self, table: str, line: int, rule: str, times: int = 1) -> None:
        """A rule matched, whatever it does.  No line: those that Postfix logs are `ruled` too."""
        self._labelled[RULE_HITS, table, str(line), rule] += times

    def found(self, queue_id: str, check: str, engine: str, seen: str, detail: str, seconds: float) -> None:
        """What one check saw."""
        self._labelled[CHECKS, check, engine, str(seen)] += 1
        self._labelled[CHECK_TIME, check, engine] += round(seconds * 1000)
        line = f"{queue_id}: check: {check}={seen} engine={engine} ({detail}) {seconds * 1000:.0f}ms"
        self._write("found", "cleanup", line, queue_id=queue_id, check=check, engine=engine, seen=seen, detail=detail)

    def synced(self, seconds: float) -> None:
        """The queue waited for the disk: one commit, of however many messages.  No line."""
        self._labelled[_FSYNCS_WITHIN[bisect_left(FSYNC_STEPS, seconds)]] += 1
        self._labelled[_FSYNC_TIME] += round(seconds * 1e6)

    def judged(self, queue_id: str, fate: str, reason: str) -> None:
        """The verdict.  No line when it is accept: that message has the line of `queued`."""
        self._labelled[VERDICTS, str(fate)] += 1
        if fate == "accept":
            return
        self._write(
            "judged", "cleanup", f"{queue_id}: verdict: {fate} ({reason})", queue_id=queue_id, fate=fate, reason=reason
        )

    def rule_failed(self, trouble: str) -> None:
        """A pattern ran into its match limit and counted as no match, or an action's argument cannot be used."""
        self._seldom(f"rule {trouble}", "rule_failed", "cleanup", f"warning: {trouble}", trouble=trouble)

    def engine_down(self, engine: str, why: str) -> None:
        """An engine does not answer; `on_error` decides meanwhile."""
        self._raise(f"engine {engine}", f"{engine} is away: {why}")
        self._seldom(
            f"down {engine}", "engine_down", "cleanup", f"warning: {engine} is away: {why}", engine=engine, why=why
        )

    def engine_up(self, engine: str) -> None:
        """An engine answers again."""
        self.clear(f"engine {engine}")
        self._last.pop(f"down {engine}", None)
        self._write("engine_up", "cleanup", f"{engine} answers again", engine=engine)

    def milter_acted(
        self, queue_id: str, action: str, stage: str, said: str, client: Client, envelope: Envelope,
        *, milter: str, recipient: str = "",
    ) -> None:  # fmt: skip
        """A milter refused, discarded or held a message, or refused one recipient of it."""
        to = recipient or (envelope.recipients[0].address if envelope.recipients else "")
        line = (
            f"{queue_id}: milter-{action}: {stage} from {client}: {said}; from=<{envelope.sender}> to=<{to}>"
            f" proto={client.protocol} helo=<{client.helo}> [{milter}]"
        )
        self._write(
            "milter_acted", "cleanup", line,
            queue_id=queue_id, milter=milter, action=action, stage=stage, said=said, recipient=recipient,
        )  # fmt: skip

    def milter_remarked(self, queue_id: str, milter: str, remark: str) -> None:
        """A milter asked for something that is not done: a recipient outside our domains."""
        line = f"{queue_id}: warning: milter {milter}: {remark}"
        self._write("milter_remarked", "cleanup", line, queue_id=queue_id, milter=milter, remark=remark)

    # qmgr: the queue

    def queued(self, queue_id: str, sender: str, size: int, recipients: int, where: str = "queue active") -> None:
        """The message is on disk; the client reads 250 now.  `where`: "queue active", "hold" or "quarantine"."""
        self._alarms.pop("queue", None)
        line = f"{queue_id}: from=<{sender}>, size={size}, nrcpt={recipients} ({where})"
        self._write(
            "queued", "qmgr", line, queue_id=queue_id, sender=sender, size=size, recipients=recipients, where=where
        )

    def removed(self, queue_id: str) -> None:
        """All recipients have their end; the message is gone from the queue."""
        self._write("removed", "qmgr", f"{queue_id}: removed", queue_id=queue_id)

    def damaged(self, queue_id: str, why: str) -> None:
        """A queued message is not what was written; it is set aside (held), not delivered, not deleted."""
        self._write("damaged", "qmgr", f"{queue_id}: error: damaged, set aside: {why}", queue_id=queue_id, why=why)

    def unbalanced(self, sheet: str) -> None:
        """The account of all mail does not balance: recipients that were accepted are nowhere, or there are more than
        came in.  `sheet` names day and domain; `backupmx ledger` tells more."""
        self._raise("account", sheet)
        self._write("unbalanced", "qmgr", f"error: account: {sheet}", sheet=sheet)

    def queue_trouble(self, why: str) -> None:
        """Disk or database failed; clients read 451 or 452, the process goes on."""
        self._raise("queue", f"queue: {why}", _QUEUE_ALARM)
        self._seldom("queue", "queue_trouble", "qmgr", f"error: queue: {why}", why=why)

    def hop_down(self, next_hop: str, why: str, probe_in: float) -> None:
        """A next hop takes no connection; its mail waits for the next probe."""
        self._write(
            "hop_down", "qmgr", f"{next_hop} is down, next probe in {probe_in:.0f}s: {why}",
            next_hop=next_hop, why=why, probe_in=probe_in,
        )  # fmt: skip

    def hop_answers(self, next_hop: str, down_for: float) -> None:
        """A next hop takes connections again; what waits for it begins to go out.  It is not `up` yet."""
        self.clear(f"loop {next_hop}")
        line = f"{next_hop} answers again after {down_for:.0f}s: its mail goes out"
        self._write("hop_answers", "qmgr", line, next_hop=next_hop, down_for=down_for)

    def hop_up(self, next_hop: str, down_for: float) -> None:
        """A next hop has answered relay.up_after times in a row since it was down."""
        self.clear(f"loop {next_hop}")
        self._write("hop_up", "qmgr", f"{next_hop} is up after {down_for:.0f}s", next_hop=next_hop, down_for=down_for)

    def looped(self, next_hop: str, why: str) -> None:
        """A next hop leads back to ourselves: no mail can go there until DNS or transport.map is mended."""
        text = f"{next_hop}: {why}; mend DNS or transport.map"
        self._raise(f"loop {next_hop}", text, _LOOP_ALARM)
        self._seldom(f"loop {next_hop}", "looped", "qmgr", f"warning: {text}", next_hop=next_hop, why=why)

    def flushed(self, domains: Sequence[str], waiting: int, by: str = "") -> None:
        """An operator, or a primary (`by`, ETRN), asked for everything now."""
        what = ", ".join(domains) or "all domains"
        line = f"flush of {what}: {waiting} waiting{f', asked by {by}' if by else ''}"
        self._write("flushed", "qmgr", line, domains=list(domains), waiting=waiting, by=by)

    def list_synced(self, source: str, many: int, added: int, removed: int) -> None:
        """A list of recipients was fetched and is in force."""
        self._last.pop(f"list {source}", None)
        line = f"recipients: {source}: {many} addresses, {added} new, {removed} gone"
        self._write("list_synced", "qmgr", line, source=source, many=many, added=added, removed=removed)

    def list_failed(self, source: str, why: str) -> None:
        """A list of recipients could not be fetched, or was refused; the last good one stays."""
        self._seldom(f"list {source}", "list_failed", "qmgr", f"warning: recipients: {why}", source=source, why=why)

    def recipients_trouble(self, why: str) -> None:
        """What is known of recipients cannot be read or written; who cannot be looked up is put off, 451."""
        self._seldom("recipients", "recipients_trouble", "smtpd", f"warning: recipients: {why}", why=why)

    def probed(self, address: str, where: str, word: str, said: str) -> None:
        """A primary was asked whether it would take mail for an address: it exists, is unknown, or there was no answer
        that says so (silent)."""
        status = {"exists": "deliverable", "unknown": "undeliverable"}.get(word, "deferred")
        line = f"verify: to=<{address}>, relay={where}, status={status} ({said})"
        self._write("probed", "verify", line, address=address, relay=where, word=word, said=said)

    def probes_spent(self, next_hop: str, a_minute: float) -> None:
        """A next hop was asked about as many addresses as it may be; others are put off, 450, until there is room."""
        line = f"warning: verify: {next_hop} is asked {a_minute:g} times a minute, others wait [recipients.probe_rate]"
        self._seldom(f"probes {next_hop}", "probes_spent", "verify", line, next_hop=next_hop, a_minute=a_minute)

    # smtp: deliveries

    def delivered(self, queue_id: str, to: str, relay: str, delay: float, status: str, reply: str) -> None:
        """The next hop took it."""
        self._delivery("delivered", "sent", queue_id, to, relay, delay, status, reply)

    def deferred(self, queue_id: str, to: str, relay: str, delay: float, status: str, reason: str) -> None:
        """Not now; it is tried again."""
        self._delivery("deferred", "deferred", queue_id, to, relay, delay, status, reason)

    def kept_refused(self, queue_id: str, to: str, relay: str, delay: float, status: str, reason: str) -> None:
        """The primary said 5xx after our 250; the mail is held with its words (relay.on_refusal = "hold")."""
        self._delivery("kept_refused", "refused", queue_id, to, relay, delay, status, reason)

    def bounced(self, queue_id: str, to: str, relay: str, delay: float, status: str, reason: str) -> None:
        """It will not be delivered."""
        self._delivery("bounced", "bounced", queue_id, to, relay, delay, status, reason)

    def expired(self, queue_id: str, to: str, relay: str, delay: float, status: str, reason: str) -> None:
        """Older than queue.lifetime."""
        self._delivery("expired", "expired", queue_id, to, relay, delay, status, reason)

    def unreturned(self, queue_id: str, to: str, relay: str, delay: float, status: str, reason: str) -> None:
        """It will not be delivered, and its sender may not be told (relay.bounce_to, relay.bounce_rate): it lies in
        quarantine."""
        self._delivery("unreturned", "unreturned", queue_id, to, relay, delay, status, reason)

    def noticed(self, queue_id: str, notice_id: str) -> None:
        """The sender is told that mail was not delivered."""
        line = f"{queue_id}: sender non-delivery notification: {notice_id}"
        self._write("noticed", "bounce", line, queue_id=queue_id, notice_id=notice_id)

    def delay_noticed(self, queue_id: str, notice_id: str) -> None:
        """The sender is told that mail waits for longer than queue.delay_warning."""
        line = f"{queue_id}: sender delay notification: {notice_id}"
        self._write("delay_noticed", "bounce", line, queue_id=queue_id, notice_id=notice_id)

    def secured_to(self, relay: str, trust: str, tls: Tls) -> None:
        """STARTTLS to a next hop succeeded.  Untrusted: the certificate was not asked for; Verified: it is the one."""
        line = f"{trust} TLS connection established to {relay}: {tls.version} with cipher {tls.cipher}"
        self._write("secured_to", "smtp", f"{line} ({tls.bits}/{tls.bits} bits)", relay=relay, trust=trust)

    def tls_broken(self, relay: str, why: str) -> None:
        """STARTTLS to a next hop failed; at level `may` the mail goes in clear, for ten minutes."""
        self._write("tls_broken", "smtp", f"{why}; {relay} gets mail in clear", relay=relay, why=why)

    # master: the appliance

    def started(self, what: str) -> None:
        """The appliance or one of its processes runs."""
        self._write("started", "master", f"started: {what}", what=what)

    def stopped(self, what: str) -> None:
        """The appliance or one of its processes ended as it should."""
        self._write("stopped", "master", f"stopped: {what}", what=what)

    def died(self, what: str, how: str, again_in: float) -> None:
        """A process ended on its own; another takes its place."""
        self._raise(f"child {what}", f"{what} died: {how}; another takes its place")
        self._write("died", "master", f"error: {what} died: {how}; again in {again_in:.1f}s", what=what, how=how)

    def reloaded(self, what: str) -> None:
        """SIGHUP: the new policy is in force."""
        self.clear("reload")
        self._write("reloaded", "master", f"reload: {what}", what=what)

    def reload_failed(self, errors: Sequence[str]) -> None:
        """SIGHUP: the new files are wrong and the old policy stays in force."""
        self._raise("reload", f"reload failed, the old policy stays: {'; '.join(errors)}")
        for error in errors:
            self._write("reload_failed", "master", f"error: reload: the old policy stays: {error}", error=error)

    def warned(self, why: str) -> None:
        """Something an operator should mend when there is time."""
        self._seldom(f"warning {why}", "warned", "master", f"warning: {why}", why=why)

    # master: alarms that somebody is told

    def alarm_begins(self, key: str, text: str) -> None:
        """Something is wrong for longer than [alarms] bears; mail, webhook or command tell it too."""
        self._write("alarm_begins", "master", f"alarm: {text}", key=key, text=text)

    def alarm_over(self, key: str, text: str, lasted: float) -> None:
        """It has been over for alarms.calm."""
        line = f"alarm over after {lasted:.0f}s: {text}"
        self._write("alarm_over", "master", line, key=key, text=text, lasted=round(lasted))

    def alarm_untold(self, way: str, why: str) -> None:
        """Mail, webhook or command of [alarms] failed; it is tried again every half minute, told here once a minute."""
        line = f"warning: alarms.{way}: {why}"
        self._seldom(f"alarm_untold {way}", "alarm_untold", "master", line, way=way, why=why)

    # page: an operator's browser, and programs

    def ordered(self, by: str, what: str, on: str, many: int) -> None:
        """Somebody did something by the page or its API: "operator: delete 4hMh...: 1 recipient"."""
        line = f"{by}: {what} {on}: {many} recipient{'s' if many != 1 else ''}"
        self._write("ordered", "page", line, by=by, what=what, on=on, recipients=many)

    def page_refused(self, method: str, path: str, why: str) -> None:
        """The page did not answer: a wrong token, a name that is not ours, a form of another site; once a minute."""
        line = f"warning: {method} {path[:200]}: {why}"
        self._seldom(f"page_refused {why}", "page_refused", "page", line, method=method, path=path[:200], why=why)

    def page_trouble(self, why: str) -> None:
        """The page cannot be served now; it is tried again, and the mail goes on."""
        self._raise("page", f"page: {why}")
        self._seldom("page", "page_trouble", "page", f"warning: no page: {why}", why=why)

    # the one shape of each kind, and the one way out

    def _delivery(
        self, event: str, word: str, queue_id: str, to: str, relay: str, delay: float, status: str, text: str
    ) -> None:
        self._labelled[DELIVERIES, word] += 1
        self._alarms.pop("queue", None)
        line = f"{queue_id}: to=<{to}>, relay={relay}, delay={_seconds(delay)}, dsn={status}, status={word} ({text})"
        self._write(
            event, "smtp", line, queue_id=queue_id, to=to, relay=relay, delay=round(delay, 3), dsn=status, reason=text
        )


def silent() -> Journal:
    """Counts, writes nothing: for offline commands."""
    return Journal(sink=lambda line: None)


def _seconds(delay: float) -> str:
    """As Postfix writes a delay: two digits that matter, no exponent."""
    return f"{delay:.2f}" if delay < 1 else f"{delay:.1f}" if delay < 10 else f"{delay:.0f}"
