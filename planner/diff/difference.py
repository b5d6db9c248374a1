"""The difference of two plans as one result: the keys, the stages that run, what they cost, and the other effects."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from core.plan.file import parse_plan
from core.plan.yaml_text import load_yaml
from core.terminal import terminal_table
from planner.diff.effects import Effect, effects
from planner.diff.stages import StageRun, Versions, read_stages, sizes_of_outputs, stages_that_run
from planner.diff.values import Change, changes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rich.console import RenderableType

FORMAT_VERSION = 1
_MEGABYTE = 1e6


@dataclass(frozen=True)
class Difference:
    """The difference of a plan from an earlier one.

    Attributes
    ----------
    earlier : what the earlier plan is called.
    stages : the stages that `dvc repro` runs, after a run of the earlier plan.
    seconds, output_bytes : what the last runs of these stages took and wrote; None if one of them has not run.
    effects : what else changes.

    """

    earlier: str
    keys: tuple[Change, ...]
    stages: tuple[StageRun, ...]
    seconds: float | None
    output_bytes: float | None
    effects: tuple[Effect, ...]

    @property
    def breaking(self) -> bool:
        """Whether callers of the service have to change."""
        return any(effect.breaking for effect in self.effects)

    def to_dict(self) -> dict[str, object]:
        """Return the difference as JSON types."""
        return {"format_version": FORMAT_VERSION, "breaking": self.breaking, **asdict(self)}

    def table(self) -> RenderableType:
        """Compose the difference for a terminal."""
        from rich.console import Group

        if not self.keys:
            return f"no key of the plan differs from {self.earlier}"
        keys = terminal_table("key", "before", "after", title=f"Changed since {self.earlier}")
        for change in self.keys:
            keys.add_row(*change.cells())
        return Group(keys, *self._stages(), *self._effects())

    def _stages(self) -> Iterator[RenderableType]:
        if not self.stages:
            yield "dvc repro runs no stage for it"
            return
        table = terminal_table("stage", "runs", "because of", title="What dvc repro runs", caption=self._cost())
        for run in self.stages:
            table.add_row(run.name, run.runs.replace("_", " "), ", ".join(run.because))
        yield table

    def _cost(self) -> str:
        if self.seconds is None or self.output_bytes is None:
            return "what it takes is known once these stages have run here"
        return f"last time they took {self.seconds:,.0f} s and wrote {self.output_bytes / _MEGABYTE:,.1f} MB"

    def _effects(self) -> Iterator[RenderableType]:
        if not self.effects:
            return
        verdict = "callers of the service have to change" if self.breaking else "callers of the service need not change"
        table = terminal_table("what", "effect", "breaking", title="What else changes", caption=verdict)
        for effect in self.effects:
            table.add_row(effect.subject, effect.effect, "yes" if effect.breaking else "")
        yield table


def difference(
    earlier: str, before: str, after: str, name: str, project: Path, seconds: Mapping[str, float]
) -> Difference:
    """Return the difference of the plan text `after` from the plan text `before`.

    Parameters
    ----------
    earlier, name : what the two plans are called.
    project : the folder of `dvc.yaml` and `dvc.lock`.
    seconds : the duration of the last run of stages, by stage.

    Raises
    ------
    PlanError
        If one of the texts is no valid plan.

    """
    plans = parse_plan(before, earlier), parse_plan(after, name)
    versions = Versions(before, after, load_yaml(before), load_yaml(after), *plans)
    stages = read_stages(project / "dvc.yaml")
    runs = stages_that_run(stages, versions)
    return Difference(
        earlier=earlier,
        keys=tuple(changes(versions.before_raw, versions.after_raw)),
        stages=runs,
        seconds=_total(runs, seconds),
        output_bytes=_total(runs, sizes_of_outputs(project / "dvc.lock")),
        effects=effects(*plans),
    )


def _total(runs: tuple[StageRun, ...], amounts: Mapping[str, float]) -> float | None:
    """Return the sum of the amounts of all runs; None if one is not known."""
    return sum(amounts[run.name] for run in runs) if all(run.name in amounts for run in runs) else None
