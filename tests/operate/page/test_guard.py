"""Who gets an answer: every attack that a browser's other tabs, other users and strangers' mail can try."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from backupmx.operate.page import guard, tokens
from backupmx.operate.page.api import OPERATIONS
from backupmx.operate.page.sight import Sight
from backupmx.operate.page.tokens import METRICS, OPERATOR
from backupmx.operate.serve.policy import read_routes
from backupmx.queue.entry import State
from tests.operate.desk import Desk
from tests.operate.page.conftest import HOST, Page
from tests.queue.samples import HOP, entry

PLACES = ["/", "/queue", "/quarantine", "/refused", "/rules", "/trace", "/message/x", "/mine", "/metrics",
          "/api/openapi.json", *(one.path for one in OPERATIONS if one.method == "GET")]  # fmt: skip
DEEDS = ["/flush", "/pause", "/resume", "/logout", "/message/x/delete", "/refused/delete",
         *(one.path for one in OPERATIONS if one.method == "POST")]  # fmt: skip


@pytest.mark.parametrize("token", ["", "x", "Bearer", "operator", "\xff", "a" * 9000])
async def test_without_the_token(page: Page, token: str) -> None:
    """Nothing is shown and nothing is done without the token, on loopback too."""
    async with page.client("", authorization=f"Bearer {token}".encode("latin-1")) as client:  # type: ignore[arg-type]
        shown = {place: (await client.get(place)).status_code for place in PLACES}
        done = {place: (await client.post(place)).status_code for place in DEEDS}
    assert {code for place, code in shown.items() if place.startswith("/api") or place == "/metrics"} == {401}
    assert {code for place, code in shown.items() if not place.startswith("/api") and place != "/metrics"} == {303}
    assert set(done.values()) == {401}


async def test_a_page_that_refreshes_itself(page: Page) -> None:
    """Without a session it is sent to the login, instead of being replaced by nothing."""
    async with page.client("", **{"hx-request": "true"}) as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8025", "127.0.0.1", "", "127.0.0.1:8025.evil.example"])
async def test_another_name(page: Page, host: str) -> None:
    """DNS rebinding: a page of another site that resolves to us is told nothing, not even with our token."""
    async with page.client(host=host) as client:
        answers = [await client.get(place) for place in (*PLACES, "/healthz", "/login", "/static/style.css")]
    assert {answer.status_code for answer in answers} == {421}


@pytest.mark.parametrize("host", [HOST, "localhost:8025", "LOCALHOST:8025", "[::1]:8025", "mx2.example.net"])
async def test_our_names(page: Page, host: str) -> None:
    """Loopback by its names, and what admin.hosts admits."""
    async with page.client(host=host) as client:
        assert (await client.get("/api/status")).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9", "http://[", ""])
async def test_another_origin(page: Page, origin: str) -> None:
    """A request that a page of another site sent is refused, whatever it carries."""
    async with page.client(origin=origin) as client:
        assert (await client.post("/api/flush", json={})).status_code == 403
        assert (await client.get("/api/status")).status_code == 403


async def test_the_browser_says_so(page: Page) -> None:
    """Sec-Fetch-Site is enough where a browser sends no Origin."""
    for site in ("cross-site", "same-site"):
        async with page.client(**{"sec-fetch-site": site}) as client:
            assert (await client.post("/flush")).status_code == 403


async def test_what_changes_something_is_no_get(page: Page) -> None:
    """An image or link of another site cannot delete, flush or pause."""
    await page.queue.put(one := entry("anna@example.jp"))
    async with page.client() as client:
        for path in (f"/message/{one.id}/delete", "/flush", "/pause?domain=example.jp", "/logout", "/refused/delete"):
            assert (await client.get(path)).status_code == 405
    assert len(await page.queue.waiting()) == 1


async def test_a_form_of_another_session(page: Page) -> None:
    """A session's deeds want the session's own word: none, a wrong one, or another session's is refused."""
    await page.queue.put(one := entry("anna@example.jp"))
    path = f"/message/{one.id}/delete"
    async with page.browser() as (_, other), page.browser() as (client, own):
        for data in ({}, {"csrf": ""}, {"csrf": "x"}, {"csrf": other}):
            assert (await client.post(path, data=data)).status_code == 403
        assert len(await page.queue.waiting()) == 1
        done = await client.post(path, data={"csrf": own})
    assert (done.status_code, done.headers["location"]) == (303, f"/message/{one.id}?done=delete&many=1")
    assert await page.queue.waiting() == []


