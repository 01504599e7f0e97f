"""The page in a real browser: Debian's Chromium."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backupmx.operate.page.tokens import FILE, OPERATOR, Tokens
from backupmx.queue.entry import State

pytestmark = [
    pytest.mark.neighbours,
    pytest.mark.skipif(
        shutil.which("chromium") is None and os.environ.get("BACKUPMX_NEIGHBOURS") != "required", reason="no chromium"
    ),
]
playwright = pytest.importorskip("playwright.async_api")

from tests.operate.page.scene import Night, chromium, night  # noqa: E402  after what it needs

PATHS = [
    "/",
    "/queue",
    "/refused",
    "/quarantine",
    "/rules",
    "/workbench",
    "/trace",
    "/message/{waiting}",
    "/message/{virus}",
    "/message/{two}",
]


class Seen:
    """A browser's page in a scene, signed in, and what its console said."""

    def __init__(self, scene: Night, page: playwright.Page) -> None:
        self.scene, self.page, self.complaints = scene, page, list[str]()
        page.on("console", lambda said: self._complain(said.text, said.type in ("error", "warning")))
        page.on("pageerror", lambda error: self._complain(str(error), True))
        page.on("request", lambda request: self._complain(request.url, "127.0.0.1" not in request.url))

    def _complain(self, words: str, wrong: bool) -> None:
        if wrong:
            self.complaints.append(words)

    async def go(self, path: str) -> None:
        await self.page.goto(self.scene.address + path.format(**self.scene.ids))


@pytest.fixture
async def seen(tmp_path: Path) -> AsyncIterator[Seen]:
    async with night(tmp_path) as scene, chromium() as browser:
        one = Seen(scene, await browser.new_page())
        await one.go("/login")
        await one.page.locator("#token:focus").wait_for()  # by itself
        await one.page.keyboard.type(scene.token)
        await one.page.keyboard.press("Enter")
        await one.page.wait_for_url(f"{scene.address}/")
        yield one


async def test_at_a_glance(seen: Seen) -> None:
    """The heading says what is wrong; every page loads nothing from elsewhere and breaks no policy of its own."""
    assert "mail.example.jp has been down for 3h" in await seen.page.locator("h1").inner_text()
    for path in PATHS:
        await seen.go(path)
        assert await seen.page.locator("h1").count() == 1
    assert seen.complaints == []


async def test_everything_is_labelled(seen: Seen) -> None:
    """Each field has a label, each picture a name, each page a language, a title and one main part; no id is twice."""
    for path in PATHS:
        await seen.go(path)
        wrong = await seen.page.evaluate("""() => {
            const bad = [];
            for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
                if (!e.labels.length) bad.push(e.outerHTML);
            for (const e of document.querySelectorAll("svg")) if (!e.getAttribute("aria-label")) bad.push(e.outerHTML);
            for (const e of document.querySelectorAll("button, a, summary"))
                if (!e.textContent.trim()) bad.push(e.outerHTML);
            const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
            if (new Set(ids).size != ids.length) bad.push(ids.join());
            for (const e of document.querySelectorAll("[aria-labelledby], [aria-describedby]"))
                for (const a of ["aria-labelledby", "aria-describedby"])
                    if (e.hasAttribute(a) && !document.getElementById(e.getAttribute(a))) bad.push(e.outerHTML);
            if (document.querySelectorAll("main").length != 1 || !document.documentElement.lang || !document.title)
                bad.push("main, lang or title");
            return bad }""")
        assert wrong == []


async def test_by_keyboard_alone(seen: Seen) -> None:
    """Tab reaches the skip link first; a deed is opened with Enter, confirmed with Enter, and told."""
    await seen.go("/message/{held}")
    await seen.page.keyboard.press("Tab")
    assert await seen.page.evaluate("document.activeElement.className") == "skip"
    for _ in range(40):
        await seen.page.keyboard.press("Tab")
        if await seen.page.evaluate("document.activeElement.textContent") == "Release":
            break
    ring = await seen.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    await seen.page.keyboard.press("Enter")
    await seen.page.keyboard.press("Tab")
    await seen.page.keyboard.press("Enter")
    await seen.page.wait_for_url("**done=release&many=1")
    assert ring == "solid"
    assert await seen.page.get_by_role("status").inner_text() == "1 recipient released."
    (entry,) = await seen.scene.queue.waiting(id=seen.scene.ids["held"])
    assert [r.state for r in entry.recipients] == [State.QUEUED]


async def test_nothing_is_done_by_one_click(seen: Seen) -> None:
    """Delete asks first; then the message is gone and its page tells what became of it."""
    await seen.go("/message/{discarded}")
    await seen.page.locator("summary", has_text="Delete").click()
    assert len(await seen.scene.queue.quarantined(id=seen.scene.ids["discarded"])) == 1
    await seen.page.get_by_role("button", name="Delete").click()
    await seen.page.wait_for_url("**done=delete&many=1")
    assert await seen.scene.queue.quarantined(id=seen.scene.ids["discarded"]) == []
    assert "deleted" in await seen.page.locator("#main").inner_text()


