"""What a run has measured, as one JSON file."""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

from tests.benchmarks.queues.catalogue import QUEUES, Shown


@dataclass
class Series:
    """The rounds of one queue in one measurement: the values of each."""

    count: int
    rounds: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """One queue in a table: the median of its rounds, the lowest, the highest, and its part of
    Soniq's median, if that is there.
    """

    queue: str
    count: int
    median: float
    lowest: float
    highest: float
    ratio: float | None


@dataclass
class Results:
    about: dict[str, str]
    """The machine, versions, settings and the date."""

    versions: dict[str, str]
    left_out: dict[str, str]
    """Queues that could not be measured, and why."""

    failures: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of a measurement, the queues that failed there, and why."""

    series: dict[str, dict[str, Series]] = field(default_factory=dict)

    def add(self, measurement: str, queue: str, count: int, values: list[float]) -> None:
        of_queues = self.series.setdefault(measurement, {})
        rounds = of_queues.setdefault(queue, Series(count)).rounds
        rounds.append([round(value, 3) for value in values])

    def fail(self, measurement: str, queue: str, why: str) -> None:
        """A queue that failed once has no figure in this measurement."""
        self.failures.setdefault(measurement, {})[queue] = why
        self.series.get(measurement, {}).pop(queue, None)

    def failed(self, measurement: str, queue: str) -> bool:
        return queue in self.failures.get(measurement, {})

    def rows(self, shown: Shown) -> list[Row]:
        """In the order of the catalogue."""
        series = self.series.get(shown.measurement, {})
        values = {
            queue: [shown.of_round(each) for each in found.rounds]
            for queue, found in series.items()
        }
        soniq = median(values["soniq"]) if "soniq" in values else None
        return [
            Row(
                name,
                series[name].count,
                median(values[name]),
                min(values[name]),
                max(values[name]),
                median(values[name]) / soniq if soniq else None,
            )
            for name in (entry.name for entry in QUEUES)
            if name in values
        ]

    def write(self, file: Path) -> None:
        """The values of a round stand in one line."""
        text = json.dumps(asdict(self), indent=1)
        text = re.sub(r"(?<=\d,)\s+(?=\d)|(?<=\[)\s+(?=\d)|(?<=\d)\s+(?=\])", "", text)
        file.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Self:
        found = json.loads(file.read_text(encoding="utf-8"))
        series = {
            measurement: {queue: Series(**each) for queue, each in queues.items()}
            for measurement, queues in found.pop("series").items()
        }
        return cls(**found, series=series)
