"""`panthera monitor`, `retrain`, `history`, `drift`, `parity`, `performance`, `cohorts`, ...: watch served predictions."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from core.errors import PantheraError
from core.roles import CHAMPION, ROLES
from core.settings import ALERT_MAIL_ENV, SMTP_URL_ENV, read_settings
from core.terminal import harmless
from panthera.verb import (
    EXIT_FINDING,
    add_data,
    add_json,
    add_verb,
    count,
    duration,
    past_instant,
    plain_text,
    read_current_plan,
    show,
)

if TYPE_CHECKING:
    import argparse

    from core.settings import Settings
    from monitoring.rounds.alerts import Channels
    from monitoring.rounds.run import Options
    from panthera.retraining.retrain import Retrained
    from panthera.verb import Add


def drift(arguments: argparse.Namespace) -> int:
    """Compare the served values with the training values of the release; exit with 3 if a column drifted."""
    from monitoring.verbs import drift_verb

    result = drift_verb(
        read_settings(),
        read_current_plan(),
        as_of=end_of_window(arguments),
        window=arguments.window,
        role=arguments.role,
        report=arguments.report,
    )
    show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.alarms else 0


def end_of_window(arguments: argparse.Namespace) -> datetime | None:
    """Return the end of the window: `--as-of`, or the present for a window of a given length; None without both."""
    return arguments.as_of or (datetime.now(UTC) if arguments.window else None)


def staleness(arguments: argparse.Namespace) -> int:
    """Price the age of features: what the champion loses on the test rows if a view is older, and which ttl suits."""
    from monitoring.verbs import staleness_verb

    result = staleness_verb(
        read_settings(),
        read_current_plan(),
        training_set=arguments.data / "training_set.parquet",
        lags=arguments.lags,
        rows=arguments.rows,
    )
    show(result, result.table, as_json=arguments.json)
    return 0


def parity(arguments: argparse.Namespace) -> int:
    """Recompute served feature vectors offline and compare them value by value; exit with 3 on a defect."""
    from monitoring.verbs import parity_verb

    result = parity_verb(
        read_settings(),
        read_current_plan(),
        data=arguments.data,
        as_of=end_of_window(arguments),
        window=arguments.window,
    )
    show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.defects else 0


def performance(arguments: argparse.Namespace) -> int:
    """Measure served predictions by cohort, and estimate their metrics before outcomes; exit with 3 on concept drift."""
    from monitoring.performance_verb import performance_verb

    result = performance_verb(
        read_settings(),
        read_current_plan(),
        as_of=arguments.as_of or datetime.now(UTC),
        release_id=arguments.release,
        period=arguments.cohort,
        report=arguments.report,
    )
    show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.alarms else 0


def cohorts(arguments: argparse.Namespace) -> int:
    """Compare the outcomes of champion and challenger over mature exposures."""
    from monitoring.paired.verb import compared_cohorts

    result = compared_cohorts(read_settings(), read_current_plan(), arguments.as_of or datetime.now(UTC))
    if arguments.html:
        from monitoring.cohorts_page import write_cohorts_page

        write_cohorts_page(result.comparison, arguments.html)
    show(result, result.table, as_json=arguments.json)
    return 0


def expose(arguments: argparse.Namespace) -> int:
    """Import replayed predictions as exposures of the experiment, dated by their as_of; actor and reason are recorded."""
    from monitoring.verbs import expose_verb

    result = expose_verb(
        read_settings(),
        read_current_plan(),
        as_of=end_of_window(arguments),
        window=arguments.window,
        why=arguments.why,
    )
    show(result, result.table, as_json=arguments.json)
    return 0


def explain(arguments: argparse.Namespace) -> int:
    """Show the contribution of each feature to the score of a served prediction."""
    from monitoring.verbs import explain_verb

    result = explain_verb(read_settings(), arguments.prediction)
    show(result, result.table, as_json=arguments.json)
    return 0


def monitor(arguments: argparse.Namespace) -> int:
    """Run a round of all checks, and decide by the plan's rules; exit with 3 unless the decision is hold."""
    from monitoring.rounds.run import Options

    settings = read_settings()
    retraining = partial(_retrain_for_round, settings, arguments)
    options = Options(arguments.data, arguments.act, arguments.dry_run, retraining, _channels(settings, arguments))
    if arguments.watch is None:
        return _show_round(arguments, options)
    while True:
        try:
            _show_round(arguments, options)
        except PantheraError as error:  # such as a database that restarts
            print(f"error: {harmless(str(error))}", file=sys.stderr)
        sys.stdout.flush()
        time.sleep(arguments.watch)


def _channels(settings: Settings, arguments: argparse.Namespace) -> Channels:
    """Return the channels of alerts; raise PantheraError if a mail has an address and no server, or the reverse."""
    from monitoring.rounds.alerts import Channels
    from monitoring.rounds.mail import MailSettings

    if (settings.alert_mail is None) != (settings.smtp_url is None):
        given, absent = (ALERT_MAIL_ENV, SMTP_URL_ENV) if settings.alert_mail else (SMTP_URL_ENV, ALERT_MAIL_ENV)
        raise PantheraError(f"{given} is set and {absent} is not; set both, or neither")
    mail = (
        MailSettings(settings.smtp_url, settings.alert_mail, settings.alert_sender)
        if settings.smtp_url and settings.alert_mail
        else None
    )
    return Channels(arguments.webhook or settings.alert_webhook, mail, arguments.prometheus)


