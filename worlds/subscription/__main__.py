"""The command: `python -m worlds.subscription --customers 10000 --seed 7 --out DIR`."""

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from core.errors import PantheraError


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see --help\n")


def main(arguments: list[str] | None = None) -> int:
    """Generate the world; return the exit code: 0, or 2 after one line of error message on standard error."""
    parsed = _parser().parse_args(arguments)
    # Imported here because numpy and pyarrow take longer than --help may.
    from worlds.subscription.generate import generate
    from worlds.subscription.settings import SubscriptionSettings

    try:
        values = _read_values(parsed.settings) | {
            name: value for name in ("customers", "seed") if (value := getattr(parsed, name)) is not None
        }
        written = generate(SubscriptionSettings(**values), parsed.out, parsed.workers, progress=not parsed.quiet)
    except PantheraError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    print(f"{written.folder}: {written.records['customers']} customer records, {written.events} events")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m worlds.subscription", description="Generate a subscription business, with truth.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must not exist, or be empty")
    parser.add_argument("--customers", type=int, help="number of customers (default 10000)")
    parser.add_argument("--seed", type=int, help="another seed gives another world (default 7)")
    parser.add_argument("--settings", type=Path, help="YAML file with any of the settings")
    parser.add_argument("--workers", type=int, default=1, help="processes; they do not change the bytes (default 1)")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    return parser


def _read_values(path: Path | None) -> dict[str, Any]:
    """Read a YAML mapping of settings, empty without a path."""
    if path is None:
        return {}
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as failure:
        reason = " ".join(str(failure).split())
        raise PantheraError(f"settings: {path} cannot be read: {reason}") from failure
    if not isinstance(values, dict):
        raise PantheraError(f"settings: {path} contains {type(values).__name__}, expected a mapping of names to values")
    return values


if __name__ == "__main__":
    sys.exit(main())
