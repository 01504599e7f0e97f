"""Every case in tests/cases/header_checks: the engine against what a real Postfix did."""

import json
from pathlib import Path

import pytest

from tests.neighbours.postfix_lab import Answer

from .differential.compare import differences
from .differential.generate import Case

FOLDER = Path(__file__).parent.parent / "cases" / "header_checks"
CASES = sorted(
    path.parent for pattern in ("*/expected.json", "private/*/expected.json") for path in FOLDER.glob(pattern)
)


def read(folder: Path) -> tuple[Case, Answer]:
    def text(name: str) -> bytes | None:
        path = folder / name
        return path.read_bytes() if path.exists() else None

    adds = [(edit[1], edit[2]) for edit in json.loads(text("milter.json") or b"[]")]
    lane = (text("lane") or b"").decode().strip() or ("milter" if text("milter.json") is not None else "pcre")
    case = Case(
        text("rules") or b"", text("message.eml") or b"", text("mime_rules"), text("nested_rules"),
        text("body_rules") or b"", text("milter_rules") or b"", adds, lane,
    )  # fmt: skip
    said = json.loads(text("expected.json") or b"{}")
    answer = Answer(
        said["action"], said["code"], said["text"], tuple(said["log"]), tuple(said.get("recipients", ())),
        said.get("redirect_to"), said.get("filter_to"), text("delivered.eml"),
    )  # fmt: skip
    return case, answer


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_case_has_the_outcome_it_has_in_postfix(folder: Path) -> None:
    """The same verdict, the same reply, the same logged decisions, the same bytes to the next hop."""
    case, answer = read(folder)
    assert differences(answer, case) == []


def test_there_are_cases() -> None:
    """An empty folder would prove nothing."""
    assert len(CASES) > 300