async def test_the_cookie(page: Page) -> None:
    """No script reads it, no other site sends it, behind TLS nothing sends it in clear."""
    async with page.client("") as client:
        plain = (await client.post("/login", data={"token": page.tokens.issue(OPERATOR)})).headers["set-cookie"]
    async with page.client("", host="mx2.example.net") as client:
        proxied = (await client.post("/login", data={"token": page.tokens.issue(OPERATOR)})).headers["set-cookie"]
    assert ["HttpOnly" in plain, "SameSite=strict" in plain, "Secure" in plain] == [True, True, False]
    assert "Secure" in proxied


async def test_the_cookies_of_others(page: Page) -> None:
    """Cookies know no ports: what any other program on this host set, in any shape, signs nobody out."""
    async with page.browser() as (client, _):
        own = f"{guard.COOKIE}={client.cookies[guard.COOKIE]}"
        for odd in ('a={"b": "c d"}; ', "x=a b, c; ", "=; ;; ", '"; ', f"{guard.COOKIE}x=1; "):
            answer = await client.get("/", headers={"cookie": odd + own})
            assert answer.status_code == 200


async def test_a_cookie_from_a_neighbour(page: Page) -> None:
    """Behind TLS the cookie has a name that no other host of the domain can set; the other name signs nobody in."""
    token = page.tokens.issue(OPERATOR)
    async with page.client("", host="mx2.example.net") as client:
        said = (await client.post("/login", data={"token": token})).headers["set-cookie"]
        assert said.startswith("__Host-backupmx=")
        assert "Path=/" in said
        value = said.split("=", 1)[1].split(";")[0]
        codes = [
            (await client.get("/", headers={"cookie": f"{name}={value}"})).status_code
            for name in ("backupmx", "__Host-backupmx")
        ]
    assert codes == [303, 200]


async def test_nobodys_body_is_not_read(page: Page) -> None:
    """Who has no token cannot make us keep megabytes; nor whose token opens something else."""
    taken = 0

    async def receive() -> dict[str, object]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b"x" * 65536, "more_body": True}

    sent: list[int] = []

    async def send(message) -> None:  # type: ignore[no-untyped-def]
        sent.append(message.get("status", 0))

    for token in ("", page.tokens.issue(METRICS), page.tokens.issue("example.jp")):
        headers = [(b"host", HOST.encode()), (b"authorization", f"Bearer {token}".encode())]
        await page.app(
            {"type": "http", "method": "POST", "path": "/api/workbench", "headers": headers, "query_string": b""},
            receive, send,
        )  # fmt: skip
    assert (taken, [code for code in sent if code]) == (0, [401, 403, 403])


async def test_a_length_of_30000_digits(page: Page) -> None:
    """It is too large, and no bug."""
    async with page.client() as client:
        answer = await client.post("/api/flush", content=b"", headers={"content-length": "9" * 30_000})
    assert answer.status_code == 413


def test_the_port_that_browsers_leave_out() -> None:
    """On port 80 a browser names the host alone."""
    assert {"127.0.0.1", "127.0.0.1:80"} <= guard.place("127.0.0.1:80", ()).hosts
    assert "127.0.0.1" not in guard.place("127.0.0.1:8025", ()).hosts


async def test_a_clock_that_was_set_back(page: Page) -> None:
    """A session does not outlast its shift because the clock was wrong; a step of minutes ends none."""
    token, now = page.tokens.issue(OPERATOR), 1_000_000.0
    known, cookie = {OPERATOR: token}, tokens.session(token, OPERATOR, now)
    assert tokens.visitor(known, cookie, now - 60) is not None
    assert tokens.visitor(known, cookie, now - 86400) is None


