"""aiosmtpd_suite: a pytest plugin that puts our Session where aiosmtpd's own tests expect theirs.

    python -m pytest -p tests.receive.aiosmtpd_suite --pyargs aiosmtpd.tests.test_smtp ...

What is compared is the reply's code: texts are ours, with enhanced codes.  A
handler of theirs sees a message as aiosmtpd would show it, and a transaction's
state at VRFY.  `ELSEWHERE` says what is answered otherwise here, and why; such
a test must fail, or its line there is wrong.
"""

import os
import re
import sys
from importlib.resources import files
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import aiosmtpd.controller
import aiosmtpd.smtp
import pytest
from aiosmtpd.smtp import Envelope
from aiosmtpd.testing.statuscodes import StatusCode

from backupmx.journal import Journal
from backupmx.mail import envelope as ours
from backupmx.mail.message import Content
from backupmx.mail.reply import Reply
from backupmx.net.tls import ServerTls
from backupmx.receive.admit import Admission
from backupmx.receive.limits import SmtpSettings
from backupmx.receive.service import Service
from backupmx.receive.session import Session
from backupmx.receive.wire import Answer
from tests.neighbours.unbound import free_port

ELSEWHERE = {
    "AUTH is not offered: a secondary MX has no accounts": (
        r"TestSMTPAuth::(?!test_no_ehlo$).*|TestAuthMechanisms::.*|TestAuthenticator::.*|TestRequiredAuthentication::.*"
        r"|TestRequireTLSAUTH::.*|TestSMTP::test_help_\[AUTH\]"
    ),
    "a public MX must not require TLS of its senders (RFC 3207 section 4)": (
        r"TestRequireTLS::(?!test_(ehlo|noop_okay|quit_okay)$).*"
    ),
    "without certificates STARTTLS is not implemented: 502": r"TestNoTLS::test_disabled_tls",
    "smtp.junk_command_limit counts all talk together and ends with 421": (
        r"TestLimits::test_(all_limit_15|different_limits.*|limit_.*)"
    ),
    "a line of a message may be of any length (Postfix takes it too)": (
        r"TestSMTPWithController::test_(data_line_too_long|long_line_.*|too_long_line.*)"
    ),
    "a local part may have 65 octets: VERP makes them": r"TestCustomization::test_limitlocalpart",
    "SMTPUTF8 is always offered, content is never decoded": r"TestStrictASCII::.*",
    "a size of 0 is announced: no limit (RFC 1870 section 4)": r"TestSMTPWithController::test_esmtp_no_size_limit",
    "RFC 5321 4.1.2 has no comments, no quoted word among atoms, no quotes without <>, no path without a domain": (
        r"TestSMTP::test_(mail|rcpt)_valid_address\[(15|16|17|18|24|28|29|30|31|33|39|42)\]"
    ),
    "what is routed onwards is not taken from strangers: 554": r"TestSMTP::test_rcpt_valid_address\[(26|27|32|36)\]",
    "Postfix's codes: 501 for an address that is none, 555 for a parameter, also after HELO": (
        r"TestSMTP::test_((mail|rcpt)_(esmtp_)?invalid_address\[.*|mail_smtp_errsyntax\[params_noesmtp\]"
        r"|mail_esmtp_errsyntax\[badsyntax\]|rcpt_smtp_errsyntax\[params\]|rcpt_esmtp_errsyntax\[badparams\]"
        r"|vrfy_not_address)"
        r"|(TestSMTPNonDecoding|TestCustomization)::test_mail_invalid_body_param"
        r"|TestSMTPWithController::test_mail_(with_incompatible_smtputf8|invalid_body)"
    ),
    "an address that is neither ASCII nor UTF-8 is none": r"TestSMTPWithController::test_bad_encodings",
    "they compare texts": (
        r"TestSMTP::test_ehlo|TestSMTPWithController::test_(process_message_error|too_long_body_delay_error)"
        r"|TestCustomization::test_(default|custom)_greeting"
    ),
    "a handler's words for an exception are not sent: 451 4.3.0 it is, and the session goes on": (
        r"TestSMTPWithController::test_(unexpected_errors.*|exception_handler_.*)"
    ),
    "theirs is a task that reads a stream; ours is neither": (
        r"TestProtocol::.*|TestClientCrash::test_(connection_reset_during_.*|close_in_(command_2|data))"
    ),
    "a client that only stops sending is answered first": r"TestSleepingHandler::test_close_after_helo",
    "the door looks for silent clients, not the session": r"TestTimeout::test_timeout",
    "whether TLS came about is the session's to say, no handler's": r"TestStartTLS::test_failed_handshake",
}
"""Reason -> tests that must fail here."""

