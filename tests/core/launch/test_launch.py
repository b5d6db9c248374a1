"""A stage that the server forks is, for DVC and for itself, the process that `python -m MODULE` is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).parents[3]
#: What starts stages as DVC does; its name is what counts.
DVC = """
import json, os, subprocess, sys
def run(command):
    env = {**os.environ, "DVC_STAGE": command[0]}
    done = subprocess.run([sys.executable, "-m", *command], env=env, input="told", capture_output=True, text=True)
    print(json.dumps([done.returncode, done.stdout, done.stderr]), flush=True)
for line in sys.stdin:
    run(json.loads(line))
"""
#: Prints whatever a stage may learn of itself; `decimal` stands for a library that takes long to import.
TELL = """
import json, os, resource, signal, sys, threading
found = {"decimal" in sys.modules, "json.tool" in sys.modules}
import decimal
LIBRARIES = ("json.tool",)
if __name__ == "__main__":
    mask = os.umask(0)
    print(json.dumps({
        "argv": sys.argv, "cwd": os.getcwd(), "mask": mask, "name": __spec__.name,
        "main": sys.modules["__main__"].__spec__.name,
        "told": sys.stdin.read(), "tty": [os.isatty(n) for n in range(3)], "threads": threading.active_count(),
        "stage": os.environ.get("DVC_STAGE"), "environment": sorted(set(os.environ) - {"DVC_STAGE"}),
        "encodings": [sys.stdout.encoding, sys.stderr.errors], "interrupt": str(signal.getsignal(signal.SIGINT)),
        "open": len(os.listdir("/proc/self/fd")), "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    }))
    print(found == {True}, file=sys.stderr)
"""


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


class Run:
    """A run of DVC in `folder`, which starts one stage after the other."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(folder / "dvc")],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - ignored in a background job
        )

    def begin(self, *command: str) -> None:
        assert self.process.stdin is not None
        print(json.dumps(command), file=self.process.stdin, flush=True)

    def stage(self, *command: str, launcher: Sequence[str] = ("core.launch",)) -> Answer:
        self.begin(*launcher, *command)
        assert self.process.stdout is not None
        return Answer(*json.loads(self.process.stdout.readline()))

    def end(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.process.wait()


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's folder, whose path may be too long for the server's socket: then stages are plain processes.
    with tempfile.TemporaryDirectory(prefix="launch-") as made:
        folder = Path(made)
        (folder / "dvc").write_text(DVC)
        write_stage(folder, "tell", TELL)
        yield folder


@pytest.fixture
def run(folder: Path) -> Any:
    found = Run(folder)
    yield found
    found.end()


def write_stage(folder: Path, name: str, text: str) -> None:
    (folder / "own").mkdir(exist_ok=True)
    (folder / "own" / f"{name}.py").write_text(textwrap.dedent(text))


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def sockets(folder: Path) -> list[Path]:
    return list(folder.glob("panthera-*/*"))


def is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_stage_finds_what_a_plain_process_finds_and_its_libraries_imported(run: Run) -> None:
    plain = run.stage("own.tell", "--a", "b c", "'", launcher=())
    first, second = (run.stage("own.tell", "--a", "b c", "'") for _ in range(2))
    assert (plain.code, plain.err) == (0, "False\n")
    told = json.loads(plain.out)
    assert told["argv"][1:] == ["--a", "b c", "'"]
    for served in (first, second):
        assert (served.code, served.err) == (0, "True\n")
        assert json.loads(served.out) == {
            **told,
            "stage": "core.launch",
            "environment": sorted({*told["environment"], *TELEMETRY}),
        }


#: Set before the server imports a library, as each stage does before its own imports.
TELEMETRY = ("BENTOML_DO_NOT_TRACK", "DO_NOT_TRACK", "DVC_NO_ANALYTICS", "FEAST_USAGE", "MLFLOW_DISABLE_TELEMETRY")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("raise SystemExit(7)", 7),
        ("1 / 0", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import atexit; atexit.register(print, 'at exit')", 0),
        ("import own.not_there", 1),
        ("raise SystemExit('why')", 1),
        (
            (
                "import atexit, ctypes, sys, threading, time; atexit.register(print, 'at exit');"
                " threading.Thread(target=lambda: (time.sleep(0.1), print('a thread'))).start();"
                " ctypes.CDLL(None).puts(b'of C'); print('said', end=''); sys.exit(5)"
            ),
            5,
        ),
    ],
)
def test_a_stage_ends_as_a_plain_process(run: Run, folder: Path, text: str, code: int) -> None:
    write_stage(folder, "ends", f'if __name__ == "__main__":\n    {text}\n')
    plain, served = run.stage("own.ends", launcher=()), run.stage("own.ends")
    assert (plain.code, plain.out) == (served.code, served.out)
    assert plain.code == code
    assert plain.err.splitlines()[-1:] == served.err.splitlines()[-1:]
    assert run.stage("own.tell").err == "True\n"


def test_a_server_ends_with_its_dvc_process(run: Run, folder: Path) -> None:
    run.stage("own.tell")
    assert len(sockets(folder)) == 1
    run.process.kill()
    wait_until(lambda: not sockets(folder))


def _pid(folder: Path, name: str) -> int:
    wait_until((folder / name).exists)
    return int((folder / name).read_text())


SLEEP = """
import os, subprocess, time
from pathlib import Path
if __name__ == "__main__":
    child = subprocess.Popen(["sleep", "60"])
    for name, pid in (("child", child.pid), ("stage", os.getpid())):
        Path(f"{name}.new").write_text(str(pid))
        Path(f"{name}.new").rename(name)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        child.kill()
        raise SystemExit(130)
"""


def test_a_stage_whose_dvc_is_killed_with_all_that_it_started_ends_with_what_it_started(run: Run, folder: Path) -> None:
    write_stage(folder, "sleeps", SLEEP)
    run.begin("core.launch", "own.sleeps")
    pids = _pid(folder, "stage"), _pid(folder, "child")
    os.killpg(run.process.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, pids)))


