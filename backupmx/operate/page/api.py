"""api: everything the page shows and does, as JSON under /api/.

    curl -H "Authorization: Bearer $(backupmx page token)" http://127.0.0.1:8025/api/status

Each operation stands in OPERATIONS, once: its route, its sentence, what it takes and what it
answers.  openapi.py makes the document of the same list.

    200   it is so, it is done          401, 403   by the guard
    404   nothing of that name          409        it is there, and this does not apply to it now
    422   a word that is none of those that may stand there
    503   the queue cannot be read now
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backupmx.operate.desk import WAITING
from backupmx.operate.page import trial
from backupmx.operate.page.deeds import GROUP_WORDS, WORDS, Deeds, Refused, Unknown
from backupmx.operate.page.facts import Changed, Found, Listing, Mine, Status, Trial, Trouble, Waiting
from backupmx.operate.page.sight import Sight
from backupmx.queue.entry import FlushProgress, QueueTrouble
from backupmx.queue.refusals import Kind

_MOST = 1000


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as a handler reads it."""

    sight: Sight
    deeds: Deeds
    request: Request

    @property
    def by(self) -> str:
        return str(self.request.scope["visitor"].who)

    def said(self, name: str) -> str:
        """A field of the body; "": not there."""
        return str(self.request.scope["form"].get(name, ""))

    def asked(self, name: str) -> str:
        """A word of the query or the path."""
        return str(self.request.path_params.get(name) or self.request.query_params.get(name, ""))


class Wrong(Exception):
    """A word that may not stand there."""


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Word:
    """Something that is said with a request."""

    name: str
    meaning: str
    values: Sequence[str] = ()
    """Those that may stand there; (): any."""
    where: str = "query"
    """query, path or body."""
    kind: str = "string"


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    path: str
    does: Handler
    summary: str
    answers: type
    words: tuple[Word, ...] = ()
    owner: bool = False
    """The token of a domain opens it."""


async def status(call: Call) -> Status:
    return await call.sight.status()


async def messages(call: Call) -> Listing:
    limit = _number(call.asked("limit") or "100")
    return await call.sight.waiting(call.asked("after"), limit, call.asked("next_hop"), call.asked("state"))


async def quarantine(call: Call) -> Listing:
    return await call.sight.waiting(call.asked("after"), _number(call.asked("limit") or "100"), quarantine=True)


async def message(call: Call) -> Found:
    if (found := await call.sight.message(call.asked("id"))) is None:
        raise Unknown(f"no message {call.asked('id')}")
    return found


async def trace(call: Call) -> Sequence[Any]:
    return await call.sight.lives(call.asked("word"))


async def on_message(call: Call) -> Changed:
    force = call.said("force") == "yes"
    return Changed(
        await call.deeds.on_message(call.by, call.asked("verb"), call.asked("id"), call.said("address"), force)
    )


async def on_group(call: Call) -> Changed:
    if not call.said("next_hop"):
        raise Wrong("next_hop: name one")
    return Changed(await call.deeds.on_group(call.by, call.asked("verb"), call.said("next_hop"), call.said("kind")))


async def flush(call: Call) -> FlushProgress:
    return await call.deeds.flush(call.by, call.said("domain"))


async def progress(call: Call) -> FlushProgress:
    if (account := await call.sight.queue.progress(_number(call.asked("flush"), 2**62))) is None:
        raise Unknown(f"no flush {call.asked('flush')} within a day")
    return account


async def pause(call: Call) -> Waiting:
    return Waiting(await call.deeds.pause(call.by, call.said("domain")))


async def resume(call: Call) -> Waiting:
    return Waiting(await call.deeds.resume(call.by, call.said("domain")))


async def workbench(call: Call) -> Trial:
    return await trial.attempt(call.sight.config, call.said("message"), call.said("rules"))


async def mine(call: Call) -> Mine:
    domain = call.request.scope["visitor"].domain or call.asked("domain")
    if not domain:
        raise Wrong("domain: name one")
    if (found := await call.sight.mine(domain)) is None:
        raise Unknown(f"{domain} is not among our relay domains")
    return found


