"""Check catch-ups against an oracle, under random sequences of steps.

Rows are added, corrected, and delivered late, twice or in another order. Runs are killed or concurrent, and the stages run in
between. Every row must be ingested once, and the online table must equal the features of the rows.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections import Counter
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, ClassVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from benchmarks.feature_store.catch_up_world import CUSTOMERS, MINUTE, START, Order, World
from benchmarks.feature_store.held import holds
from core.plan.file import parse_plan
from feature_repo.catch_up import catch_up

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from datetime import datetime
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from core.settings import Settings

_STEPS_OF_A_WORLD = 100
_SECONDS_TO_END = 120


def run_catch_up(settings: Settings, data: Path, as_of: datetime) -> None:
    """Catch up; the target of a separate process."""
    catch_up(settings, parse_plan(settings.plan.read_text()), data, as_of)


class _Processes:
    """A starter of processes whose imports are loaded already, so that a kill interrupts the work."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__, "pandas", "pyarrow.dataset"])

    def start(self, world: World, as_of: datetime) -> BaseProcess:
        """Start to catch up with `world`."""
        process = self._context.Process(target=run_catch_up, args=(world.settings, world.data, as_of))
        process.start()
        return process


class CatchUpMachine(RuleBasedStateMachine):
    """A state machine of the changes of a source and the runs over it, in any order."""

    url: ClassVar[str]
    folder: ClassVar[Path]
    processes: ClassVar[_Processes]
    steps: ClassVar[Counter[str]]
    worlds: ClassVar[Iterator[int]]
    seconds: ClassVar[float] = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.home = self.folder / f"world-{next(self.worlds)}"
        self.world = World(self.url, self.home)

    def teardown(self) -> None:
        """Catch up at the end, and check that all rows that were online are kept."""
        self.world.minute += 1
        self.world.catch_up(self.world.now)
        self.world.check_served()
        shutil.rmtree(self.home)

    def counted(self, what: str) -> World:
        """Count a step; return the world."""
        self.steps[what] += 1
        return self.world

    @rule(minutes=st.integers(1, 5), customers=st.lists(st.integers(0, CUSTOMERS), min_size=1, max_size=3))
    def append(self, minutes: int, customers: list[int]) -> None:
        """Add rows with present times."""
        world = self.counted("append")
        world.minute += minutes
        for customer in customers:
            order = Order(customer, world.minute, 1000 + len(world.orders))
            if not world.would_restate(order):
                world.add(order)
        world.deliver()

    @rule(customer=st.integers(0, CUSTOMERS), back=st.integers(0, 60))
    def late(self, customer: int, back: int) -> None:
        """Add a row with a past time."""
        world = self.counted("late")
        order = Order(customer, max(world.minute - back, 1), 1000 + len(world.orders))
        if not world.would_restate(order):
            world.add(order)
            world.deliver()

    @rule(ahead=st.integers(1, 5))
    def early(self, ahead: int) -> None:
        """Add a row with a future time, which is left for a later catch-up."""
        world = self.counted("early")
        world.add(Order(1, world.minute + ahead, 1000 + len(world.orders)))
        world.deliver()

    @precondition(lambda self: self.world.is_whole)
    @rule(data=st.data())
    def twin(self, data: st.DataObject) -> None:
        """Add a second event with the values of another one, unless two rows would have to be rejected."""
        world = self.counted("twin")
        order = world.orders[data.draw(st.sampled_from(world.in_file))]
        if order.cents is not None:
            world.add(order)
            world.deliver()

    @precondition(lambda self: not self.world.pending_bad_rows)
    @rule(back=st.integers(0, 10))
    def bad(self, back: int) -> None:
        """Add a row that must be rejected."""
        world = self.counted("bad")
        order = Order(2, max(world.minute - back, 1), None)
        if not world.would_restate(order):
            world.add(order)
            world.deliver()

    @precondition(lambda self: self.world.is_whole)
    @rule(data=st.data())
    def correct(self, data: st.DataObject) -> None:
        """Correct an amount."""
        world = self.counted("correct")
        number = data.draw(st.sampled_from(world.in_file))
        order = world.orders[number]
        if Counter(world.orders.values())[order] == 1:
            world.orders[number] = Order(order.customer, order.minute, 100_000 + sum(self.steps.values()))
            world.deliver()

    @rule(order=st.randoms(use_true_random=False), zone=st.sampled_from(["Z", "+00:00"]))
    def deliver_in_another_way(self, order: random.Random, zone: str) -> None:
        """Deliver the same rows in another order, with another notation of their times."""
        world = self.counted("another way")
        order.shuffle(world.in_file)
        world.deliver(zone)

    @precondition(lambda self: self.world.is_sure)
    @rule(share=st.integers(1, 9))
    def deliver_the_newest(self, share: int) -> None:
        """Deliver the newest rows only, or all rows again; not while a correction is pending."""
        world = self.counted("window")
        if not world.is_whole:
            world.in_file = list(world.orders)
        elif not world.oracle.corrections(world.orders, START + timedelta(days=999)):
            newest = world.in_file[-max(len(world.in_file) * share // 10, 1) :]
            if not world.would_confuse(newest):
                world.in_file = newest
        world.deliver()

    @rule(minutes=st.integers(0, 3))
    def catch_up(self, minutes: int) -> None:
        """Catch up."""
        world = self.counted("catch up")
        world.minute += minutes
        began = time.perf_counter()
        world.catch_up(world.now)
        type(self).seconds = time.perf_counter() - began

    @rule()
    def catch_up_again(self) -> None:
        """Catch up twice as of the same instant; the second run must change nothing."""
        world = self.counted("retry")
        world.catch_up(world.now)
        again = world.catch_up(world.now)
        changes = again.changes["orders"]
        changed = changes.new, changes.corrected, *again.online_changes.values()
        holds(changed == (0, 0, 0), f"caught up again, it changed {changed}")

    @rule(back=st.integers(1, 10))
    def catch_up_as_of_before(self, back: int) -> None:
        """Catch up as of a past instant."""
        world = self.counted("as of before")
        world.catch_up(world.now - back * MINUTE)

    @rule(share=st.floats(0, 1.1))
    def kill(self, share: float) -> None:
        """Kill a catch-up at a random moment."""
        world = self.counted("kill")
        process = self.processes.start(world, world.now)
        process.join(share * self.seconds)
        world.oracle.maybe_ingest(world.present, world.now)
        process.kill()
        process.join()

    @precondition(lambda self: self.world.is_sure)
    @rule(minutes=st.integers(0, 2))
    def two_at_once(self, minutes: int) -> None:
        """Catch up in two concurrent processes, as of the same instant or two."""
        world = self.counted("two at once")
        instants = (world.now, world.now + minutes * MINUTE)
        world.minute += minutes
        running = [self.processes.start(world, as_of) for as_of in instants]
        for process in running:
            process.join(_SECONDS_TO_END)
        holds([process.exitcode for process in running] == [0, 0], "one of two concurrent catch-ups failed")
        world.oracle.ingest_in_any_order(world.present, instants)
        world.check_rows()
        world.check_online(world.now)

    @rule()
    def run_stages(self) -> None:
        """Run the stages over the rows that the stage `ingest` read before."""
        world = self.counted("stages")
        world.run_stages()
        if world.is_sure:
            world.check_rows()

    @precondition(lambda self: self.world.is_sure and self.world.is_whole and not self.world.pending_bad_rows)
    @rule()
    def read_again(self) -> None:
        """Run all stages, including the one that reads the source."""
        world = self.counted("stages from the source")
        world.read_again()
        world.oracle.ingest_extract(world.present)
        world.run_stages()
        world.check_rows()

    @precondition(lambda self: (self.world.data / "accepted").exists())
    @rule()
    def lose_accepted(self) -> None:
        """Delete the accepted rows."""
        shutil.rmtree(self.counted("lose").data / "accepted")


def catch_up_steps(url: str, folder: Path, steps: int, first_seed: int = 0) -> str:
    """Take `steps` random steps, at most a hundred in each world, with comparisons to the oracle; return a summary."""
    CatchUpMachine.url, CatchUpMachine.folder, CatchUpMachine.processes = url, folder, _Processes()
    CatchUpMachine.steps, CatchUpMachine.worlds = Counter(), count()
    steps_of_a_world = min(steps, _STEPS_OF_A_WORLD)
    for number in count(first_seed):
        _run(steps_of_a_world, number)
        if sum(CatchUpMachine.steps.values()) >= steps:
            break
    counts = ", ".join(f"{times:,} {what}" for what, times in CatchUpMachine.steps.most_common())
    return f"{sum(CatchUpMachine.steps.values()):,} steps ({counts}): every row was ingested once, no row was lost"


def _run(steps: int, number: int) -> None:
    machine = type(f"World{number}", (CatchUpMachine,), {})
    run_state_machine_as_test(
        seed(number)(machine),
        settings=settings(
            max_examples=2,
            stateful_step_count=steps,
            phases=[Phase.generate],
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