def _retrain_for_round(settings: Settings, arguments: argparse.Namespace, why: str) -> str | None:
    """Retrain; return why that led to no challenger, or None if it did."""
    try:
        done = _retrained(settings, arguments, why)
    except PantheraError as error:
        return f"the retraining failed: {error}"
    return None if done.is_challenger else f"the retraining led to no challenger: {done.reason}"


def retrain(arguments: argparse.Namespace) -> int:
    """Run the stages on the sources of now; a release that wins becomes challenger, not champion; exit with 3 if none did."""
    result = _retrained(read_settings(), arguments, arguments.why)
    show(result, result.table, as_json=arguments.json)
    return 0 if result.is_challenger else EXIT_FINDING


def _retrained(settings: Settings, arguments: argparse.Namespace, why: str) -> Retrained:
    """Retrain; DVC prints to standard error, since standard output is for the result."""
    from panthera.pipeline import reproduce
    from panthera.retraining.retrain import retrain as run_retraining

    run = partial(reproduce, output=sys.stderr.fileno())
    return run_retraining(settings, arguments.data, why, arguments.until, run=run)


def _add_until(parser: argparse.ArgumentParser, help_before: str = "") -> None:
    parser.add_argument(
        "--until",
        type=past_instant,
        help=f"{help_before}the sources are complete until this instant: the plan file's instants move with its latest "
        "observed_until; default: they stay",
    )


def _show_round(arguments: argparse.Namespace, options: Options) -> int:
    from monitoring.rounds.run import run_round
    from monitoring.verbs import Window

    plan = read_current_plan()
    as_of = arguments.as_of or datetime.now(UTC)
    window = Window.before(as_of, arguments.window or plan.monitor.decide.window)
    result = run_round(read_settings(), plan, window, options)
    show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.needs_attention else 0


def history(arguments: argparse.Namespace) -> int:
    """List the latest rounds of monitoring, retrainings and changes of roles in their order."""
    from monitoring.rounds.history import read_history

    result = read_history(read_settings(), read_current_plan(), arguments.limit)
    show(result, result.table, as_json=arguments.json)
    return 0


def _add_rounds(add: Add) -> None:
    added = add_verb(add, "monitor", monitor)
    added.add_argument("--as-of", type=past_instant, help="end of the window, such as 1998-04-01; default: now")
    added.add_argument(
        "--window", type=duration, help="length of the window, such as 7d; default: monitor.decide.window"
    )
    add_data(added)
    added.add_argument("--act", action="store_true", help="carry out the decision instead of proposing it")
    _add_until(added, "for a retraining: ")
    added.add_argument("--dry-run", action="store_true", help="record nothing, post no alert, change nothing")
    added.add_argument(
        "--watch", type=count, metavar="SECONDS", help="repeat, with this pause between rounds, until stopped"
    )
    added.add_argument(
        "--webhook", metavar="URL", help="post a round that is not hold; default: PANTHERA_ALERT_WEBHOOK"
    )
    added.add_argument(
        "--prometheus",
        type=Path,
        metavar="FILE",
        help="write the metrics of each round to this file, such as round.prom",
    )
    add_json(added)
    added = add_verb(add, "retrain", retrain)
    added.add_argument("--why", type=plain_text, required=True, metavar="TEXT", help="the reason, which is recorded")
    _add_until(added)
    add_data(added)
    add_json(added)
    added = add_verb(add, "history", history)
    added.add_argument("--limit", type=count, default=50, metavar="N", help="number of events; default: 50")
    add_json(added)


def add_monitor_verbs(add: Add) -> None:
    """Add the verbs about served predictions."""
    for name, run in {"drift": drift, "parity": parity, "cohorts": cohorts}.items():
        added = add_verb(add, name, run)
        added.add_argument("--as-of", type=past_instant, help="end of the window, such as 1998-04-01; default: now")
        add_json(added)
        if name != "cohorts":
            added.add_argument("--window", type=duration, help="length of the window, such as 7d; default: all")
        if name == "drift":
            added.add_argument("--role", choices=ROLES, default=CHAMPION, help="role of the release; default: champion")
            added.add_argument("--report", type=Path, help="also write an HTML report to this file")
        if name == "parity":
            add_data(added)
        if name == "cohorts":
            added.add_argument(
                "--html", type=Path, metavar="FILE", help="also write an HTML page with figures to this file"
            )
    added = add_verb(add, "staleness", staleness)
    added.add_argument(
        "--lags",
        type=duration,
        nargs="+",
        metavar="LAG",
        default=[timedelta(days=days) for days in (1, 7, 30)],
        help="how much older the features are; default: 1d 7d 30d",
    )
    added.add_argument(
        "--rows", type=count, default=20_000, metavar="N", help="largest number of test rows; default: 20,000"
    )
    add_data(added)
    add_json(added)
    added = add_verb(add, "performance", performance)
    added.add_argument("--as-of", type=past_instant, help="what counts as known, such as 1998-04-01; default: now")
    added.add_argument("--release", type=plain_text, help="id of the release; default: the champion")
    added.add_argument("--cohort", choices=("week", "month"), default="week", help="period of a cohort; default: week")
    added.add_argument("--report", type=Path, help="also write an HTML page to this file")
    add_json(added)
    added = add_verb(add, "expose", expose)
    added.add_argument("--as-of", type=past_instant, help="end of the window, such as 1998-04-01; default: now")
    added.add_argument("--window", type=duration, help="length of the window, such as 7d; default: all")
    added.add_argument("--why", type=plain_text, required=True, help="the reason, recorded with the exposures")
    add_json(added)
    added = add_verb(add, "explain", explain)
    added.add_argument("prediction", type=UUID, nargs="?", help="its prediction_id; default: the latest one")
    add_json(added)
    _add_rounds(add)
