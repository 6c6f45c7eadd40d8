"""Kill a training run at random moments until it is done; compare it with an uninterrupted one.

    python -m tests.reliability.kill_loop FOLDER KILLS SEED

Every attempt is a fork of this process, which has loaded torch and used it with one thread. The
last line printed is a JSON object: kills, attempts, leftover files, whether both runs are the same.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from charnn.commands.threads import set_up_torch

set_up_torch()

from charnn import cli  # noqa: E402
from charnn.errors import UsageError  # noqa: E402
from charnn.model.model_file import read_model  # noqa: E402
from charnn.storage.workspace import is_finished  # noqa: E402
from tests.shell.conftest import LAMP  # noqa: E402

STEPS_A_KILL = 40
LONGEST_LIFE = 0.2  # seconds until a kill, at most
SETTINGS = (
    *("--hidden-size", "8", "--embedding-dim", "4", "--batch-size", "4", "--bptt", "8"),
    *("--dropout", "0.3", "--precision", "float32", "--threads", "1"),
    *("--save-every", "2", "--eval-every", "5", "-q"),
)


def main(folder: str, kills: str, seed: str) -> int:
    """Run the loop in `folder`; exit code 1 if the two runs differ."""
    os.chdir(folder)
    os.fsync = lambda _: None  # a kill does not lose data that the system has buffered
    Path("lamp.txt").write_text(LAMP * 10)
    assert wait(fork("prepare", "lamp.txt", "-q")) == 0
    assert cli.main(("train", "--name", "warm-up", "--steps", "5", *SETTINGS)) == 0
    steps = str(int(kills) * STEPS_A_KILL)
    assert wait(fork("train", "--name", "whole", "--steps", steps, *SETTINGS)) == 0
    begin = ("train", "--name", "killed", "--force", "--steps", steps, *SETTINGS)
    found = kill_until_done(begin, int(kills), random.Random(int(seed)))
    found["same"] = outcome("killed") == outcome("whole")
    print(json.dumps(found))
    return 0 if found["same"] else 1


def kill_until_done(begin: tuple[str, ...], kills: int, chance: random.Random) -> dict:
    """Start, kill and resume a run up to `kills` times, then let it finish."""
    done, attempts, at = 0, 0, Counter()
    while True:
        arguments = ("train", "--resume", "killed", "-q") if has_checkpoint() else begin
        child = fork(*arguments)
        attempts += 1
        if done < kills:
            time.sleep(chance.uniform(0, LONGEST_LIFE))
            os.kill(child, signal.SIGKILL)
        code = wait(child)
        if code == 0 or (code == UsageError.exit_code and is_finished(Path("runs/killed"))):
            return {"kills": done, "attempts": attempts, "leftovers": dict(at)}
        assert code == -signal.SIGKILL, (code, arguments)
        done += 1
        at.update(left_behind())


def has_checkpoint() -> bool:
    """Return whether there is a complete checkpoint."""
    return any(Path("runs/killed/checkpoints").glob("step-*/manifest.json"))


def left_behind() -> set[str]:
    """Return the kinds of temporary files that a kill has left."""
    names = [path.name for path in Path("runs/killed").rglob(".*")]
    return {name.split("-")[0] for name in names} or {"nothing"}


def fork(*arguments: str) -> int:
    """Run a command in a forked child; return its process id."""
    child = os.fork()
    if child == 0:
        os._exit(cli.main(arguments))
    return child


def wait(child: int) -> int:
    """Return the exit code of a child, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def outcome(name: str) -> tuple[str, list[dict], list[str]]:
    """Return the hashes of the model and the state, the log without times, and the file names."""
    run = Path("runs") / name
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"], row["tokens_per_second"]
    newest = max((run / "checkpoints").glob("step-*"))
    manifest = json.loads((newest / "manifest.json").read_text())
    names = sorted(path.name for path in run.iterdir())
    tensors = manifest["state.safetensors"]["sha256"]
    return read_model(run / "model.safetensors").sha256 + tensors, rows, names


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
