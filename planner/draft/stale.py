"""The drafted keys whose evidence is another one now, because the data have changed since the draft."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from core.plan.yaml_text import load_yaml
from core.terminal import terminal_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from planner.draft.draft import Draft

FORMAT_VERSION = 1


@dataclass(frozen=True)
class StaleKey:
    """A key whose evidence or drafted value changed: the reasons then and now, or else the values; empty if not drafted."""

    path: str
    then: str
    now: str


@dataclass(frozen=True)
class Staleness:
    """The keys whose evidence changed, and the number of keys with evidence."""

    stale: tuple[StaleKey, ...]
    keys: int

    def to_dict(self) -> dict[str, object]:
        """Return the keys as JSON types."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    def table(self) -> RenderableType:
        """Compose the keys for a terminal."""
        title = f"{len(self.stale)} of {self.keys} drafted keys have other evidence now"
        table = terminal_table("key", "then", "now", title=title)
        for one in self.stale:
            table.add_row(one.path, one.then or "not drafted", one.now or "not drafted")
        return table if self.stale else title


def staleness(evidence: Mapping[str, Any], draft: Draft) -> Staleness:
    """Compare the evidence and the values of the last draft with those of a draft made of the present data."""
    then = _drafted(evidence["keys"], evidence["draft"])
    now = _drafted(json.loads(draft.evidence)["keys"], draft.text)
    paths = [path for path in dict.fromkeys([*then, *now]) if then.get(path) != now.get(path)]
    return Staleness(tuple(_stale(path, then.get(path), now.get(path)) for path in paths), len(then))


@dataclass(frozen=True)
class _Drafted:
    """What a draft says of a key: the reason, the figure behind it, and the value."""

    why: str
    figure: Any
    value: Any


def _drafted(keys: Sequence[Mapping[str, Any]], text: str) -> dict[str, _Drafted]:
    plan = load_yaml(text)
    return {one["path"]: _Drafted(one["why"], one["figure"], _value(plan, one["path"])) for one in keys}


def _value(plan: Any, path: str) -> Any:
    """Return the value of the key at a dotted path; None if it is absent, or a name on the way has a dot."""
    for key in path.split("."):
        plan = plan.get(key) if isinstance(plan, dict) else None
    return plan


def _stale(path: str, then: _Drafted | None, now: _Drafted | None) -> StaleKey:
    has_other_reason = then is None or now is None or then.why != now.why
    said = [each and (each.why if has_other_reason else json.dumps(each.value)) for each in (then, now)]
    return StaleKey(path, said[0] or "", said[1] or "")
