"""explain: the whole policy on one message."""

import asyncio
import ipaddress
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from backupmx.operate.cli.options import config_option, json_option, load_config, write_json

if TYPE_CHECKING:
    from backupmx.net.dns import Answer, DNSTrouble
    from backupmx.operate.explain import Explained
    from backupmx.rules.actions import Decision

_INDENT = " " * 11


@click.command("explain")
@click.argument("file", metavar="FILE.eml")
@click.option("--client", default="", metavar="IP", help="Who sends it; without it an address that is nobody's.")
@click.option("--helo", default="", metavar="NAME", help="How it greets; without it its name in DNS.")
@click.option("--from", "sender", metavar="ADDRESS", help="MAIL FROM; without it Return-Path or From. Empty: a bounce.")
@click.option("--to", "recipients", multiple=True, metavar="ADDRESS", help="RCPT TO; may repeat.")
@config_option
@json_option
def command(
    file: str,
    client: str,
    helo: str,
    sender: str | None,
    recipients: tuple[str, ...],
    config_file: str | None,
    as_json: bool,
) -> None:
    """What would become of FILE.eml if a client sent it now, and why.

    Engines, milters and DNS are asked as the running appliance asks them (as root: as the user it runs as). Nothing is
    queued. FILE may be -. Status 0 whatever the verdict, 2 when the file or an address cannot be used.
    """
    from backupmx.mail.address import Malformed
    from backupmx.mail.message import Content
    from backupmx.operate import explain
    from backupmx.operate.serve.identity import become
    from backupmx.operate.serve.policy import read_policy

    config = load_config(config_file)
    files = read_policy(config)
    content = Content(_read(file))
    become(config.user)
    said = explain.Said(_address(client), helo, sender, recipients)
    try:
        result = asyncio.run(explain.explained(config, files, content, said))
    except Malformed as trouble:
        raise click.UsageError(f"{trouble}: {', '.join(filter(None, (sender, *recipients)))}") from None
    if as_json:
        write_json(explain.as_json(file, result))
    else:
        for line in lines(file, result):
            click.echo(line)


def _read(file: str) -> bytes:
    from backupmx.operate.cli.replay_headers import whole

    try:
        if file == "-":
            return whole(sys.stdin.buffer.read())
        with open(file, "rb") as stream:
            return whole(stream.read())
    except OSError as error:
        click.echo(f"backupmx: {file}: {error.strerror}", err=True)
        sys.exit(2)


def _address(client: str) -> str:
    try:
        return str(ipaddress.ip_address(client.strip("[]"))) if client else ""
    except ValueError:
        raise click.UsageError(f"--client: {client} is no IP address") from None


def lines(file: str, e: "Explained") -> Iterator[str]:
    """Pure.  The story in the order in which it happened."""
    yield from _block("message", [f"{file}, {e.size:,} octets"])
    yield from _block("client", [f"{e.client} helo={e.client.helo}"])
    yield from _block("policy", e.policy)
    yield from _block("from", [f"<{e.envelope.sender}>"])
    yield from _block("to", [f"<{address}>{f': {refusal}' if refusal else ''}" for address, refusal in e.admitted])
    yield from _block("known", _known(e))
    yield from _block("assumed", e.assumed)
    yield from _block("rules", [_rule(decision) for decision in e.assessed.judged.decisions])
    for finding in e.assessed.findings:
        engine = f" [{finding.engine}]" if finding.engine != finding.check else ""
        facts = finding.seen == "neutral" or finding.detail.startswith(finding.seen)
        told = finding.detail if facts else f"{finding.seen}: {finding.detail}"
        yield from _block(finding.check, [f"{told}{engine} {finding.seconds * 1000:.1f} ms"])
    yield from _block("dns", [_record(*question, answer) for question, answer in e.dns.items()])
    yield from _block("adds", [_one_line(field) for field in e.proposed])
    yield from _block(
        "rules", [_rule(d) + ", added by us" for d in (e.assessed.added.decisions if e.assessed.added else ())]
    )
    yield from _block("milters", e.milters)
    yield from _block("removes", [_one_line(field) for field in e.removed])
    yield from _block("adds too", [_one_line(field) for field in e.written])
    yield from _block("becomes", e.becomes)
    verdict = e.assessed.verdict
    yield from _block("verdict", [f"{verdict.fate}{f' ({verdict.reason})' if verdict.reason else ''}"])
    yield from _block("reply", [str(e.reply)])
    yield from _block("goes to", [f"<{d.address}> by {d.next_hop}, {d.state}" for d in e.destinations])
    yield from _block("took", [f"{e.seconds * 1000:.0f} ms"])


def _known(e: "Explained") -> Iterator[str]:
    """Why each recipient was taken, put off or refused."""
    from backupmx.operate.cli.recipients import told

    for address, known, primary in zip(e.envelope.addresses, e.known, e.primaries, strict=True):
        if known is not None:
            yield f"<{address}> {told(known)}"
            yield f"<{address}> {primary}"


def _block(name: str, said: Iterable[str]) -> Iterator[str]:
    """A name before the first line, blanks before the others; nothing when there is nothing to say."""
    label = f"{name:<{len(_INDENT)}}"
    for line in said:
        yield label + "".join(c if c.isprintable() else "?" for c in line)
        label = _INDENT


def _rule(decision: "Decision") -> str:
    text = f" {decision.text}" if decision.text else ""
    return f"{decision.table}:{decision.line} {decision.action}{text}: {_one_line(decision.header)[:200]}"


def _record(name: str, rdtype: str, answer: "Answer | DNSTrouble") -> str:
    from backupmx.net.dns import DNSTrouble

    if isinstance(answer, DNSTrouble):
        return str(answer)
    told = "; ".join(answer.records) or ("nothing of this type" if answer.exists else "no such name")
    return f"{name} {rdtype}: {told}{' (DNSSEC)' if answer.secure else ''}"


def _one_line(header: bytes) -> str:
    return " ".join(header.decode("utf-8", "replace").split("\n")).replace("\t", "")
