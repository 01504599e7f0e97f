"""session: one SMTP dialogue.  SMTP <-> our nouns, and nothing else.

    HELO, EHLO, STARTTLS      who talks, and how
    MAIL, RCPT ─► admit ─► 250, or the refusal that costs nobody a bounce
    DATA, BDAT                the content: transfer.py
    NOOP, VRFY, HELP ...      talk, counted

The wire brings commands and content; this class says what each means.

Standards: RFC 5321; 1870 SIZE, 3207 STARTTLS, 3461 DSN, 6152 8BITMIME, 6531
SMTPUTF8, 9422 LIMITS.  AUTH (4954) is not offered.
"""

import asyncio
import re
import ssl
from collections.abc import Awaitable
from typing import ClassVar

from aiosmtpd.smtp import syntax

from backupmx.mail.address import Malformed, parse_path
from backupmx.mail.envelope import Client, Recipient
from backupmx.mail.reply import Reply
from backupmx.net.tls_keys import KeysWithoutEnd
from backupmx.queue.entry import QueueFull, QueueTrouble, new_id
from backupmx.receive import command, xclient
from backupmx.receive.anvil import Rate
from backupmx.receive.limits import OVERSHOOT
from backupmx.receive.policy.clients import Visit
from backupmx.receive.pregreet import Watch
from backupmx.receive.sender import Doubt, Senders
from backupmx.receive.spool import room
from backupmx.receive.transfer import Transfer
from backupmx.receive.wire import Answer, line

# Postfix neuters these in HELO names (smtpd.c NEUTER_CHARACTERS); control bytes and non-ASCII are in no name either.
_UNFIT = re.compile(r"[^!#-'*-:=?A-\[\]-~]")


