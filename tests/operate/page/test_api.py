"""The API: what it says, what it does, and that its description is of it."""

from dataclasses import replace
from typing import Any

import pytest
from starlette.routing import Route

from backupmx.operate.page.api import OPERATIONS
from backupmx.operate.page.openapi import document
from backupmx.queue.entry import HopState, State
from tests.operate.page.conftest import Page
from tests.queue.samples import HOP, NOW, entry


def test_every_route_is_described() -> None:
    """Each operation is in the OpenAPI document, with its parameters, and the document names no other."""
    said = document()
    described = {(method.upper(), path) for path, methods in said["paths"].items() for method in methods}
    assert described == {(one.method, one.path) for one in OPERATIONS}
    for one in OPERATIONS:
        about = said["paths"][one.path][one.method.lower()]
        assert {word["name"] for word in about["parameters"]} == {w.name for w in one.words if w.where != "body"}


def test_every_route_of_the_api_is_an_operation(page: Page) -> None:
    """Nothing under /api/ is served that the document does not tell of."""
    served = {route.path for route in page.app._app.routes if isinstance(route, Route)}  # type: ignore[attr-defined]
    assert {path for path in served if path.startswith("/api/")} == {
        "/api/openapi.json", *(one.path for one in OPERATIONS),
    }  # fmt: skip


async def test_every_status_is_described(page: Page) -> None:
    """What the guard answers stands in the document as what it is: plain text."""
    said = document()["paths"]["/api/flush"]["post"]["responses"]
    async with page.client() as client, page.client("") as nobody:
        answers = [
            await nobody.post("/api/flush", json={}),
            await client.post("/api/flush", content=b"[", headers={"content-type": "application/json"}),
            await client.post("/api/flush", content=b"x", headers={"content-type": "text/plain"}),
            await client.post("/api/flush", json={"domain": "x" * 100_000}),
            await client.post("/api/flush", json={}, headers={"origin": "null"}),
            await client.post("/api/flush", json={}, headers={"host": "evil.example"}),
            await client.delete("/api/flush"),
            await client.post("/api/flush", json={"domain": "nobody.example"}),
        ]
    assert [answer.status_code for answer in answers] == [401, 400, 415, 413, 403, 421, 405, 404]
    for answer in answers:
        assert answer.headers["content-type"].partition(";")[0] in said[str(answer.status_code)]["content"]


async def test_hundreds_of_next_hops(page: Page) -> None:
    """The overview shows a dozen in full, what is wrong first, then a line each, then how many more there are."""
    for n in range(250):
        await page.queue.put(entry(f"u@d{n}.example", hop=f"smtp:[mail{n}.example.net]:25"))
    await page.queue.set_hop_state(HopState("smtp:[mail99.example.net]:25", False, NOW, "timed out", 0, 1))
    async with page.browser() as (client, _):
        text = (await client.get("/")).text
    assert text.count("<article") == 12
    assert text.index("mail99.example.net") < text.index("mail0.example.net")
    assert "239 further next hops" in text
    assert "And 51 more" in text
    assert len(text) < 150_000


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        inner = {ref for each in value.values() for ref in _references(each)}
        return inner | ({value["$ref"]} if "$ref" in value else set())
    return {ref for each in value for ref in _references(each)} if isinstance(value, list) else set()


def test_the_description_is_whole() -> None:
    """Every schema that it refers to is there."""
    said = document()
    wanted = {reference.removeprefix("#/components/schemas/") for reference in _references(said)}
    assert wanted - set(said["components"]["schemas"]) == set()


async def test_what_is_answered_is_what_is_described(page: Page) -> None:
    """The members of each answer are those of its schema."""
    await page.queue.put(one := entry("anna@example.jp", state=State.REFUSED, reason="x said: 550 5.1.1 no"))
    schemas = document()["components"]["schemas"]
    async with page.client() as client:
        for path, name in (
            ("/api/status", "Status"), ("/api/messages", "Listing"), (f"/api/messages/{one.id}", "Found"),
            ("/api/mine?domain=example.jp", "Mine"),
        ):  # fmt: skip
            assert set((await client.get(path)).json()) == set(schemas[name]["properties"])


@pytest.mark.parametrize(
    ("verb", "before", "status", "after"),
    [
        ("hold", State.QUEUED, 200, State.HELD),
        ("hold", State.HELD, 409, State.HELD),
        ("release", State.HELD, 200, State.QUEUED),
        ("release", State.DISCARDED, 200, State.QUEUED),
        ("retry", State.REFUSED, 200, State.QUEUED),
        ("retry", State.DISCARDED, 404, State.DISCARDED),
        ("delete", State.DISCARDED, 200, None),
        ("delete", State.QUEUED, 200, None),
        ("return", State.DISCARDED, 404, State.DISCARDED),
        ("return", State.REFUSED, 409, State.REFUSED),
        ("burn", State.QUEUED, 422, State.QUEUED),
    ],
)
async def test_a_deed(page: Page, verb: str, before: State, status: int, after: State | None) -> None:
    """What applies is done and logged with who did it; what does not is a 409 with its reason, the unknown a 404."""
    await page.queue.put(one := entry("anna@example.jp", state=before, reason="header_checks:1"))
    async with page.client() as client:
        answer = await client.post(f"/api/messages/{one.id}/{verb}", json={})
    found = [
        r.state for kept in (page.queue.waiting, page.queue.quarantined) for e in await kept() for r in e.recipients
    ]
    assert (answer.status_code, found) == (status, [after] if after else [])
    assert any(f"operator: {verb} {one.id}: 1 recipient".encode() in line for line in page.log) == (status == 200)


