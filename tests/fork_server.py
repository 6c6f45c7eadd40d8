"""Run charnn commands in forks of one process that has already loaded the libraries.

    python -m tests.fork_server SOCKET

Loading them takes 0.4 seconds of a command, and 2 seconds with PyTorch. The server computes
nothing itself, so each fork is in the state of a new process after its imports. A client sends the
arguments, the working folder, the environment and its standard streams, and receives the exit code.
Tests of start-up, streams, signals and exits run real processes instead.
"""

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from functools import cache
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[1]
LIBRARIES = (
    *("torch", "torch._dynamo", "tokenizers"),  # optimizers import torch._dynamo
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
)
KILLED = 137  # exit code for a command that ended without sending one
# Without the site packages, Python starts in 15 ms.
CLIENT = """\
#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(connection, [b"\\n"], [0, 1, 2])
    connection.sendall(request)
    connection.shutdown(socket.SHUT_WR)
    code = connection.recv(1)
sys.exit(code[0] if code else {killed})
"""


@cache
def client() -> Path:
    """Start the server of this process; return a program that runs a command like `charnn`.

    macOS does not allow forks of processes with its libraries: there it is `charnn` itself.
    """
    folder = Path(tempfile.mkdtemp(prefix="charnn-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = folder / "charnn"
    if sys.platform == "darwin":
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W error -m charnn "$@"\n')
    else:
        address = str(folder / "socket")
        _start(address)
        program.write_text(
            CLIENT.format(python=sys.executable, address=address, killed=KILLED), "utf-8"
        )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def _start(address: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [sys.executable, "-m", __name__, address],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdin
    assert server.stdout
    atexit.register(server.communicate)  # closes its standard input, at which it ends
    assert server.stdout.readline() == b"ready\n"


def serve(address: str) -> None:
    """Fork for each connection until standard input is closed."""
    _load_everything()
    warnings.simplefilter("ignore")  # threads of libraries, which the forks do not use
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _run(connection)
            connection.close()
            with contextlib.suppress(ChildProcessError):  # no child is left
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _load_everything() -> None:
    from charnn.commands.threads import set_up_torch

    set_up_torch()
    import charnn

    modules = pkgutil.walk_packages(charnn.__path__, "charnn.")
    for name in (*LIBRARIES, *(module.name for module in modules)):
        if name != "charnn.__main__":
            importlib.import_module(name)


def _run(connection: socket.socket) -> NoReturn:
    """Run the command of a client with its streams, send the exit code, and end the process."""
    code = 1
    try:
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        with connection.makefile("rb") as file:
            arguments, folder, environment = json.loads(file.read())
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        time.tzset()
        code = _exit_code(arguments)
    finally:
        connection.send(bytes([code]))
        os._exit(code)


def _exit_code(arguments: list[str]) -> int:
    """Run the console script as Python does, with -W error."""
    from charnn import cli

    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.argv = ["charnn", *arguments]
    warnings.resetwarnings()
    warnings.simplefilter("error")
    try:
        cli.run()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    try:
        sys.stdout.flush()
    except OSError:
        return 120  # as at the exit of Python
    return code


if __name__ == "__main__":
    serve(sys.argv[1])
