"""The progress of a run of the demo, on standard error."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class ProgressBars(Progress):
    """Bars for the requests sent and the events stored. A context manager."""

    def __init__(self, requests: int) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._sent = self.add_task("requests sent", total=requests)
        self._stored = self.add_task("events stored", total=requests)

    def stage(self, text: str) -> None:
        """A stage of the run begins."""
        self.console.print(f"{text} …")

    def sent(self) -> None:
        """A request was answered."""
        self.advance(self._sent)

    def stored(self, events: int) -> None:
        """The number of stored events has changed."""
        self.update(self._stored, completed=events)
