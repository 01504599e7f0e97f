"""Pure.  milter_macros: what a milter learns beside the events themselves, in sendmail's names.

    j {daemon_name} {daemon_addr} v _   CONNECT
    {tls_version} {cipher} ...          HELO
    i {mail_addr} {mail_host} ...       MAIL
    i {rcpt_addr} {rcpt_host} ...       RCPT
    i                                   DATA, END-OF-HEADER, END-OF-MESSAGE

These are Postfix's milter_*_macros.  A milter may ask for others in their
place (SMFIF_SETSYMLIST), {daemon_port} and {client_*} among them; what has no
value is left out, as Postfix does: nobody authenticates here and no client
shows a certificate, so there is no {auth_type} and no {cert_subject}.
{client_connections} is not known when the message is here.
"""

from collections.abc import Callable, Iterator, Mapping

from backupmx import __version__
from backupmx.check.finding import Mail
from backupmx.net.milter_codec import CONNECT, DATA, END_OF_HEADER, END_OF_MESSAGE, HELO, MAIL, RCPT, Step, Terms

_LISTS: Mapping[Step, tuple[str, ...]] = {
    CONNECT: ("j", "{daemon_name}", "{daemon_addr}", "v", "_"),
    HELO: ("{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}"),
    MAIL: ("i", "{auth_type}", "{auth_authen}", "{auth_author}", "{mail_addr}", "{mail_host}", "{mail_mailer}"),
    RCPT: ("i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"),
    DATA: ("i",),
    END_OF_HEADER: ("i",),
    END_OF_MESSAGE: ("i",),
}


class Macros:
    """The macros of one message."""

    def __init__(self, mail: Mail, hostname: str, next_hop: Callable[[str], str]) -> None:
        self._next_hop = next_hop
        client = self._client = mail.client
        self._values: dict[str, str] = {
            "i": mail.queue_id,
            "j": hostname,
            "v": f"backupmx {__version__}",
            "_": f"{client.name} [{client.address}]",
            "daemon_name": hostname,
            **dict(self._daemon()),
            "client_addr": client.address,
            "client_name": client.name,
            "client_ptr": client.name,
            "client_port": str(client.port),
            "client_resolve": "FAIL" if client.name == "unknown" else "OK",
            **dict(self._path("mail", mail.envelope.sender)),
        }
        if tls := client.tls:
            self._values |= {"tls_version": tls.version, "cipher": tls.cipher, "cipher_bits": str(tls.bits)}

    def of(self, step: Step, terms: Terms, recipient: str = "") -> list[tuple[str, str]]:
        """Those to send before a step, in the order of its list."""
        names = terms.macros.get(step.stage, _LISTS.get(step, ()))
        values = self._values | dict(self._path("rcpt", recipient)) if recipient else self._values
        return [(name, value) for name in names if (value := values.get(name.strip("{}"))) is not None]

    def _daemon(self) -> Iterator[tuple[str, str]]:
        address, port = self._client.daemon
        if address:
            yield "daemon_addr", address
            yield "daemon_port", str(port)

    def _path(self, kind: str, address: str) -> Iterator[tuple[str, str]]:
        yield f"{kind}_addr", address
        if address:
            mailer, _, host = self._next_hop(address).partition(":")
            yield f"{kind}_host", host or address.rpartition("@")[2]
            yield f"{kind}_mailer", mailer
