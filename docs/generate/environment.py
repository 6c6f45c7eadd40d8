"""The page of environment variables: every variable that charnn reads.

`tests/docs/test_environment.py` searches the code for variables that are missing here.
"""

from docs.generate import markdown

OPTIONS = """\
An option overrides the variable of the same meaning. An empty variable counts as unset."""
OWN = {
    "CHARNN_DATA_DIR": ("`--data-dir`", "Folder of the datasets. Default: `data`."),
    "CHARNN_RUNS_DIR": (
        "`--runs-dir`",
        "Folder of the runs; `charnn.load` in Python reads it too. Default: `runs`.",
    ),
    "CHARNN_CACHE_DIR": (
        "",
        "Folder of downloaded corpora. Default: `charnn` in the cache folder of the user, for "
        "example `~/.cache/charnn` on Linux and `~/Library/Caches/charnn` on macOS.",
    ),
    "CHARNN_DEBUG": ("`--debug`", "Show a traceback on failure, unless it is `0`."),
}
TERMINAL = {
    "NO_COLOR": "Disables colors if it is set to any value.",
    "TERM": "Disables colors and the progress line if it is `dumb` or `unknown`.",
    "COLUMNS": "Width of help, of plots and of the output of `charnn lab`.",
}
THREADS = {
    "OMP_NUM_THREADS": "Threads of NumPy and torch, unless `--threads` is given.",
    "OPENBLAS_NUM_THREADS": "Threads of NumPy with OpenBLAS, unless `--threads` is given.",
    "MKL_NUM_THREADS": "Threads of NumPy or torch with MKL, unless `--threads` is given.",
    "VECLIB_MAXIMUM_THREADS": "Set together with the three variables above.",
    "OMP_WAIT_POLICY": "How waiting threads of torch behave. It disables `GOMP_SPINCOUNT` below.",
    "GOMP_SPINCOUNT": "How long waiting threads of torch spin. charnn sets it if it is unset.",
    "CUBLAS_WORKSPACE_CONFIG": "`--deterministic` sets it to `:4096:8` if it is unset.",
    "PYTHONUTF8": "charnn starts itself again with `1` if the locale is not UTF-8.",
    "WORLD_SIZE": "Set by `torchrun`: number of processes. charnn refuses to train if it is not 1.",
    "RANK": "Set by `torchrun`: number of this process, which the error message shows.",
}
LIBRARIES = {
    "XDG_CACHE_HOME": "Cache folder of the user on Linux, where `CHARNN_CACHE_DIR` is unset.",
    "HTTPS_PROXY, NO_PROXY": "Proxy of downloads.",
    "SSL_CERT_FILE": "Certificates that downloads trust.",
    "CUDA_VISIBLE_DEVICES": "GPUs that torch can use.",
}


def page() -> str:
    """Return tables of variables: of charnn, of the terminal, of threads, and of libraries."""
    own = [[f"`{name}`", flag, effect] for name, (flag, effect) in OWN.items()]
    return markdown.page(
        "Environment variables",
        "Variables that charnn reads or sets, and a few that its libraries read.",
        f"## charnn\n\n{OPTIONS}\n\n{markdown.table(['variable', 'option', 'effect'], own)}",
        f"## Terminal\n\n{table(TERMINAL)}",
        f"## Processes and threads\n\n{table(THREADS)}",
        f"## Read by libraries\n\n{table(LIBRARIES)}",
    )


def table(variables: dict[str, str]) -> str:
    """Return a table of variables and their effects."""
    rows = [[f"`{name}`".replace(", ", "`, `"), effect] for name, effect in variables.items()]
    return markdown.table(["variable", "effect"], rows)