async def test_a_wrong_token_at_the_login(page: Page) -> None:
    """It is said, logged, and gives no cookie; that of metrics does not sign in."""
    async with page.client("") as client:
        for token in ("", "wrong", page.tokens.issue(METRICS)):
            answer = await client.post("/login", data={"token": token})
            assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    assert b"a wrong token" in page.log[0]


async def test_forged_sessions(page: Page) -> None:
    """A cookie of another user, another end, another token or another shape is no session."""
    token, now = page.tokens.issue(OPERATOR), 1000.0
    known = {OPERATOR: token, "example.jp": "y" * 43}
    good = tokens.session(token, OPERATOR, now)
    who, until, nonce, mac = good.split(":")
    assert tokens.visitor(known, good, now) is not None
    forged = [
        f"{who}:{int(until) + 1}:{nonce}:{mac}", f"example.jp:{until}:{nonce}:{mac}", f"{who}:{until}:{nonce}:", "",
        f"{who}:{until}:{nonce}:{mac[:-1]}", ":::", "operator", f"{who}:-1:{nonce}:{mac}", "\ud800:1:2:3",
        tokens.session("another", OPERATOR, now), f"nobody:{until}:{nonce}:{mac}",
    ]  # fmt: skip
    assert [tokens.visitor(known, cookie, now) for cookie in forged] == [None] * len(forged)
    assert tokens.visitor(known, good, now + tokens.SESSION + 1) is None


async def test_a_new_token_ends_sessions(page: Page) -> None:
    """Who had the old one is out at once."""
    async with page.browser() as (client, _):
        page.tokens.issue(OPERATOR, new=True)
        assert (await client.get("/")).headers["location"] == "/login"


def test_tokens_are_for_us_alone(page: Page) -> None:
    """The file is readable for its owner only; each has his own."""
    assert page.tokens.path.stat().st_mode & 0o777 == 0o600
    assert len(set(page.tokens.read().values())) == 2
    assert page.tokens.revoke(METRICS)
    assert not page.tokens.revoke(METRICS)


def test_tokens_that_are_made_at_once(page: Page) -> None:
    """Of many commands at the same time none loses the other's."""
    with ThreadPoolExecutor(8) as pool:
        made = dict(pool.map(lambda n: (f"d{n}.example", page.tokens.issue(f"d{n}.example")), range(40)))
    assert {who: token for who, token in page.tokens.read().items() if who in made} == made


async def test_each_sees_his_own(page: Page) -> None:
    """Metrics opens /metrics alone; a domain's owner what waits for him alone, by any other name nothing."""
    await page.queue.put(entry("anna@example.jp"))
    async with page.client(METRICS) as client:
        codes = {place: (await client.get(place)).status_code for place in PLACES}
    assert {place for place, code in codes.items() if code != 403} == {"/metrics"}
    async with page.client("example.jp") as client:
        codes = {place: (await client.get(place)).status_code for place in PLACES}
        done = {(await client.post(place)).status_code for place in DEEDS if place != "/logout"}
        seen = (await client.get("/")).text + (await client.get("/api/mine?domain=example.net")).text
    assert {place for place, code in codes.items() if code == 200} == {"/", "/mine", "/api/mine", "/api/openapi.json"}
    assert done == {403}
    assert "anna@example.jp" in seen
    assert "sender@example.com" not in seen
    assert "example.net" not in seen.replace("primary1.example.net", "")


