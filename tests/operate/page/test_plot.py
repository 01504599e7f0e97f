"""Pictures made on the server: right, and well-formed whatever the numbers are."""

from xml.etree import ElementTree

from backupmx.operate.page import plot
from backupmx.operate.page.facts import PastOutage, VerdictHour

NOW = 1_800_000_300
SVG = ElementTree.fromstring


def test_an_hour_is_a_bar_as_high_as_its_mail() -> None:
    """The hour with most mail fills the height; stacks do not overlap; the newest is at the right."""
    hour = NOW // 3600 * 3600
    hours = [VerdictHour(hour, "accept", 30), VerdictHour(hour, "reject", 10), VerdictHour(hour - 3600, "accept", 20)]
    groups = [g for g in SVG(plot.verdicts(hours, NOW)) if g.tag == "g"]
    bars = [[(float(r.get("y", 0)), float(r.get("height", 0))) for r in g if r.tag == "rect"] for g in groups]
    assert bars == [[(60.0, 60.0)], [(30.0, 90.0), (0.0, 30.0)]]
    assert [g[1].get("x") for g in groups] == [str(166 * 5), str(167 * 5)]
    assert "30 accept, 10 reject" in (groups[1][0].text or "")


def test_no_mail_is_no_picture() -> None:
    """Nothing, or only what is older than a week, or of the future, draws nothing that could mislead."""
    assert plot.verdicts([], NOW) == ""
    assert plot.verdicts([VerdictHour(NOW - 8 * 86400, "accept", 5)], NOW) == ""
    assert "<g>" not in plot.verdicts([VerdictHour(NOW + 86400, "accept", 5)], NOW)


def test_outages_stand_where_they_were() -> None:
    """Half a week ago is the middle; what began earlier is cut, what lasts reaches the edge; its words are escaped."""
    week = plot.WEEK
    outages = [
        PastOutage("a", NOW - 2 * week, NOW - week // 2, "<b>"), PastOutage("a", NOW - 60, None, "x"),
        PastOutage("a", NOW - 3 * week, NOW - 2 * week, "forgotten"),
    ]  # fmt: skip
    picture = SVG(plot.strip(outages, NOW))
    bars = [(float(r.get("x", 0)), float(r.get("width", 0))) for r in picture if r.get("class") == "down"]
    assert bars == [(0.0, 350.0), (698.0, 2.0)]
    assert "2 times" in (picture.get("aria-label") or "")
    assert plot.strip([], NOW).count("down") == 1  # "Never down": the sentence, no bar
