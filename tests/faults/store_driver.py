"""One operation of the store, once for every change that it makes: failed there, or killed there.

    python store_driver.py ROOT WORK OPERATION KINDS HUB STRIDE LAST

With a STRIDE only every STRIDEth change, and the LAST ones, where what is new takes its place.

Runs as a process of its own that forks a child for each case. Prints a JSON line a case that went
wrong, and last one with the number of cases. After each case the home must be readable, in the old
or in the new state, and the same operation, done again, must leave exactly what it leaves on a
healthy disk.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable

ROOT, WORK, OPERATION, KINDS, HUB = sys.argv[1:6]
STRIDE, LAST = map(int, sys.argv[6:8])
sys.path[:0] = [ROOT, os.path.dirname(os.path.abspath(__file__))]

import disk  # noqa: E402

from tollama.cli import main as cli  # noqa: E402
from tollama.core import config  # noqa: E402
from tollama.models import hub, hub_child, runtime_install, runtimes, store, verification  # noqa: E402

HOME = os.path.join(WORK, "home")
GOLDEN = os.path.join(ROOT, "runners", "numpy", "tests", "golden")
FOLDERS = {name: os.path.join(WORK, name) for name in ("one", "two")}
KIT = os.path.join(WORK, "kit.tollama")
LOCK = os.path.join(WORK, "models.lock")
MODELFILE = os.path.join(WORK, "Modelfile")
PATIENCE = 60.0


# -- what is done ---------------------------------------------------------------------------------


def tollama(*argv: str) -> Callable[[], int]:
    return lambda: cli.main(list(argv))


def install_runtime() -> int:
    """A runtime whose venv and packages are a few files: the switch is what is looked at."""
    from tollama.models import families

    def venv(facts: object, path: str) -> None:
        os.makedirs(os.path.join(path, "bin"))
        with open(os.path.join(path, "bin", "python"), "w") as file:
            file.write("#!")

    runtime_install._make_venv = venv
    runtime_install.install_pins = lambda *args: None
    runtime_install.prove = lambda *args: {}
    # No pip is run, so none is looked for.
    runtime_install.pip.source = lambda *args: ""
    runtime_install._can_be_had = lambda *args: True
    known, _ = families.find(HOME)
    from tollama.core.errors import TollamaError

    try:
        runtimes.install(known["numpy"], HOME)
    except TollamaError as error:
        return cli.report(error)
    except OSError as error:
        return cli.report(TollamaError(str(error)))
    return 0


class Download:
    """The download child as a fork of this process, which has its libraries already.

    It does what the real one does; only the start of an interpreter is saved, hundreds of times.
    """

    def __init__(self) -> None:
        ins, outs, errors = os.pipe(), os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for number, fd in enumerate((ins[0], outs[1], errors[1])):
                os.dup2(fd, number)
            os.closerange(3, max(*ins, *outs, *errors) + 1)
            sys.stdin = os.fdopen(0, "r")
            sys.stderr = os.fdopen(2, "w")
            hub_child.main()
        for fd in (ins[0], outs[1], errors[1]):
            os.close(fd)
        self.stdin = os.fdopen(ins[1], "wb")
        self.stdout, self.stderr = os.fdopen(outs[0], "rb"), os.fdopen(errors[0], "rb")
        self.code: int | None = None
        self.lock = threading.Lock()

    def poll(self) -> int | None:
        with self.lock:
            if self.code is None:
                done, status = os.waitpid(self.pid, os.WNOHANG)
                self.code = os.waitstatus_to_exitcode(status) if done else None
            return self.code

    def wait(self) -> int:
        while self.poll() is None:
            time.sleep(0.001)
        return self.code or 0

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def __enter__(self) -> Download:
        return self

    def __exit__(self, *exc: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            stream.close()
        self.wait()


# Each operation: what is there before it, then the operation.
OPERATIONS: dict[str, tuple[list[Callable[[], int]], Callable[[], int]]] = {
    "from-dir": ([], tollama("pull", "mine", "--from-dir", FOLDERS["one"])),
    "from-dir-again": (
        [tollama("pull", "mine", "--from-dir", FOLDERS["one"])],
        tollama("pull", "mine", "--from-dir", FOLDERS["two"]),
    ),
    "pull": ([], tollama("pull", "chronos2", "--endpoint", HUB, "--revision", "one",
                         "--max-workers", "1")),
    "pull-again": (
        [tollama("pull", "chronos2", "--endpoint", HUB, "--revision", "one")],
        tollama("pull", "chronos2", "--endpoint", HUB, "--revision", "two", "--max-workers", "1"),
    ),
    "pull-list": (
        [tollama("pull", "chronos2", "--endpoint", HUB, "--revision", "one")],
        tollama("pull", "-r", LOCK, "--endpoint", HUB, "--max-workers", "1"),
    ),
    "pull-cache": (
        [],
        tollama("pull", "chronos2", "--endpoint", HUB, "--revision", "one", "--max-workers", "1",
                "--hf-home", os.path.join(HOME, "cache")),
    ),
    "pull-mock": ([], tollama("pull", "mock")),
    "copy": ([tollama("pull", "mine", "--from-dir", FOLDERS["one"])],
             tollama("cp", "mine", "other")),
    "copy-over": (
        [
            tollama("pull", "mine", "--from-dir", FOLDERS["one"]),
            tollama("pull", "other", "--from-dir", FOLDERS["two"]),
        ],
        tollama("cp", "mine", "other"),
    ),
    "create": ([], tollama("create", "weeks", "-f", MODELFILE)),
    "delete": ([tollama("pull", "mine", "--from-dir", FOLDERS["one"])], tollama("rm", "mine")),
    "config": (
        [tollama("config", "set", "pull.max_workers", "2")],
        tollama("config", "set", "pull.offline", "true"),
    ),
    "import": ([], tollama("import", KIT)),
    "import-over": (
        [tollama("pull", "kitted", "--from-dir", FOLDERS["two"])], tollama("import", KIT),
    ),
    "runtime": ([], install_runtime),
    "runtime-again": ([install_runtime], install_runtime),
    "runtime-remove": ([install_runtime], tollama("runtime", "remove", "numpy")),
}  # fmt: skip


# -- what is found --------------------------------------------------------------------------------


def state() -> dict[str, object]:
    """Every model, setting and runtime, as the code that serves them sees it."""
    models, warnings = store.listed(HOME)
    found: dict[str, object] = {f"model {m.name}": m.digest for m in models}
    problems = list(warnings)
    for model in models:
        if store.get(HOME, model.name).digest != model.digest:
            problems.append(f"{model.name} is listed as another one than it is")
        wrong = verification.problems(model, lambda *args: None)
        problems += [f"{model.name}: {one['path']}: {one['problem']}" for one in wrong]
    for name, value in config.read(HOME).items():
        found[f"config {name}"] = value
    for runtime in runtimes.list_installed(HOME):
        found[f"runtime {runtime.family}"] = sorted(runtime.packages)
        if not os.path.exists(runtime.python):
            problems.append(f"runtime {runtime.family} has no interpreter")
    return {"found": found, "problems": problems}


def tree() -> list[str]:
    """Every path of the home, without what is new in every run: identities of runtimes."""
    paths = []
    for folder, folders, names in os.walk(HOME):
        for name in (*folders, *names):
            path = os.path.relpath(os.path.join(folder, name), HOME)
            parts = path.split(os.sep)
            if parts[0] == "runtimes" and len(parts) > 2 and parts[2][:2] == "20":
                parts[2] = "ID"
            paths.append(os.sep.join(parts))
    return sorted(paths)


def rubbish(path: str) -> bool:
    """Whether a path is something that is put together, set aside or thrown away."""
    name = os.path.basename(path)
    if ".parts" in path.split(os.sep):  # kept for the next pull, on purpose
        return False
    return name.endswith(".tmp") or name.startswith((".trash-", ".copy-", ".old-"))


def aged() -> None:
    """Temporary files as they are an hour later."""
    for folder, _, names in os.walk(HOME):
        for name in names:
            if name.endswith(".tmp"):
                hour = time.time() - 3600
                os.utime(os.path.join(folder, name), (hour, hour))


# -- cases ----------------------------------------------------------------------------------------


def forked(work: Callable[[], object]) -> tuple[int, dict]:
    """A child's exit status, and what it returned; its stderr is in WORK/stderr."""
    out = os.path.join(WORK, "answer.json")
    if os.path.exists(out):
        os.unlink(out)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.environ["TOLLAMA_HOME"] = HOME
        null = os.open(os.devnull, os.O_WRONLY)
        log = os.open(os.path.join(WORK, "stderr"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(null, 1)
        os.dup2(log, 2)
        code = 99
        try:
            value = work()
            if isinstance(value, dict):
                with open(out, "w") as file:
                    json.dump(value, file)
                value = 0
            code = int(value)  # type: ignore[call-overload]
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    end = time.monotonic() + PATIENCE
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > end:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return -99, {}
        time.sleep(0.002)
    value = {}
    if os.path.exists(out):
        with open(out) as file:
            value = json.load(file)
    return os.waitstatus_to_exitcode(status), value


def said() -> str:
    with open(os.path.join(WORK, "stderr"), errors="replace") as file:
        return file.read()


def begin(template: str) -> None:
    shutil.rmtree(HOME, ignore_errors=True)
    shutil.copytree(template, HOME, symlinks=True)


def with_fault(work: Callable[[], int], kind: str, at: int) -> Callable[[], int]:
    counter = os.path.join(WORK, "count")
    if os.path.exists(counter):
        os.unlink(counter)
    arguments = (HOME, counter, kind, at)

    def run() -> int:
        disk.arm(*arguments)
        return work()

    return run


def learn(work: Callable[[], int]) -> None:
    """Import here what the operation imports, so that not every child does."""

    def names() -> dict[str, list[str]]:
        work()
        return {"modules": sorted(sys.modules)}

    from importlib import import_module

    _, found = forked(names)
    for name in found["modules"]:
        if name not in sys.modules and name != "__main__":
            import_module(name)
    shutil.rmtree(HOME, ignore_errors=True)


def count() -> int:
    try:
        return os.path.getsize(os.path.join(WORK, "count"))
    except FileNotFoundError:
        return 0


def main() -> None:
    if OPERATION.startswith("pull-") or OPERATION == "pull":
        from tollama.models import download, hub_listing, hub_wire  # noqa: F401

        hub._start = Download  # type: ignore[assignment]
    before, work = OPERATIONS[OPERATION]
    learn(work)
    template = os.path.join(WORK, "template")
    os.makedirs(HOME)
    for step in before:
        code, _ = forked(step)
        assert code == 0, said()
    shutil.move(HOME, template)
    begin(template)
    _, old = forked(state)
    old_tree = tree()
    code, _ = forked(with_fault(work, "none", -1))
    assert code == 0, said()
    total = count()
    _, new = forked(state)
    new_tree = tree()
    assert not old["problems"] and not new["problems"], (old, new)
    cases = 0
    for kind in KINDS.split(","):
        for at in range(total):
            if at % STRIDE and at < total - LAST:
                continue
            cases += 1
            begin(template)
            code, _ = forked(with_fault(work, kind, at))
            text = said()
            for problem in judged(kind, code, text, old, new, old_tree, new_tree, work):
                shown = {"kind": kind, "at": at, "problem": problem, "said": text[-1500:]}
                print(json.dumps(shown), flush=True)
    print(json.dumps({"cases": cases, "changes": total}), flush=True)


def judged(
    kind: str, code: int, text: str, old: dict, new: dict, old_tree: list, new_tree: list,
    work: Callable[[], int],
) -> list[str]:  # fmt: skip
    """What is wrong after a case."""
    problems = []
    status, after = forked(state)
    if status != 0:
        return [f"the home cannot be read: {said()[-600:]}"]
    if after["problems"]:
        problems.append(f"incomplete: {after['problems']}")
    for name in {*old["found"], *new["found"], *after["found"]}:
        was, will, now = (one["found"].get(name) for one in (old, new, after))
        if now not in (was, will):
            problems.append(f"{name} is {now}, neither {was} nor {will}")
    if kind != "crash":
        if code == -99:
            problems.append("it hung")
        elif code == 0 and after["found"] != new["found"]:
            problems.append("it said success and did not do it")
        elif code not in (0, 1, 3, 4, 5):
            problems.append(f"exit code {code}")
        if code and ("Traceback" in text or "error: " not in text):
            problems.append("no clear error")
        if code and kind == "ENOSPC" and "space" not in text and "full" not in text:
            problems.append("a full disk is not named")
        left = [path for path in tree() if path not in new_tree and path not in old_tree]
        left = [path for path in left if rubbish(path)]
        if left:
            problems.append(f"left behind at once: {left}")
    elif code not in (-signal.SIGKILL, 0):
        problems.append(f"a crash ended with {code}")
    aged()
    again, _ = forked(work)
    if OPERATION in ("delete", "runtime-remove") and again == 3:
        # It is gone already; what its files left goes with the next change.
        for step in (*OPERATIONS[OPERATION][0], work):
            again, _ = forked(step)
    if again != 0:
        problems.append(f"done again: exit code {again}: {said()[-400:]}")
    status, after = forked(state)
    if status != 0 or after != new:
        problems.append(f"done again: {after} in place of {new}")
    odd = sorted({*tree()} ^ {*new_tree})
    if odd:
        problems.append(f"done again, other files than on a healthy disk: {odd}")
    return problems


main()
