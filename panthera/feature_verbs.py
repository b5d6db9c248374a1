"""`panthera features ...`: look at what is online, compare it with what is offline, push, delete and clean up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from panthera.verb import DATA, EXIT_FINDING, add_group, add_json, add_verb, past_instant, plan_here, show, words

if TYPE_CHECKING:
    import argparse

    from panthera.verb import Add


def status(arguments: argparse.Namespace) -> int:
    """Say what is online; exit with 3 if a view is not, has future rows, or nobody fills what a release reads."""
    from panthera import online_features

    found = online_features.status(plan_here())
    show(found, found.table, as_json=arguments.json)
    return EXIT_FINDING if found.missing or found.future or found.unfilled else 0


def diff(arguments: argparse.Namespace) -> int:
    """Compare what is online with the snapshots, value by value, and say why they differ; exit with 3 on a defect."""
    from panthera import online_features

    found = online_features.diff(plan_here(), arguments.data, arguments.as_of)
    show(found, found.table, as_json=arguments.json)
    return EXIT_FINDING if found.defects else 0


def push(arguments: argparse.Namespace) -> int:
    """Bring fresh rows online, one JSON object a line: event_id, the entity's key, event_time and features."""
    from panthera import online_features

    receipt = online_features.push(plan_here(), arguments.view, arguments.file)
    print(f"push: {receipt.stored:,} rows stored, {receipt.duplicates:,} had been before")
    return 0


def delete(arguments: argparse.Namespace) -> int:
    """Delete one entity's rows from every online table."""
    from panthera import online_features

    for table, rows in online_features.delete(plan_here(), arguments.entity, arguments.key).items():
        print(f"delete: {table}: {rows} rows")
    return 0


def collect(_: argparse.Namespace) -> int:
    """Drop the tables of earlier versions of views that no release reads."""
    from panthera import online_features

    dropped = online_features.collect()
    print(f"collect: {', '.join(dropped) or 'nothing to drop'}")
    return 0


def add_feature_verbs(add: Add) -> None:
    """Add the verbs about what is online."""
    act = add_group(add, "features", "Look at what is online, bring rows there, or take them away.")
    standing, compare = add_verb(act, "status", status), add_verb(act, "diff", diff)
    compare.add_argument("--as-of", type=past_instant, help="compare with what was knowable then; without it: now")
    compare.add_argument("--data", type=Path, default=DATA, help="folder of the stages' tables")
    for added in (standing, compare):
        add_json(added)
    added = add_verb(act, "push", push)
    added.add_argument("view", type=words, help="name of the view")
    added.add_argument("file", type=Path, nargs="?", help="file of JSON lines; without it: the standard input")
    added = add_verb(act, "delete", delete)
    added.add_argument("entity", type=words, help="name of the entity, as the plan has it")
    added.add_argument("key", type=words, help="its key")
    add_verb(act, "collect", collect)