def test_an_interrupt_at_the_terminal_reaches_the_stage(run: Run, folder: Path) -> None:
    write_stage(folder, "sleeps", SLEEP)
    run.begin("core.launch", "own.sleeps")
    _pid(folder, "stage")
    (client,) = subprocess.run(
        ["pgrep", "-P", str(run.process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(client), signal.SIGINT)
    assert run.process.stdout is not None
    assert json.loads(run.process.stdout.readline())[0] == 130


def test_code_that_changed_since_it_was_imported_runs_as_it_is_now(run: Run, folder: Path) -> None:
    assert run.stage("own.tell").err == "True\n"
    write_stage(folder, "tell", "print('now')")
    assert run.stage("own.tell") == Answer(0, "now\n", "")


def test_another_environment_has_another_server(folder: Path) -> None:
    for environment in ({"PANTHERA_STATE": "a"}, {"PANTHERA_STATE": "b"}):
        run = Run(folder, **environment)
        assert "PANTHERA_STATE" in json.loads(run.stage("own.tell").out)["environment"]
        run.end()


def test_a_folder_that_others_may_enter_is_not_used(run: Run, folder: Path) -> None:
    (folder / f"panthera-{os.getuid()}").mkdir(mode=0o755)
    assert run.stage("own.tell").err == "False\n"
    assert sockets(folder) == []


def test_without_dvc_a_module_runs_in_a_plain_process(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "core.launch", "own.tell"],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), "DVC_STAGE": "tell"},
        input="told",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "False\n"
    assert sockets(folder) == []


def test_no_library_that_the_server_imports_has_threads_but_those_that_stop_for_a_fork() -> None:
    stages = [stage["cmd"].split()[3] for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()]
    assert any(getattr(import_module(stage), "LIBRARIES", ()) for stage in stages)
    code = (
        f"import os, sys; from core.launch.server import import_stage\nfor stage in {stages}: import_stage(stage)\n"
        "assert '_pytest' not in sys.modules, 'all of scikit-learn was imported'\n"
        "for task in os.listdir('/proc/self/task'): print(open(f'/proc/self/task/{task}/comm').read().strip())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len([name for name in found if name != "jemalloc_bg_thd"]) == 1
