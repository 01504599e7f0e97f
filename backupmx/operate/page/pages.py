"""pages: what people see; the API's facts in HTML, and forms for its deeds.

Everything can be read without JavaScript.  What changes something is a POST behind a second
click, answered by a redirect: loading a page anew does nothing twice.  Templates escape what
strangers wrote, and what does not print is shown as an escape (operate/printable.py), so no
subject, sender or reply draws, hides or runs anything.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from backupmx.operate.page import plot, tokens, trial
from backupmx.operate.page.deeds import GROUP_WORDS, WORDS, Deeds, Refused, Unknown
from backupmx.operate.page.guard import HOST_COOKIE
from backupmx.operate.page.sight import Sight
from backupmx.operate.page.template import render
from backupmx.operate.page.tokens import Tokens
from backupmx.operate.page.words import headline, summary
from backupmx.queue.entry import QueueTrouble

_PAGE = 100
_PAST = {
    "hold": "held", "release": "released", "retry": "due now", "delete": "deleted", "return": "returned",
    "flush": "due now", "pause": "paused", "resume": "resumed",
}  # fmt: skip

_EXAMPLE = "From: win@prize.example\nTo: anna@example.jp\nSubject: You have won\nX-Spam-Flag: YES\n\nHello.\n"

Handler = Callable[[Request], Awaitable[Response]]


class Pages:
    """A method each."""

    def __init__(self, sight: Sight, deeds: Deeds, keys: Tokens) -> None:
        self._sight, self._deeds, self._tokens = sight, deeds, keys

    async def overview(self, request: Request) -> Response:
        if request.scope["visitor"].domain:
            return await self.mine(request)
        status = await self._sight.status()
        strips = {
            hop.next_hop: plot.strip([o for o in status.outages if o.next_hop == hop.next_hop], status.now)
            for hop in status.next_hops
        }
        said = headline(status), summary(status)
        return _html(
            request,
            "overview.html",
            status=status,
            said=said,
            strips=strips,
            plot=plot.verdicts(status.verdict_hours, status.now),
        )

    async def mine(self, request: Request) -> Response:
        domain = request.scope["visitor"].domain or request.query_params.get("domain", "")
        if (found := await self._sight.mine(domain)) is None:
            raise Unknown(f"{domain or 'that'} is not among our relay domains")
        return _html(request, "mine.html", mine=found)

    async def queue(self, request: Request) -> Response:
        asked = {name: request.query_params.get(name, "") for name in ("next_hop", "state", "after")}
        listing = await self._sight.waiting(asked["after"], _PAGE, asked["next_hop"], asked["state"])
        further = f"?{urlencode({**asked, 'after': listing.next})}" if listing.next else ""
        status = await self._sight.status()
        return _html(request, "queue.html", listing=listing, further=further, asked=asked, status=status)

    async def quarantine(self, request: Request) -> Response:
        listing = await self._sight.waiting(request.query_params.get("after", ""), _PAGE, quarantine=True)
        further = f"?{urlencode({'after': listing.next})}" if listing.next else ""
        return _html(request, "quarantine.html", listing=listing, further=further)

    async def refused(self, request: Request) -> Response:
        return _html(request, "refused.html", status=await self._sight.status())

    async def rules(self, request: Request) -> Response:
        return _html(request, "rules.html", status=await self._sight.status())

    async def workbench(self, request: Request) -> Response:
        form = request.scope["form"]
        if request.method != "POST":
            rules = await asyncio.to_thread(trial.rules_of, self._sight.config)
            return _html(request, "workbench.html", message=_EXAMPLE, rules=rules, trial=None)
        message, rules = form.get("message", ""), form.get("rules", "")
        tried = await trial.attempt(self._sight.config, message, rules)
        return _html(request, "workbench.html", message=message, rules=rules, trial=tried)

    async def trace(self, request: Request) -> Response:
        word = request.query_params.get("word", "").strip()
        lives = await self._sight.lives(word) if word else []
        return _html(request, "trace.html", word=word, lives=lives)

    async def message(self, request: Request) -> Response:
        id = request.path_params["id"]
        if (found := await self._sight.message(id)) is None:
            return _html(request, "trouble.html", 404, what="No such message", why=f"Nobody knows {id}.")
        return _html(request, "message.html", id=id, found=found)

    # Deeds

    async def on_message(self, request: Request) -> Response:
        word, id = request.path_params["verb"], request.path_params["id"]
        if word not in WORDS:
            raise Unknown(f"nothing is called {word}")
        form = request.scope["form"]
        many = await self._deeds.on_message(_by(request), word, id, form.get("address", ""), form.get("force") == "yes")
        return _done(f"/message/{quote(id, safe='')}", word, many)

    async def on_group(self, request: Request) -> Response:
        word, form = request.path_params["verb"], request.scope["form"]
        if word not in GROUP_WORDS or not form.get("next_hop") or not form.get("kind"):
            raise Unknown("no such group")
        many = await self._deeds.on_group(_by(request), word, form["next_hop"], form["kind"])
        return _done("/refused", word, many)

    async def flush(self, request: Request) -> Response:
        account = await self._deeds.flush(_by(request), request.scope["form"].get("domain", ""))
        return _done("/", "flush", account.total)

    async def pause(self, request: Request) -> Response:
        return _done("/", "pause", await self._deeds.pause(_by(request), request.scope["form"].get("domain", "")))

    async def resume(self, request: Request) -> Response:
        return _done("/", "resume", await self._deeds.resume(_by(request), request.scope["form"].get("domain", "")))

    # In and out

    async def login(self, request: Request) -> Response:
        if request.method in ("GET", "HEAD"):
            return _html(request, "login.html", wrong=False)
        token = request.scope["form"].get("token", "").strip()
        visitor = tokens.bearer(self._tokens.read(), token)
        if visitor is None or visitor.who == tokens.METRICS:
            self._deeds.journal.page_refused("POST", "/login", "a wrong token")
            return _html(request, "login.html", 403, wrong=True)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            request.scope["cookie"], tokens.session(token, visitor.who, time.time()), max_age=int(tokens.SESSION),
            httponly=True, samesite="strict", secure=request.scope["cookie"] == HOST_COOKIE,
        )  # fmt: skip
        return answer

    async def logout(self, request: Request) -> Response:
        answer = RedirectResponse("/login", 303)
        cookie = request.scope["cookie"]
        answer.delete_cookie(cookie, httponly=True, samesite="strict", secure=cookie == HOST_COOKIE)
        return answer


def routes(sight: Sight, deeds: Deeds, keys: Tokens) -> list[Route]:
    """GET reads, POST does; both are the login and the workbench, which changes nothing."""
    pages = Pages(sight, deeds, keys)
    read = {
        "/": pages.overview, "/queue": pages.queue, "/quarantine": pages.quarantine, "/refused": pages.refused,
        "/rules": pages.rules, "/trace": pages.trace, "/message/{id}": pages.message, "/mine": pages.mine,
    }  # fmt: skip
    do = {
        "/message/{id}/{verb}": pages.on_message, "/refused/{verb}": pages.on_group, "/flush": pages.flush,
        "/pause": pages.pause, "/resume": pages.resume, "/logout": pages.logout,
    }  # fmt: skip
    return [
        Route("/login", _polite(pages.login), methods=["GET", "POST"]),
        Route("/workbench", _polite(pages.workbench), methods=["GET", "POST"]),
        *(Route(path, _polite(page), methods=["GET"]) for path, page in read.items()),
        *(Route(path, _polite(page), methods=["POST"]) for path, page in do.items()),
    ]


def _polite(page: Handler) -> Handler:
    """What cannot be shown or done is said in a sentence."""

    async def polite(request: Request) -> Response:
        try:
            return await page(request)
        except Unknown as unknown:
            return _html(request, "trouble.html", 404, what="Not there", why=f"{unknown}.")
        except Refused as refused:
            return _html(request, "trouble.html", 409, what="That cannot be done now", why=f"{refused}.")
        except QueueTrouble as trouble:
            return _html(request, "trouble.html", 503, what="The queue cannot be read", why=f"{trouble}.")

    return polite


def _by(request: Request) -> str:
    return str(request.scope["visitor"].who)


def _done(where: str, word: str, many: int) -> Response:
    return RedirectResponse(f"{where}?{urlencode({'done': word, 'many': many})}", 303)


def _html(request: Request, template: str, code: int = 200, **values: object) -> Response:
    """`done` and `many` come from the address, so anybody may have written them: our own words and a number only."""
    done, many = request.query_params.get("done", ""), request.query_params.get("many", "")
    told = (
        (int(many), _PAST[done]) if done in _PAST and many.isascii() and many.isdecimal() and len(many) < 12 else None
    )
    visitor = request.scope["visitor"]
    return HTMLResponse(render(template, visitor=visitor, place=request.url.path, told=told, **values), code)