async def test_the_workbench(seen: Seen) -> None:
    """What is typed is tried, and stands there again as it was typed, folds and markup too."""
    message = "Subject: You have\n\twon <b>\n\n</textarea><script>alert(1)</script>\n"
    rules = "/won/ REJECT no\n/^X-/ IGNORE\n"
    await seen.go("/workbench")
    for _ in range(2):
        await seen.page.get_by_label("Message, with its headers").fill(message)
        await seen.page.get_by_label("Rules, as in header_checks").fill(rules)
        await seen.page.get_by_role("button", name="Try").click()
        await seen.page.get_by_role("status").wait_for()
    assert await seen.page.get_by_role("status").inner_text() == "Judged otherwise than today."
    assert await seen.page.get_by_label("Message, with its headers").input_value() == message
    assert await seen.page.get_by_label("Rules, as in header_checks").input_value() == rules
    assert seen.complaints == []


@pytest.mark.parametrize("width", [320, 380, 768])
async def test_narrow(seen: Seen, width: int) -> None:
    """On a phone nothing is wider than the screen, and what is pressed is large enough for a thumb (WCAG 2.5.8)."""
    await seen.page.set_viewport_size({"width": width, "height": 700})
    for path in PATHS:
        await seen.go(path)
        assert await seen.page.evaluate("document.documentElement.scrollWidth") <= width
        small = "[...document.querySelectorAll('button, summary')].filter(e => e.offsetHeight && e.offsetHeight < 24)"
        assert await seen.page.evaluate(f"{small}.length") == 0


async def test_dark(seen: Seen) -> None:
    """Who has his system dark gets a dark page."""
    grounds = set()
    for scheme in ("light", "dark"):
        await seen.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        grounds.add(await seen.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == {"rgb(251, 250, 247)", "rgb(21, 23, 26)"}


async def test_it_keeps_itself_up_to_date(seen: Seen) -> None:
    """The overview's own refresh brings what is so now, breaks no policy, and leaves an open question open."""
    await seen.scene.queue.pause("example.jp", 1.0)
    await seen.go("/")
    await seen.page.locator("summary", has_text="Resume").click()
    await seen.scene.queue.change(seen.scene.ids["two"], "", State.DELETED, now=1.0)
    await seen.page.get_by_text("35 recipients wait").wait_for(timeout=40_000)
    assert await seen.page.get_by_role("button", name="Resume").is_visible()
    assert seen.complaints == []


async def test_a_session_that_is_over(seen: Seen) -> None:
    """A page that refreshes itself shows the login then, not an old state and not nothing."""
    Tokens(seen.scene.folder / "state" / FILE).issue(OPERATOR, new=True)
    await seen.page.wait_for_url("**/login", timeout=40_000)


async def test_one_of_several_recipients(seen: Seen) -> None:
    """A deed may be for one of them."""
    await seen.go("/message/{two}")
    await seen.page.locator("summary", has_text="Hold").click()
    form = seen.page.locator("form", has=seen.page.get_by_role("button", name="Hold"))
    await form.get_by_label("For").select_option("bob@example.jp")
    await form.get_by_role("button", name="Hold").click()
    await seen.page.wait_for_url("**done=hold&many=1")
    (entry,) = await seen.scene.queue.waiting(id=seen.scene.ids["two"])
    assert [r.state for r in entry.recipients] == [State.HELD, State.QUEUED]


async def test_without_javascript(tmp_path: Path) -> None:
    """Everything is read, and a message is released, with scripts off."""
    async with night(tmp_path) as scene, chromium() as browser:
        page = await (await browser.new_context(java_script_enabled=False)).new_page()
        await page.goto(f"{scene.address}/login")
        await page.get_by_label("Token").fill(scene.token)
        await page.get_by_role("button", name="Sign in").click()
        assert "has been down" in await page.locator("h1").inner_text()
        await page.goto(f"{scene.address}/message/{scene.ids['held']}")
        await page.locator("summary", has_text="Release").click()
        await page.get_by_role("button", name="Release").click()
        assert await page.get_by_role("status").inner_text() == "1 recipient released."


async def test_all_is_well(tmp_path: Path) -> None:
    """A quiet night is one green sentence."""
    async with night(tmp_path, quiet=True) as scene, chromium() as browser:
        page = await browser.new_page()
        await page.goto(f"{scene.address}/login")
        await page.get_by_label("Token").fill(scene.token)
        await page.get_by_role("button", name="Sign in").click()
        assert await page.locator("h1").inner_text() == "All is well."
        assert await page.locator(".lead").inner_text() == "Nothing waits."
