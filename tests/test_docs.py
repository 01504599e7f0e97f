"""What an operator can type or set has its sentence in docs/."""

import re
import tomllib
from collections.abc import Iterator
from inspect import isfunction
from pathlib import Path
from typing import Annotated

import click
import pytest
from pydantic import BaseModel, TypeAdapter

from backupmx.config import Config
from backupmx.config.read import section_of
from backupmx.journal import LABELS, Journal
from backupmx.logbook import CHECK_TIME
from backupmx.operate.cli import cli
from backupmx.operate.report.metrics import exposition
from backupmx.operate.report.tally import Tally

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {page.name: page.read_text("utf-8") for page in sorted(DOCS.glob("*.md"))}


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every setting by its full name: "smtp.listen", "checks.virus.engine"."""
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        if section := section_of(field):
            yield from keys(section, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def commands(group: click.Group, path: str = "backupmx") -> Iterator[str]:
    """Every command as it is typed: "backupmx queue list"."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}"


@pytest.mark.parametrize("key", sorted(keys(Config)))
def test_every_setting_has_its_row(key: str) -> None:
    """Each key of backupmx.toml stands in docs/configuration.md with what it does."""
    rows = re.findall(rf"^\| `{re.escape(key)}` \| (.+) \| (.+) \|$", PAGES["configuration.md"], re.MULTILINE)
    assert len(rows) == 1
    assert len(rows[0][1]) > 10


IN_WORDS = {
    "state_dir": "the file's directory",
    "rules.milter_header_checks": "the header_checks table",
    "checks.spam.required_score_for": "none",
}


@pytest.mark.parametrize("key", sorted(keys(Config)))
def test_every_default_is_as_it_says(key: str) -> None:
    """The default that docs/configuration.md gives is the one of a file without the key."""
    (said,) = re.findall(rf"^\| `{re.escape(key)}` \| (.+?) \|", PAGES["configuration.md"], re.MULTILINE)
    *sections, name = key.split(".")
    model: type[BaseModel] = Config
    for section in sections:
        model = section_of(model.model_fields[section]) or model
    field = model.model_fields[name]
    if field.is_required():
        assert said == "none"
    elif key in IN_WORDS:
        assert said == IN_WORDS[key]
    else:
        read = TypeAdapter(Annotated[field.annotation, *field.metadata, key])
        assert read.validate_python(tomllib.loads(f"x = {said.strip('`')}")["x"]) == field.get_default(
            call_default_factory=True
        )


def test_no_row_for_a_setting_that_is_not() -> None:
    """The documentation promises no key that the configuration does not know."""
    rows = set(re.findall(r"^\| `([a-z_.]+)` \|", PAGES["configuration.md"], re.MULTILINE))
    assert rows - set(keys(Config)) == set()


@pytest.mark.parametrize("command", sorted(commands(cli)))
def test_every_command_has_its_sentence(command: str) -> None:
    """Each verb of the command line is in docs/operations.md."""
    assert re.search(rf"`{re.escape(command)}[ `]", PAGES["operations.md"])


EVENTS = sorted(name for name, it in vars(Journal).items() if isfunction(it) and not name.startswith("_"))


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_has_its_row(event: str) -> None:
    """Each event of the journal stands in docs/events.md with the sentence of the code."""
    said = " ".join((getattr(Journal, event).__doc__ or "").split()).replace("|", "\\|")
    assert f"| `{event}` | {said} |" in PAGES["events.md"]


@pytest.mark.parametrize("metric", re.findall("# TYPE (.*) (?:counter|histogram)", exposition(Tally()).decode()))
def test_every_count_has_its_row(metric: str) -> None:
    """Each count stands in docs/events.md by its name in /metrics, with its labels and what it means."""
    of = LABELS.get(CHECK_TIME if metric == "backupmx_check_seconds_total" else metric, ("le",))
    labels = ", ".join(f"`{label}`" for label in of)
    assert re.search(rf"\| `{metric}` \| {re.escape(labels)} \| .{{15,}} \|", PAGES["events.md"])


def links() -> Iterator[tuple[str, str]]:
    for page in (ROOT / "README.md", *sorted(DOCS.glob("*.md"))):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            yield str(page.relative_to(ROOT)), target


@pytest.mark.parametrize(("page", "target"), sorted(set(links())))
def test_links_lead_somewhere(page: str, target: str) -> None:
    """A link between our pages names a file that is there."""
    assert ((ROOT / page).parent / target).exists()


def test_index_names_every_page() -> None:
    """docs/index.md leads to every page."""
    assert [name for name in PAGES if name != "index.md" and f"]({name})" not in PAGES["index.md"]] == []


def test_readme_tells_the_demo_as_it_is() -> None:
    """The last line of the demo in README.md is the one it prints."""
    from backupmx.operate.demo.primary import Primary
    from backupmx.operate.demo.scene import Scene
    from backupmx.operate.demo.screen import last_line
    from backupmx.operate.demo.script import Script
    from backupmx.operate.demo.served import Served

    primary = Primary("p.example", 0)
    steps = len(Script(Scene(ROOT, 0, {}, "", ()), Served(ROOT), primary, primary).plan())
    assert f"    {last_line(steps, steps)}\n" in (ROOT / "README.md").read_text("utf-8")
