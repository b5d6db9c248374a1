"""The verbs about a plan and its data: `plan`, `profile`, `draft`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.settings import read_settings
from core.terminal import print_whole
from panthera.verb import (
    EXIT_FINDING,
    add_data,
    add_json,
    add_verb,
    count,
    plain_text,
    read_current_plan,
    show,
    show_line,
)

if TYPE_CHECKING:
    from panthera.drafting import Request
    from panthera.verb import Add
    from planner.draft.draft import Draft


def check_plan(arguments: argparse.Namespace) -> int:
    """Check the plan without running anything."""
    if arguments.schema:
        from panthera.plan_page import schema_text

        print(schema_text(), end="")
        return 0
    plan = read_current_plan()
    path, views = read_settings().plan, plan.build_features.views
    counts = {
        "sources": len(plan.ingest),
        "views": len(views),
        "features": sum(len(view.features) for view in views.values()),
        "candidates": len(plan.train.candidates),
    }
    show_line(
        f"{path}: {plan.project.name} is valid: {counts['sources']} sources, {counts['views']} views with "
        f"{counts['features']} features, {counts['candidates']} candidates",
        {"plan": str(path), "project": plan.project.name, **counts},
        as_json=arguments.json,
    )
    return 0


def check_with_data(arguments: argparse.Namespace) -> int:
    """Check the plan and the rows of its sources before the first stage; exit with 3 if a stage would end for a finding."""
    from core.plan.text import read_text
    from planner.verbs import check_plan_and_sources, findings_in_sarif

    path = read_settings().plan
    found = check_plan_and_sources(path)
    if arguments.sarif:
        print(json.dumps(findings_in_sarif(found, read_text(path), path.as_posix()), indent=2))
    else:
        show(found, found.table, as_json=arguments.json)
    return EXIT_FINDING if found.refused else 0


def contract(arguments: argparse.Namespace) -> int:
    """Print what the plan expects of its sources as a data contract (ODCS), or check a producer's contract against it."""
    from planner.verbs import compare_with_contract, contract_of

    plan = read_current_plan()
    if arguments.check is not None:
        found = compare_with_contract(plan, arguments.check)
        show(found, found.table, as_json=arguments.json)
        return EXIT_FINDING if found.refused else 0
    if arguments.json:
        print(json.dumps(contract_of(plan), indent=2, default=str))
        return 0
    import yaml

    print(yaml.safe_dump(contract_of(plan), sort_keys=False, allow_unicode=True, width=110), end="")
    return 0


def prove(arguments: argparse.Namespace) -> int:
    """Prove that no feature looks ahead, by changing later rows and building again; exit with 3 if one does."""
    from planner.verbs import prove_no_look_ahead

    found = prove_no_look_ahead(read_current_plan(), arguments.data, arguments.instants)
    show(found, found.table, as_json=arguments.json)
    return EXIT_FINDING if found.leaks else 0


def decide(arguments: argparse.Namespace) -> int:
    """Decide horizon, threshold, money and the length of the A/B test before training; exit with 3 if a year is too short."""
    from panthera.plan_rows import accepted_rows
    from planner.verbs import decide_plan

    plan = read_current_plan()
    with accepted_rows(plan, arguments.data, read_settings().state / "downloads") as accepted:
        found = decide_plan(plan, accepted, arguments.traffic, arguments.effect)
    show(found, found.table, as_json=arguments.json)
    return 0 if found.found else EXIT_FINDING


def forecast(arguments: argparse.Namespace) -> int:
    """Forecast the score on the test rows before training, from fast learners; exit with 3 if nothing can be said."""
    from panthera.plan_rows import training_rows
    from planner.verbs import forecast_score

    plan = read_current_plan()
    table = training_rows(plan, arguments.data, read_settings().state / "downloads")
    found = forecast_score(plan, table)
    show(found, found.table, as_json=arguments.json)
    return 0 if found.found else EXIT_FINDING


def relative_effect(text: str) -> float:
    """Return an argument that is a share above 0 and below 1; raise ArgumentTypeError otherwise."""
    try:
        effect = float(text)
    except ValueError:
        effect = math.nan
    if not 0 < effect < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a relative change such as 0.1, above 0 and below 1")
    return effect


def why(arguments: argparse.Namespace) -> int:
    """Show why a drafted key is as it is: the evidence, and what its query finds now."""
    from panthera.drafting import EVIDENCE
    from planner.verbs import why_drafted

    found = why_drafted(read_current_plan(), read_settings().plan.parent / EVIDENCE, arguments.key)
    show(found, found.table, as_json=arguments.json)
    return 0


def diff(arguments: argparse.Namespace) -> int:
    """Show what a change of the plan does: keys, stages that run, tables, releases; exit with 3 if callers have to change."""
    from planner.verbs import difference_of_plan

    found = difference_of_plan(read_settings(), arguments.rev)
    show(found, found.table, as_json=arguments.json)
    return EXIT_FINDING if found.breaking else 0


def render(arguments: argparse.Namespace) -> int:
    """Write the plan as a document for people: every section, what it is based on, risks, open questions, results."""
    from core.files import write_whole
    from core.plan.file import parse_plan
    from core.plan.text import read_text
    from planner.verbs import document_plan, document_text

    path = read_settings().plan
    text = read_text(path)
    found = document_plan(parse_plan(text, str(path)), text, arguments.data, arguments.card or "plan")
    if arguments.json:
        show(found, lambda: "", as_json=True)
        return 0
    composed = document_text(found, as_html=arguments.html)
    if arguments.out is None:
        print(composed, end="")
        return 0
    write_whole(arguments.out, composed)
    print(f"wrote {arguments.out}")
    return 0