async def test_large_and_strange_bodies(page: Page) -> None:
    """100 MB are refused by their length alone, and when no length is said; what is neither form nor JSON is too."""
    taken = 0

    async def endless():  # type: ignore[no-untyped-def]
        nonlocal taken
        for _ in range(100):
            taken += 1 << 20
            yield b"x" * (1 << 20)

    async with page.client() as client:
        said = await client.post("/api/flush", content=b"x" * 9, headers={"content-length": str(100 << 20)})
        sent = await client.post("/api/flush", content=endless(), headers={"content-type": "application/json"})
        kinds = [
            (await client.post("/api/flush", content=body, headers={"content-type": kind})).status_code
            for kind, body in (
                ("text/plain", b"x"), ("multipart/form-data; boundary=x", b"x"), ("application/json", b"[1]"),
                ("application/json", b"\xff"), ("application/json", b"[" * 50_000), ("application/json", b'"x"'),
                ("application/x-www-form-urlencoded", b"&".join(b"a=1" for _ in range(5000))),
            )
        ]  # fmt: skip
    assert (said.status_code, sent.status_code) == (413, 413)
    assert kinds == [415, 415, 400, 400, 400, 400, 400]


async def test_a_body_that_does_not_come(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends half of a form is not waited for."""
    monkeypatch.setattr(guard, "SECONDS", 0.01)
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        await asyncio.sleep(60)
        return {}

    async def send(message) -> None:  # type: ignore[no-untyped-def]
        sent.append(message)

    headers = [(b"host", HOST.encode()), (b"authorization", f"Bearer {page.tokens.issue(OPERATOR)}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/api/flush", "headers": headers, "query_string": b""}
    await page.app(scope, receive, send)
    assert sent[0]["status"] == 408


async def test_ids_lead_nowhere(page: Page) -> None:
    """An id is looked up in the queue and is no path; control bytes and quotes are only unknown names."""
    async with page.client() as client:
        for id in ("..%2f..%2fetc%2fpasswd", "%00", "%0d%0aX-Evil:1", "'%20OR%201=1--", "<script>", "a" * 3000, "%ff"):
            assert (await client.get(f"/message/{id}")).status_code in (404, 400)
            answer = await client.post(f"/api/messages/{id}/delete", json={})
            assert (answer.status_code, "x-evil" in answer.headers) in ((404, False), (400, False))
        for path in ("/static/../tokens.py", "/static/%2e%2e/tokens.py", "/static/", "/static/..%2fpages.py"):
            assert (await client.get(path)).status_code == 404


async def test_an_owner_and_his_other_names(page: Page) -> None:
    """His domain is his in any case; a subdomain, a neighbour in the same message and a lookalike are not."""
    await page.queue.put(
        entry("Anna@EXAMPLE.JP", "b@sub.example.jp", "c@example.jp.evil.example", "d@xexample.jp", "e@example.org")
    )
    async with page.client("example.jp") as client:
        said = (await client.get("/api/mine")).json()
    assert [one["address"] for one in said["mail"]] == ["Anna@EXAMPLE.JP"]
    assert sum(one["queued"] for one in said["primaries"]) == 1


async def test_the_owner_of_a_name_that_is_not_ascii(desk: Desk, page: Page) -> None:
    """His token is made for either spelling, and shows what waits for both."""
    (desk.config.parent / "transport.map").write_text(f"example.jp {HOP}\nxn--wgv71a.jp {HOP}\n")
    made = [desk.says("page", "token", name) for name in ("日本.jp", "xn--wgv71a.jp", "日本.JP.")]
    assert len({one.stdout for one in made}) == 1
    assert "xn--wgv71a.jp" in page.tokens.read()
    sight = Sight(page.queue, page.config, read_routes(page.config))
    await page.queue.put(entry("anna@日本.jp", "bob@xn--wgv71a.jp", "carl@example.jp"))
    found = await sight.mine("xn--wgv71a.jp")
    assert found is not None
    assert {one.address for one in found.mail} == {"anna@日本.jp", "bob@xn--wgv71a.jp"}


async def test_mail_of_no_domain(page: Page) -> None:
    """The operator names none, or a stranger's, before and after he looked at the rest: 404, and the rest stays."""
    page.tokens.issue("gone.example")
    async with page.client() as client:
        for name in ("", "nobody.example", "status", "\x00", "a" * 3000, "."):
            assert (await client.get("/mine", params={"domain": name})).status_code == 404
            assert (await client.get("/api/mine", params={"domain": name})).status_code in (404, 422)
            assert (await client.get("/")).status_code == 200
    async with page.client("gone.example") as client:
        assert (await client.get("/")).status_code == 404


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}\x1b[2J\u202e\x00</pre>"


async def test_strangers_words_are_text(page: Page) -> None:
    """Subject, sender, recipient, reply, rule: whatever is written there is shown, not run, on each page."""
    headers = (f"Subject: {HOSTILE}".encode(), b"X-Odd: \xff\xfe")
    put = [
        entry(f'"{HOSTILE[:60]}"@example.jp', state=State.REFUSED, reason=HOSTILE, headers=headers),
        entry("x@example.jp", state=State.DISCARDED, reason=f"header_checks:1: {HOSTILE}", headers=headers),
        entry("y@example.jp", state=State.HELD, reason=HOSTILE, headers=headers),
    ]
    for one in put:
        await page.queue.put(one)
    paths = [
        "/", "/queue", "/quarantine", "/refused", "/rules", "/mine?domain=example.jp", "/?done=%3Cscript%3E&many=1",
        f"/trace?word={quote(HOSTILE)}", f"/queue?next_hop={quote(HOSTILE)}", *(f"/message/{one.id}" for one in put),
    ]  # fmt: skip
    async with page.browser() as (client, _):
        for path in paths:
            text = (await client.get(path)).text
            assert "<script>alert" not in text
            assert "<img" not in text
            assert ("onerror" in text) == ("{{7*7}}" in text)
            assert not {"\x1b", "\x00", "\u202e"} & set(text)


async def test_every_answer_is_guarded(page: Page) -> None:
    """No script but ours, no frame, no guess of the kind, nothing kept: also when it is refused or goes wrong."""
    async with page.browser() as (client, _):
        answers = [await client.get(path) for path in ("/", "/nowhere", "/static/htmx.min.js", "/api/status")]
        answers.append(await client.get("/", headers={"host": "evil.example"}))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "no-store" in answer.headers["cache-control"] or "static" in str(answer.url)


async def test_no_inline_script_or_style(page: Page) -> None:
    """What the policy would not let run is not there either, and nothing is fetched from elsewhere."""
    await page.queue.put(one := entry("anna@example.jp"))
    async with page.browser() as (client, _):
        for path in ("/", "/queue", f"/message/{one.id}", "/refused", "/quarantine", "/rules", "/trace"):
            text = (await client.get(path)).text
            assert "style=" not in text
            assert " onclick" not in text
            assert text.count("<script") == text.count('<script src="/static/') == 1
            assert "http://" not in text
            assert "https://" not in text


async def test_a_bug_tells_nothing(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser reads a sentence, the log the traceback, and the next request is answered."""
    async with page.client() as client:
        with monkeypatch.context() as broken:
            broken.setattr("backupmx.operate.page.sight.Sight._status", lambda self: 1 / 0)
            answer = await client.get("/api/status")
        assert (answer.status_code, "ZeroDivision" in answer.text) == (500, False)
        assert any(b"ZeroDivisionError" in line for line in page.log)
        assert (await client.get("/api/status")).status_code == 200


async def test_health_needs_no_token(page: Page) -> None:
    """It says whether mail is taken, and no more; here no appliance runs."""
    async with page.client("") as client:
        answer = await client.get("/healthz")
    assert (answer.status_code, answer.text) == (503, "not ok\n")


async def test_the_api_escapes(page: Page) -> None:
    """JSON has nothing that a terminal or a browser could take for more than text."""
    await page.queue.put(entry("x@example.jp", state=State.HELD, reason=HOSTILE))
    async with page.client() as client:
        answer = await client.get("/api/messages")
    assert answer.text.isascii()
    assert answer.text.strip().isprintable()
    assert json.loads(answer.text)["messages"][0]["reason"] == HOSTILE