_ID = Word("id", "The queue id.", where="path")
_AFTER = Word("after", "The `next` of the page before.")
_LIMIT = Word("limit", f"Messages, at most {_MOST}.", kind="integer")
_DOMAIN = Word("domain", "A relay domain.", where="body")
_WAITING = tuple(map(str, WAITING))

OPERATIONS = (
    Operation("GET", "/api/status", status, "Everything at a glance: what `backupmx status` says, and more", Status),
    Operation("GET", "/api/messages", messages, "What waits, oldest first", Listing, (
        _AFTER, _LIMIT, Word("next_hop", "Only what waits for this one."),
        Word("state", "Only with a recipient in this state.", _WAITING),
    )),
    Operation("GET", "/api/quarantine", quarantine, "What lies in quarantine, oldest first", Listing, (_AFTER, _LIMIT)),
    Operation("GET", "/api/messages/{id}", message, "One message: headers, recipients, its life", Found, (_ID,)),
    Operation("GET", "/api/trace", trace, "What became of messages, oldest first", list, (
        Word("word", "A queue id, a Message-ID, a sender or a recipient."),
    )),
    Operation("POST", "/api/messages/{id}/{verb}", on_message, "Do something to a message", Changed, (
        _ID, Word("verb", "What.", WORDS, where="path"),
        Word("address", "Only to this recipient; empty: to all.", where="body"),
        Word("force", "release what an engine called a virus; return to a sender that nobody vouches for.",
             where="body", kind="boolean"),
    )),
    Operation("POST", "/api/refused/{verb}", on_group, "Do something to all that a primary refused", Changed, (
        Word("verb", "What.", GROUP_WORDS, where="path"),
        Word("next_hop", "Which primary: as in `status`.", where="body"),
        Word("kind", "Which kind of reason.", tuple(str(kind) for kind in Kind), where="body"),
    )),
    Operation("POST", "/api/flush", flush, "Deliver now what is deferred", FlushProgress, (
        Word("domain", "Only for this relay domain; empty: for all.", where="body"),
    )),
    Operation("GET", "/api/flush/{flush}", progress, "How a flush goes on", FlushProgress, (
        Word("flush", "The number that its beginning answered.", where="path", kind="integer"),
    )),
    Operation("POST", "/api/pause", pause, "Accept a domain's mail and relay none of it", Waiting, (_DOMAIN,)),
    Operation("POST", "/api/resume", resume, "End a pause", Waiting, (_DOMAIN,)),
    Operation("POST", "/api/workbench", workbench, "What rules would do to a message, beside today's", Trial, (
        Word("message", "The message, with its headers.", where="body"),
        Word("rules", "The lines of a header_checks table.", where="body"),
    )),
    Operation("GET", "/api/mine", mine, "What waits for a domain, for its owner", Mine, (
        Word("domain", "Which; a domain's own token knows it."),
    ), owner=True),
)  # fmt: skip


def routes(sight: Sight, deeds: Deeds) -> list[Route]:
    """One for each operation."""
    return [Route(one.path, _endpoint(one, sight, deeds), methods=[one.method]) for one in OPERATIONS]


def _endpoint(one: Operation, sight: Sight, deeds: Deeds) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        call = Call(sight, deeds, request)
        try:
            _check(one, call)
            return answer(await one.does(call))
        except Unknown as unknown:
            return answer(Trouble(str(unknown)), 404)
        except Refused as refused:
            return answer(Trouble(str(refused)), 409)
        except Wrong as wrong:
            return answer(Trouble(str(wrong)), 422)
        except QueueTrouble as trouble:
            return answer(Trouble(f"queue: {trouble}"), 503)

    return endpoint


def _check(one: Operation, call: Call) -> None:
    """Raises Wrong for what nobody would understand."""
    for word in one.words:
        said = call.said(word.name) if word.where == "body" else call.asked(word.name)
        if word.values and said not in word.values and (said or word.where != "query"):
            raise Wrong(f"{word.name}: {said!r} is none of {', '.join(word.values)}")


def _number(text: str, most: int = _MOST) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and 0 < int(text) <= most):
        raise Wrong(f"{text!r} is no number from 1 to {most}")
    return int(text)


def answer(value: object, status: int = 200) -> Response:
    """As JSON, with everything that is not plain ASCII escaped."""
    return Response(json.dumps(value, default=asdict) + "\n", status, media_type="application/json")
