"""What can be read: contrast, computed of the style sheet as WCAG 2.2 1.4.3 and 1.4.11 have it."""

import re
from importlib import resources

import pytest

STYLE = resources.files("backupmx.operate.page").joinpath("static/style.css").read_text()
LIGHT, DARK = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part)) for part in STYLE.split("@media", 1))
TEXT = [
    *((ink, ground) for ink in ("ink", "soft", "link", "good", "bad") for ground in ("ground", "raised")),
    ("good", "good-ground"), ("bad", "bad-ground"), ("wait", "wait-ground"), ("ink", "line"), ("ground", "ink"),
    ("ground", "bad"),
]  # fmt: skip


def luminance(colour: str) -> float:
    """Relative, of "#rrggbb"."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), TEXT)
def test_text_can_be_read(scheme: dict[str, str], ink: str, ground: str) -> None:
    """Every pair of text and ground has 4.5 to 1."""
    assert contrast(scheme[ink], scheme[ground]) >= 4.5


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_marks_can_be_seen(scheme: dict[str, str]) -> None:
    """The ring of the focus, the frame of a field and the bars of an outage have 3 to 1 with what is beside them."""
    for mark, ground in (("focus", "ground"), ("focus", "raised"), ("soft", "ground"), ("bad", "good-ground")):
        assert contrast(scheme[mark], scheme[ground]) >= 3