class Session(Transfer):
    """The verbs.  Those of aiosmtpd that are overridden, and why

    smtp_MAIL, RCPT  parse with email._header_value_parser; know no DSN, no null sender
    smtp_STARTTLS    has no limit of time
    smtp_HELO, EHLO, NOOP, RSET, QUIT, VRFY
                     coroutines whose replies lack enhanced codes; these answer at once
    """

    visit: Visit | None = None
    """What is held against the client; None: nothing."""
    _watch: Watch | None = None
    """It waits for our greeting, or did."""
    _spoken_for = False
    """By XCLIENT: it talks to somebody else, and nothing is seen of its manners here."""

    # Hello and goodbye

    def greet(self) -> None:
        assert self.transport is not None
        self.visit = self.service.visit(self.client.address)
        self._spoken_for = self._verb == "XCLIENT"
        if self.visit is not None and not self._spoken_for and (seconds := self.visit.wait()):
            self._watch = Watch(self, self.transport, self.service.greeting, seconds, self._spoke_early)
        else:
            self.transport.write(self.service.greeting)

    def _last_word(self, reply: Reply) -> None:
        """A greeting that is half said is ended first: 220- may not be followed by 421."""
        if self._watch is not None:
            self._watch.end()
        super()._last_word(reply)

    def _spoke_early(self, said: bytes, after: float) -> None:
        if self.visit is not None:
            self.visit.early = True
        self.service.journal.pregreet(self.client, after, said)

    def _pipelined(self, visit: Visit) -> None:
        if not visit.pipelined:
            self.service.journal.pipelined(self.client, self._verb, self._buffer[self._buffer.find(b"\n") + 1 :])
        visit.pipelined = True

    @property
    def _sent_ahead(self) -> bool:
        """More came behind a command that ends what may be sent in one go (RFC 2920 3.1)."""
        return self._buffer.find(b"\n") + 1 < len(self._buffer)

    @syntax("HELO hostname")
    def smtp_HELO(self, argument: bytes) -> Answer:
        if not argument:
            return command.HELO_SYNTAX
        self._hello(argument, "SMTP")
        return self.service.helo_reply

    @syntax("EHLO hostname")
    def smtp_EHLO(self, argument: bytes) -> Answer:
        if not argument:
            return command.EHLO_SYNTAX
        self._hello(argument, "ESMTP")
        return self.service.ehlo_reply(self.client.address, starttls=self.offers_tls)

    def _hello(self, argument: bytes, protocol: str) -> None:
        """A greeting ends the transaction before it (RFC 5321 4.1.4)."""
        self._forget()
        self._junk_command()
        helo = _UNFIT.sub("?", argument[:255].decode("ascii", "replace"))  # RFC 5321 4.5.3.1.2
        old = self.client
        if self.visit is not None and not (old.helo or self._spoken_for) and self._sent_ahead:
            self._pipelined(self.visit)
        self.client = Client(old.address, old.port, old.name, helo, protocol, old.tls, old.daemon)
        self.session.host_name = helo
        self.session.extended_smtp = protocol == "ESMTP"

    @syntax("QUIT")
    def smtp_QUIT(self, argument: bytes) -> Answer:
        if argument:
            return command.QUIT_SYNTAX
        self.parting = True
        return command.BYE

    def other_protocol(self, argument: bytes) -> Answer:
        """A web browser that somebody makes talk to us (smtpd_forbidden_commands)."""
        self.parting = True
        return command.NOT_SMTP

    @property
    def offers_tls(self) -> bool:
        return self.service.tls is not None and self.client.tls is None

    @syntax("STARTTLS", when="offers_tls")
    def smtp_STARTTLS(self, argument: bytes) -> Answer:
        if argument:
            return command.STARTTLS_SYNTAX
        if self.client.tls is not None:
            return command.TLS_ACTIVE
        if self.service.tls is None:
            return command.NOT_DONE
        if self.service.exceeds(Rate.NEW_TLS, self, more=False):
            return Reply(454, "4.7.0", f"Error: too many new TLS sessions from {self.client}")
        return self._secure(self.service.tls.context())

    async def _secure(self, context: ssl.SSLContext) -> None:
        if tls := await self.start_tls(context):
            self._forget()
            old = self.client
            self.client = Client(old.address, old.port, old.name, tls=tls, daemon=old.daemon)
            self.service.journal.secured(self.client)
            if not tls.resumed and self.service.exceeds(Rate.NEW_TLS, self):
                self._last_word(self.named_reply(421, "4.7.0", f"Error: too many new TLS sessions from {self.client}"))

    def connection_lost(self, error: Exception | None) -> None:
        if isinstance(error, KeysWithoutEnd):
            self.service.journal.tls_failed(self.client, str(error))
        super().connection_lost(error)

    @property
    def may_speak_for_others(self) -> bool:
        return self.client.address in self.service.speakers

    @syntax("XCLIENT attribute=value...", when="may_speak_for_others")
    def smtp_XCLIENT(self, argument: bytes) -> Answer:
        if self._mail is not None or self._in_chunks:
            return command.IN_TRANSACTION
        if argument and not self.may_speak_for_others:
            return command.NOT_AUTHORIZED
        other = xclient.parse(argument)
        return other if isinstance(other, Reply) else self._speak_for(other)

    async def _speak_for(self, other: xclient.Other) -> None:
        """Back to the greeting, as another client; what its HELO was may be told with it."""
        old = self.client
        address = other.address or old.address
        name = other.name or (old.name if address == old.address else "")
        port = old.port if other.port is None else other.port
        helo = _UNFIT.sub("?", other.helo or "")
        self.service.journal.proxied(str(old), address, "XCLIENT")
        self.become(address, port, name, helo, other.protocol or "SMTP")
        self.session.host_name, self.session.extended_smtp = helo, other.protocol == "ESMTP"

    # Talk

    @syntax("NOOP [ignored]")
    def smtp_NOOP(self, argument: bytes) -> Answer:
        self._junk_command()
        return command.OK

    @syntax("RSET")
    def smtp_RSET(self, argument: bytes) -> Answer:
        if argument:
            return command.RSET_SYNTAX
        self._junk_command()
        self._forget()
        return command.OK

    @syntax("VRFY <address>")
    def smtp_VRFY(self, argument: bytes) -> Answer:
        """252 to every address: who exists is not told to who asks (RFC 5321 7.3)."""
        self._junk_command()
        if not argument:
            return command.VRFY_SYNTAX
        try:
            address, parameters = parse_path(argument, utf8=True, allow="postmaster")
        except Malformed:
            return command.BAD_RECIPIENT
        if not address.isascii() and "SMTPUTF8" not in (parameter.upper() for parameter in parameters):
            return command.NOT_DECLARED  # RFC 6531 3.7.4.2: our reply would not be ASCII
        return Reply(252, "2.0.0", f"Cannot VRFY <{address}>, but will accept message and attempt delivery")

    @property
    def may_flush(self) -> bool:
        return self.service.may_flush(self.client.address)

    @syntax("ETRN domain", when="may_flush")
    def smtp_ETRN(self, argument: bytes) -> Answer:
        """A primary is back and asks for its mail (RFC 1985)."""
        self._junk_command()
        if not self.client.helo:
            return command.HELO_FIRST
        if self._mail is not None or self._in_chunks:
            return command.IN_TRANSACTION
        domain = command.etrn(argument)
        if isinstance(domain, Reply):
            return domain
        if not self.may_flush:
            refusal, setting = (
                Reply(554, "5.7.1", f"<{domain}>: Etrn command rejected: Access denied"),
                "smtp.etrn_from",
            )
        elif not self.service.admission.is_ours(f"postmaster@{domain}"):
            refusal, setting = Reply(459, "4.7.1", f"<{domain}>: service unavailable"), ""
        else:
            return self._flush(domain)
        self.service.journal.refused("ETRN", self.client, refusal, setting=setting)
        return refusal

    async def _flush(self, domain: str) -> bytes | Reply:
        assert self.service.flush is not None
        try:
            waiting = await self.service.flush(domain)
        except QueueTrouble as trouble:
            self.service.journal.queue_trouble(f"ETRN {domain}: {trouble}")
            return command.NO_FLUSH
        self.service.journal.flushed([domain], waiting, by=str(self.client))
        return command.QUEUING

    async def help(self, argument: bytes) -> None:
        """aiosmtpd's."""
        self._junk_command()
        await self.smtp_HELP(argument.decode("ascii", "replace"))

    def not_done(self, argument: bytes) -> Answer:
        return command.NOT_DONE

    def no_auth(self, argument: bytes) -> Answer:
        return command.NO_AUTH

    def _junk_command(self) -> None:
        """Who only talks is an error at last (smtpd_junk_command_limit)."""
        self._junk += 1
        if self._junk > self.service.settings.junk_command_limit:
            self.errors += 1

    # A transaction

    @syntax("MAIL FROM: <address>", extended=" [SP <mail-parameters>]")
    def smtp_MAIL(self, argument: bytes) -> Answer:
        if not self.client.helo:
            return command.HELO_FIRST
        if self._mail is not None or self._in_chunks:
            return command.NESTED_MAIL
        if self._naming is not None:
            return self._mail_when_named(self._naming, argument)
        if too_often := self._too_often(Rate.MESSAGES, "MAIL", "too much mail"):
            return too_often
        asked = command.mail(argument, self.service.settings.message_size_limit)
        if asked is command.TOO_LARGE:
            setting = f"smtp.message_size_limit={self.service.settings.message_size_limit}"
            self.service.journal.refused("MAIL", self.client, asked, setting=setting)
        if isinstance(asked, Reply):
            return asked
        refusal, setting = self.service.admission.sender(self.client, asked.sender), ""
        if refusal is None and (refusal := self._no_room(asked.size)):
            setting = f"queue.min_free={self.service.settings.min_free}"
        if refusal is None and self.service.abilities and (inability := self.service.abilities.mail(asked.size)):
            refusal, setting = inability.reply, inability.which
        if refusal is not None:
            self.service.journal.refused("MAIL", self.client, refusal, sender=asked.sender, setting=setting)
            return refusal
        self._mail = asked
        if self.service.senders is not None:
            self._look_at(asked, self.service.senders)
        return command.MAIL_OK

    def _too_often(self, rate: Rate, verb: str, words: str) -> Reply | None:
        """Asked before the argument is looked at: what is refused counts too (Postfix anvil)."""
        if not self.service.exceeds(rate, self):
            return None
        reply = Reply(450, "4.7.1", f"Error: {words} from {self.client.address}")
        self.service.journal.refused(verb, self.client, reply)
        return reply

    def _look_at(self, mail: command.Mail, senders: Senders) -> None:
        """The sender's domain: what is known of it, else it is asked for while the client goes on."""
        known = senders.known(mail.sender)
        if isinstance(known, Doubt):
            self._doubt = None if self.service.admission.is_ours(mail.sender) else known
        elif not known and not self.service.admission.is_ours(mail.sender):
            self._doubting = self.service.spawn(self._ask_about(mail, senders))

    async def _ask_about(self, mail: command.Mail, senders: Senders) -> None:
        doubt = await senders.find(mail.sender)
        if mail is self._mail:
            self._doubt, self._doubting = doubt, None

    def _no_room(self, size: int) -> Reply | None:
        """A large message that is announced is refused before it is sent.  Small ones are left to the queue, which
        has room inside its database when the disk has none."""
        settings = self.service.settings
        if not settings.min_free or size <= settings.spool_above or not settings.spool_folder:
            return None
        return QueueFull.reply if room(settings.spool_folder) - size < settings.min_free else None

    async def _mail_when_named(self, naming: "asyncio.Task[None]", argument: bytes) -> bytes | Reply | None:
        await asyncio.wait([naming])
        self._naming = None
        answer = self.smtp_MAIL(argument)
        return answer if isinstance(answer, bytes | Reply) else await answer

    async def _rcpt_when_known(self, asking: "asyncio.Task[None]", argument: bytes) -> bytes | Reply | None:
        await asyncio.wait([asking])
        if asking is self._doubting:
            self._doubting = None
        elif self.visit is not None:
            self.visit.asking = None
        answer = self.smtp_RCPT(argument)
        return answer if isinstance(answer, bytes | Reply) else await answer

    @syntax("RCPT TO: <address>", extended=" [SP <mail-parameters>]")
    def smtp_RCPT(self, argument: bytes) -> Answer:
        mail, service = self._mail, self.service
        if self._in_chunks:
            return command.RCPT_AFTER_BDAT
        if mail is None:
            return command.NEED_MAIL if self.client.helo else command.HELO_FIRST
        asking = self._doubting or (self.visit.asking if self.visit is not None else None)
        if asking is not None:
            return self._rcpt_when_known(asking, argument)
        if too_often := self._too_often(Rate.RECIPIENTS, "RCPT", "too many recipients"):
            self._rejected = True
            return too_often
        asked = command.rcpt(argument, mail.smtputf8)
        if isinstance(asked, Reply):
            self._rejected = True
            return asked
        if "@" not in asked.address:
            asked = Recipient(service.admission.resolve(asked.address), asked.notify, asked.orcpt)
        if len(self._recipients) >= service.settings.recipient_limit:
            return self._too_many(mail.sender, asked.address)
        if self.visit is not None and (objection := self.visit.refusal(self.client, mail.sender)):
            return self._decided(mail.sender, asked, objection.reply, objection.setting)
        if self._doubt is not None and self._doubt.certain:
            return self._decided(mail.sender, asked, self._doubt.reply)
        refusal = service.admission.recipient(self.client, mail.sender, asked.address)
        if refusal is None or isinstance(refusal, Reply):
            return self._decided(mail.sender, asked, refusal)
        return self._rcpt_when_asked(mail.sender, asked, refusal)

    async def _rcpt_when_asked(self, sender: str, asked: Recipient, answer: Awaitable[Reply | None]) -> bytes | Reply:
        """The primary is asked whether this recipient exists."""
        return self._decided(sender, asked, await answer)

    def _decided(self, sender: str, asked: Recipient, refusal: Reply | None, setting: str = "") -> bytes | Reply:
        service = self.service
        if refusal is None and self._doubt is not None:
            refusal = self._doubt.reply
        if refusal is None and service.abilities is not None:
            size = self._mail.size if self._mail else 0
            if inability := service.abilities.recipient(sender, asked.address, size):
                refusal, setting = inability.reply, inability.which
        if refusal is not None:
            self._rejected = True
            service.journal.refused(
                "RCPT", self.client, refusal, sender=sender, recipient=asked.address, setting=setting
            )
            return refusal
        if not self._queue_id:
            if self.visit is not None:
                self.client = self.visit.seen(self.client)
            self._queue_id = new_id()
            service.journal.taken(self._queue_id, self.client)
        self._recipients.append(asked)
        return command.RCPT_OK

    def _too_many(self, sender: str, recipient: str) -> Answer:
        """RFC 5321 4.5.3.1.10.  No error of the client's, unless it never stops (smtpd_recipient_overshoot_limit)."""
        setting = f"smtp.recipient_limit={self.service.settings.recipient_limit}"
        self.service.journal.refused(
            "RCPT", self.client, command.TOO_MANY, sender=sender, recipient=recipient, setting=setting
        )
        self._overshoot += 1
        return command.TOO_MANY if self._overshoot > OVERSHOOT else line(command.TOO_MANY)

    _METHODS: ClassVar = {
        b"HELO": smtp_HELO,
        b"EHLO": smtp_EHLO,
        b"MAIL": smtp_MAIL,
        b"RCPT": smtp_RCPT,
        b"DATA": Transfer.smtp_DATA,
        b"BDAT": Transfer.smtp_BDAT,
        b"RSET": smtp_RSET,
        b"NOOP": smtp_NOOP,
        b"QUIT": smtp_QUIT,
        b"VRFY": smtp_VRFY,
        b"HELP": help,
        b"STARTTLS": smtp_STARTTLS,
        b"AUTH": no_auth,
        b"ETRN": smtp_ETRN,
        b"XCLIENT": smtp_XCLIENT,
        **dict.fromkeys((b"EXPN", b"TURN", b"SEND", b"SOML", b"SAML"), not_done),
        **dict.fromkeys((b"GET", b"POST", b"CONNECT"), other_protocol),
    }
    verbs: ClassVar = {word: (word.decode(), method) for word, method in _METHODS.items()}