UNTOUCHED = {
    "about aiosmtpd's own functions": r"TestAuthArgs::.*|TestTLSContext::.*|TestSanitize::.*",
    "a session without the door that stops it would be waited for": (
        r"TestSMTP::test_data_354|TestClientCrash::test_sockclose_after_helo|TestTLSEnding::.*"
    ),
}
"""Reason -> tests that are not run."""

_STATUS = pytest.StashKey[int]()


class Everywhere:
    """Every address is of a relay domain."""

    def is_ours(self, address: str) -> bool:
        return True


class Ours(Session):
    """Made as theirs is: `SMTP(handler, hostname=..., tls_context=...)`."""

    verbs: ClassVar = dict(Session.verbs)
    line_length_limit = 1001
    """Theirs; a test sends so many octets."""

    def __init__(self, handler: Any, *, loop: Any = None, **asked: Any) -> None:
        self.handler, self.decodes = handler, asked.get("decode_data", False)
        settings = SmtpSettings(
            asked.get("hostname") or "localhost",
            message_size_limit=asked.get("data_size_limit", aiosmtpd.smtp.DATA_SIZE_DEFAULT) or 0,
        )
        service = Service(
            settings, self.take, Admission(Everywhere(), postmaster="postmaster@example.com"),
            journal=Journal(sink=lambda line: None, host="suite"), tls=_Given(asked.get("tls_context")),
        )  # fmt: skip
        if asked.get("tls_context") is None:
            service.tls = None
        super().__init__(service, Session.pattern(service, loop or aiosmtpd.smtp.asyncio.get_event_loop()))

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._writer = SimpleNamespace(transport=transport)

    def smtp_VRFY(self, argument: bytes) -> Answer:
        """A handler of theirs looks at the transaction."""
        if not hasattr(self.handler, "handle_VRFY"):
            return Session.smtp_VRFY(self, argument)
        seen = Envelope()
        seen.mail_from = self._mail.sender if self._mail else None
        seen.rcpt_tos = [recipient.address for recipient in self._recipients]
        return self._shown(seen)

    async def _shown(self, envelope: Envelope) -> bytes:
        said: str = await self.handler.handle_VRFY(self, self.session, envelope, "")
        return said.encode() + b"\r\n"

    verbs[b"VRFY"] = ("VRFY", smtp_VRFY)

    async def take(self, client: ours.Client, envelope: ours.Envelope, content: Content, queue_id: str) -> Reply:
        shown = Envelope()
        shown.mail_from = envelope.sender
        shown.rcpt_tos = [recipient.address for recipient in envelope.recipients]
        data = bytes(content.data)
        shown.original_content = data
        shown.content = data.decode() if self.decodes else data
        handle = getattr(self.handler, "handle_DATA", None)
        said = await handle(self, self.session, shown) if handle else "250 OK"
        code, _, text = said.partition(" ")
        return Reply(int(code), f"{code[0]}.0.0", text)


class _Given(ServerTls):
    """One context, theirs."""

    def __init__(self, context: Any) -> None:
        self._given = context

    def context(self) -> Any:
        return self._given


def _same_code(one: StatusCode, other: Any) -> bool:
    return isinstance(other, tuple) and one[0] == other[0]


def _on_free_port(make: Any) -> Any:
    """Their tests share one port, which may be somebody's."""

    def init(self: Any, *arguments: Any, **asked: Any) -> None:
        if asked.get("port") == 8025:
            asked["port"] = free_port()
        make(self, *arguments, **asked)

    return init


def _resource_filename(package: str, name: str) -> str:
    return str(files(package) / name)


def pytest_configure(config: pytest.Config) -> None:
    """Before their tests are imported."""
    sys.modules["pkg_resources"] = ModuleType("pkg_resources")  # setuptools no longer has it; they ask for certificates
    sys.modules["pkg_resources"].resource_filename = _resource_filename  # type: ignore[attr-defined]
    aiosmtpd.smtp.SMTP = aiosmtpd.controller.SMTP = Ours
    controller = aiosmtpd.controller.InetMixin
    controller.__init__ = _on_free_port(controller.__init__)
    StatusCode.__eq__ = _same_code  # type: ignore[assignment]
    StatusCode.__ne__ = lambda one, other: not _same_code(one, other)  # type: ignore[method-assign,assignment]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = item.nodeid.partition("::")[2]
        if reason := _reason(ELSEWHERE, name):
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
        elif reason := _reason(UNTOUCHED, name):
            item.add_marker(pytest.mark.skip(reason=reason))


def _reason(reasons: dict[str, str], name: str) -> str:
    return next((reason for reason, names in reasons.items() if re.fullmatch(names, name)), "")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """A controller of theirs that a failed test left behind has a thread that never ends."""
    sys.stdout.flush()
    os._exit(config.stash.get(_STATUS, 1))