async def test_one_recipient(page: Page) -> None:
    """`address` is one of several; one that is not there is a 404."""
    await page.queue.put(one := entry("anna@example.jp", "bob@example.jp"))
    async with page.client() as client:
        path = f"/api/messages/{one.id}/hold"
        assert (await client.post(path, json={"address": "bob@example.jp"})).json() == {"changed": 1}
        assert (await client.post(path, json={"address": "eve@example.jp"})).status_code == 404
    (waiting,) = await page.queue.waiting()
    assert [r.state for r in waiting.recipients] == [State.QUEUED, State.HELD]


async def test_a_virus_wants_force(page: Page) -> None:
    """What an engine called a virus is released by insisting only."""
    await page.queue.put(one := entry("anna@example.jp", state=State.DISCARDED, reason="virus found: Eicar"))
    async with page.client() as client:
        path = f"/api/messages/{one.id}/release"
        assert (await client.post(path, json={"force": False})).status_code == 409
        assert (await client.post(path, json={"force": True})).json() == {"changed": 1}


async def test_a_group(page: Page) -> None:
    """All that one primary refused for one kind of reason, and nothing else."""
    for address, reason in (("a@example.jp", "550 5.1.1 no"), ("b@example.jp", "552 5.3.4 big")):
        one = entry(address, state=State.REFUSED)
        said = tuple(replace(r, reason=f"host p said: {reason}") for r in one.recipients)
        await page.queue.put(replace(one, recipients=said))
    async with page.client() as client:
        body = {"next_hop": HOP, "kind": "unknown-user"}
        assert (await client.post("/api/refused/delete", json=body)).json() == {"changed": 1}
        assert (await client.post("/api/refused/delete", json=body)).status_code == 404
        assert (await client.post("/api/refused/delete", json={"kind": "size"})).status_code == 422
        assert (await client.post("/api/refused/delete", json={"next_hop": HOP, "kind": "all"})).status_code == 422
    assert [r.address for e in await page.queue.waiting() for r in e.recipients] == ["b@example.jp"]


async def test_what_was_done_is_seen_at_once(page: Page) -> None:
    """The overview is remembered for a moment, but not past a deed."""
    await page.queue.put(one := entry("anna@example.jp"))
    async with page.client() as client:
        before = (await client.get("/api/status")).json()["next_hops"][0]
        await client.post(f"/api/messages/{one.id}/hold", json={})
        after = (await client.get("/api/status")).json()["next_hops"][0]
    assert [(hop["queued"], hop["held"]) for hop in (before, after)] == [(1, 0), (0, 1)]


async def test_domains(page: Page) -> None:
    """Pause and resume are for our domains; a flush wants an appliance that runs."""
    await page.queue.put(entry("anna@example.jp"))
    async with page.client() as client:
        assert (await client.post("/api/pause", json={"domain": "Example.JP."})).json() == {"waiting": 1}
        assert [one["domain"] for one in (await client.get("/api/status")).json()["paused"]] == ["example.jp"]
        assert (await client.post("/api/resume", json={"domain": "example.jp"})).json() == {"waiting": 1}
        assert (await client.post("/api/resume", json={"domain": "example.jp"})).status_code == 404
        assert (await client.post("/api/pause", json={"domain": "other.example"})).status_code == 404
        assert (await client.post("/api/flush", json={})).status_code == 409
        assert (await client.get("/api/flush/7")).status_code == 404


async def test_pages_of_the_queue(page: Page) -> None:
    """`next` leads through all of it, also of one next hop, and nothing is told twice."""
    hops = ["smtp:[a.example]", "smtp:[b.example]"]
    for n in range(9):
        await page.queue.put(entry(f"u{n}@example.jp", hop=hops[n % 2], arrived=1_800_000_000.0 + n))
    async with page.client() as client:
        for query, many in (("", 9), (f"&next_hop={hops[0]}", 5), ("&state=held", 0)):
            seen, after = list[str](), ""
            while True:
                listing = (await client.get(f"/api/messages?limit=2&after={after}{query}")).json()
                seen += [one["queue_id"] for one in listing["messages"]]
                if not (after := listing["next"]):
                    break
            assert (len(seen), len(set(seen))) == (many, many)
        for limit in ("0", "-1", "1e9", "99999999999999999999999", "x"):
            assert (await client.get(f"/api/messages?limit={limit}")).status_code == 422


async def test_metrics_read_back(page: Page) -> None:
    """Prometheus' own parser finds who waits."""
    from prometheus_client.parser import text_string_to_metric_families

    await page.queue.put(entry("anna@example.jp", "bob@example.jp"))
    async with page.client("metrics") as client:
        text = (await client.get("/metrics")).text
    found = {(s.name, s.labels.get("state")): s.value for f in text_string_to_metric_families(text) for s in f.samples}
    assert found["backupmx_queue_recipients", "queued"] == 2.0
    assert found["backupmx_running", None] == 0.0