def profile(arguments: argparse.Namespace) -> int:
    """Show what files hold: tables, columns, keys, links, times; DATA are files, folders, globs or databases."""
    from core.files import write_whole
    from planner.verbs import profile_files, profile_html

    found = profile_files(arguments.data, arguments.target)
    if arguments.out:
        write_whole(arguments.out, profile_html(found))
    show(found, found.table, as_json=arguments.json)
    return 0


def draft(arguments: argparse.Namespace) -> int:
    """Draft a plan from files, with the evidence of each line; without DATA, draft the plan of the last draft again."""
    from panthera.drafting import EVIDENCE, ask, not_taken, read_answers, request_of, write_draft
    from panthera.project_folder import PLAN, code_stands_in, link_code

    out = arguments.out
    request = request_of(arguments, read_answers(arguments.answers))
    found = _drafted(request, out.absolute().parent)
    if sys.stdin.isatty() and not arguments.json and (more := ask(found.sheet.open_questions)):
        request = replace(request, answers={**request.answers, **more})
        found = _drafted(request, out.absolute().parent)
    merged = write_draft(found, request, out)
    has_code = out.name == PLAN and (code_stands_in(out.absolute().parent) or link_code(out.absolute().parent))
    show(found, found.table, as_json=arguments.json)
    if not arguments.json:
        if merged:
            print_whole(not_taken(merged))
        run = "dvc repro" if has_code else f"panthera project {out} FOLDER, then dvc repro in that folder"
        print(f"{out} is drafted, its evidence in {out.parent / EVIDENCE}. Read the comments, then: {run}")
    return 0


def _drafted(request: Request, folder: Path) -> Draft:
    from planner.verbs import draft_files

    return draft_files(
        request.data, folder, predict=request.predict, key=request.key, time=request.time, answers=request.answers
    )


def stale(arguments: argparse.Namespace) -> int:
    """Show the drafted keys whose evidence is another one in the present data; exit with 3 if there are any."""
    from tempfile import TemporaryDirectory

    from panthera.drafting import EVIDENCE, Request
    from planner.check.evidence import read_evidence
    from planner.verbs import stale_keys

    evidence = read_evidence(read_settings().plan.parent / EVIDENCE, "request", "keys")
    with TemporaryDirectory(prefix="panthera-") as folder:
        found = stale_keys(evidence, _drafted(Request(**evidence["request"]), Path(folder)))
    show(found, found.table, as_json=arguments.json)
    return EXIT_FINDING if found.stale else 0


def add_plan_verbs(add: Add) -> None:
    """Add the verbs to the command line."""
    added = add_verb(add, "plan", check_plan)
    added.add_argument("--schema", action="store_true", help="print the JSON schema of plans, which editors read")
    add_json(added)
    actions = added.add_subparsers(metavar="ACTION").add_parser
    _add_actions_with_data(actions)
    _add_actions_on_the_plan(actions)
    added = add_verb(add, "profile", profile)
    added.add_argument("data", nargs="+", type=plain_text, help="file, folder, glob or database")
    added.add_argument("--target", type=plain_text, help="column that the others are compared with")
    added.add_argument("--out", type=Path, help="HTML file to write")
    add_json(added)
    added = add_verb(add, "draft", draft)
    added.add_argument(
        "data", nargs="*", type=plain_text, help="file, folder, glob or database; default: the last ones"
    )
    added.add_argument("--predict", type=plain_text, help="what to predict: churn = 'Yes', or count(orders) = 0 in 90d")
    added.add_argument("--key", type=plain_text, help="column that tells the rows, or the entities, apart")
    added.add_argument("--time", type=plain_text, help="column of when a row happened")
    added.add_argument(
        "--answers", type=Path, help="YAML file with answers to the questions of a draft, by their names"
    )
    added.add_argument("--out", type=Path, default=Path("params.yaml"), help="plan to write; default: params.yaml")
    add_json(added)


def _add_actions_with_data(actions: Add) -> None:
    added = add_verb(actions, "check", check_with_data)
    forms = added.add_mutually_exclusive_group()
    add_json(forms)
    forms.add_argument("--sarif", action="store_true", help="print SARIF, which code hosts show beside the lines")
    added = add_verb(actions, "contract", contract)
    added.add_argument("--check", type=Path, metavar="FILE", help="contract of the producer of the data")
    add_json(added)
    added = add_verb(actions, "prove", prove)
    added.add_argument("--instants", type=count, default=3, help="number of as-of instants to prove; default: 3")
    add_data(added)
    add_json(added)
    added = add_verb(actions, "decide", decide)
    added.add_argument("--traffic", type=count, help="new units a day; default: measured")
    added.add_argument("--effect", type=relative_effect, help="relative change of the base rate to find; default: 0.1")
    add_data(added)
    add_json(added)
    added = add_verb(actions, "forecast", forecast)
    add_data(added)
    add_json(added)


def _add_actions_on_the_plan(actions: Add) -> None:
    added = add_verb(actions, "why", why)
    added.add_argument("key", type=plain_text, help="key of the plan, such as ingest.orders.event_time")
    add_json(added)
    add_json(add_verb(actions, "stale", stale))
    added = add_verb(actions, "diff", diff)
    added.add_argument("rev", nargs="?", type=plain_text, default="HEAD", help="revision or file; default: HEAD")
    add_json(added)
    added = add_verb(actions, "render", render)
    added.add_argument("--card", choices=["data", "model"], help="the card of the data, or of the model, alone")
    kinds = added.add_mutually_exclusive_group()
    kinds.add_argument("--markdown", action="store_true", help="Markdown, which ends with the plan; the default")
    kinds.add_argument("--html", action="store_true", help="an HTML page")
    add_json(kinds)
    added.add_argument("--out", type=Path, help="file to write; default: standard output")
    add_data(added)
