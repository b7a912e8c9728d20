"""Progress of a training or a sampler: a bar on a terminal, lines of text where the options say so,
and silence otherwise."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

T = TypeVar("T")

Style = Literal["auto", "bar", "lines", "off"]
SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Loss, steps per second, tasks per second and the time left, on standard error.

    `style` "auto" is a bar on a terminal and silence elsewhere; "lines" prints a line about every
    ten seconds. Use as a context manager.
    """

    def __init__(
        self, total: int, start: int = 0, style: Style = "auto", title: str = "training"
    ) -> None:
        if style == "auto":
            style = "bar" if sys.stderr.isatty() else "off"
        self.style, self.total, self.start, self.title = style, total, start, title
        self._values: dict[str, float] = {}
        self._began = self._printed = time.perf_counter()
        self._paused = 0.0
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        if self.style == "bar":
            self._bar = _bar()
            self._bar.start()
            self._bar.add_task(self.title, total=self.total, completed=self.start, values="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, values: Mapping[str, float] | None = None) -> None:
        """`step` steps are done (`total` may have grown); `values` (loss, steps/s, tasks/s, …) are
        shown until they are replaced."""
        if self.style == "off":
            return
        self._values |= values or {}
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], completed=step, total=self.total, values=self._words()
            )
        elif time.perf_counter() - self._printed >= SECONDS_BETWEEN_LINES or step == self.total:
            self._printed = time.perf_counter()
            print(
                f"step {step}/{self.total}  {self._words()}  {self._left(step)}",
                file=sys.stderr,
                flush=True,
            )

    def _words(self) -> str:
        return "  ".join(f"{name} {value:.4g}" for name, value in self._values.items())

    def _left(self, step: int) -> str:
        done = step - self.start
        seconds = (time.perf_counter() - self._began) / max(done, 1) * (self.total - step)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[values]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
        refresh_per_second=4,
    )


@contextlib.contextmanager
def stages(title: str) -> Iterator[Callable[[str], None]]:
    """A function that shows the words for what is computed now after `title`, on standard error
    where that is a terminal; nothing is shown without a title."""
    if not title or not sys.stderr.isatty():
        yield lambda words: None
        return
    from rich.console import Console

    with Console(stderr=True).status(title) as status:
        yield lambda words: status.update(f"{title}: {words}")


def watched(items: Iterable[T], title: str) -> Iterator[T]:
    """`items`, with a progress bar on standard error where that is a terminal."""
    listed = list(items)
    if not sys.stderr.isatty() or len(listed) < 2:
        yield from listed
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(listed, description=title, console=Console(stderr=True), transient=True)
