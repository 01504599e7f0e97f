"""arrivals: what a primary got, waited for."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from tests.journeys.patience import eventually


class Mail(Protocol):
    def values(self, name: str) -> list[str]: ...


M = TypeVar("M", bound=Mail)


class Primary(Protocol[M]):
    def messages(self) -> list[M]: ...


def subjects(primary: "Primary[M]") -> list[str]:
    """In the order of arrival."""
    return [value for mail in primary.messages() for value in mail.values("Subject")]


def arrived(primary: "Primary[M]", subject: str, seconds: float = 30.0) -> M:
    """The message with this subject, once it is there."""

    def look() -> M | None:
        return next((mail for mail in primary.messages() if subject in mail.values("Subject")), None)

    found = eventually(look, seconds, lambda: f"{subject} is not among {subjects(primary)}")
    assert found is not None
    return found


def all_arrived(primary: "Primary[M]", expected: Sequence[str], seconds: float = 30.0) -> None:
    """Each of these subjects, as often as it stands here, and no other."""
    same: Callable[[], bool] = lambda: sorted(subjects(primary)) == sorted(expected)  # noqa: E731
    eventually(same, seconds, lambda: f"{sorted(subjects(primary))} is not {sorted(expected)}")
