"""Architecture tests: import layers, lazy imports, registries, length of functions.

Nothing is run here that can be read from the source; the rest runs in processes of its own.
"""

import ast
import graphlib
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import typer.main

from charnn import cli, config
from charnn.config import SampleConfig
from charnn.data import samplers
from charnn.generation import logit_filters
from charnn.model import layers, model_file, numpy_cells, spec
from charnn.tokenizers.char import CharTokenizer
from charnn.tokenizers.registry import TOKENIZERS
from charnn.training import optimizers, presets
from charnn.training.metrics_log import METRICS_FILE
from tests.tiny import random_tensors, tiny_config

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "charnn"

# The packages and top-level modules, from top to bottom. A module may import only from its own
# package and from lower layers, also inside functions. Packages on one line do not import each
# other.
LAYERS = (
    ("__main__",),
    ("cli", "__init__"),
    ("commands",),
    ("lab", "api"),
    ("training",),
    ("generation", "evaluation"),
    ("data", "model"),
    ("tokenizers", "display"),
    ("storage",),
    ("arguments",),
    ("config",),
    ("errors", "escape", "arrays"),
)
LAYER = {name: len(LAYERS) - place for place, names in enumerate(LAYERS) for name in names}

# Packages and modules whose import loads torch. All others do not import it.
TORCH_PACKAGES = {"training", "lab"}
TORCH_MODULES = {
    "model/device",
    "model/language_model",
    "model/layers",
    "model/loss",
    "model/torch_backend",
    "evaluation/dynamic_evaluation",
    "evaluation/evaluate",
}
# Modules of those packages that do not import torch, for commands that start without it.
TORCH_FREE = {
    "lab/__init__",
    "lab/experiment",
    "lab/hmm",
    "training/__init__",
    "training/events",
    "training/metrics_log",
    "training/presets",
    "training/run_plan",
    "training/counters",
    "training/time_budget",
}

# Modules without a test file, with the reason or the tests that cover them.
TESTED_ELSEWHERE = {
    "arrays": "types only",
    "cli": "tests/shell: all commands as processes",
    "commands/corpora": "tests/shell/test_main_job.py",
    "commands/listing": "tests/shell/test_models.py",
    "commands/model_arguments": "tests/shell/test_models.py",
    "commands/plot": "tests/shell/test_plot.py",
    "commands/train": "tests/shell/test_main_job.py",
    "commands/train_settings": "tests/reliability/test_b_configuration.py",
    "errors": "values only",
    "model/backend": "an interface only",
    "tokenizers/bpe": "tests/tokenizers/test_tokenizer.py, as each kind of tokenizer",
    "tokenizers/byte": "tests/tokenizers/test_tokenizer.py",
    "tokenizers/byte_vocabulary": "tests/tokenizers/test_tokenizer.py",
    "tokenizers/char": "tests/tokenizers/test_tokenizer.py",
    "tokenizers/registry": "a table only",
    "tokenizers/symbol_vocabulary": "tests/tokenizers/test_tokenizer.py",
    "training/events": "values only",
}
CROSS_MODULE_TESTS = {"architecture", "golden"}  # in addition to tests/{shell,reliability,docs}

HEAVY = {"torch", "numpy", "tokenizers", "matplotlib", "yaml"}  # slow to import
LONGEST_FUNCTION = 60

NAMES = sorted(p.relative_to(PACKAGE).with_suffix("").as_posix() for p in PACKAGE.rglob("*.py"))
MODULES = pytest.mark.parametrize("name", NAMES)


def path_of(name: str) -> Path:
    """Return the file of a module."""
    return PACKAGE / f"{name}.py"


@cache
def tree(name: str) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path_of(name).read_text("utf-8"))


def imported(nodes: list[ast.AST]) -> set[str]:
    """Return the imported names, with dots: `from a import b` is a.b."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def at_import(name: str) -> list[ast.AST]:
    """Return the import statements at the top level of a module."""
    return [node for node in tree(name).body if isinstance(node, ast.Import | ast.ImportFrom)]


def modules_in(names: set[str]) -> set[str]:
    """Return the modules of charnn among imported names; definitions count for their module."""
    modules = set()
    for name in names:
        if name.split(".")[0] == "charnn":
            inside = name.removeprefix("charnn").lstrip(".").replace(".", "/")
            candidates = [inside, f"{inside}/__init__", inside.rpartition("/")[0]]
            modules |= {next((module for module in candidates if module in NAMES), "__init__")}
    return modules


@cache
def loads_torch(name: str) -> bool:
    """Return whether importing a module imports torch, directly or through another module."""
    names = imported(at_import(name))
    if any(other.split(".")[0] == "torch" for other in names):
        return True
    return any(loads_torch(module) for module in modules_in(names))


def package_of(name: str) -> str:
    """Return the package of a module, or the module itself if it is at the top level."""
    return name.partition("/")[0]


def functions(name: str) -> list[ast.FunctionDef]:
    """Return all functions and methods of a module, including inner functions."""
    return [node for node in ast.walk(tree(name)) if isinstance(node, ast.FunctionDef)]


def test_every_package_has_a_layer() -> None:
    """LAYERS lists exactly the existing packages and modules."""
    assert {package_of(name) for name in NAMES} == set(LAYER)


@MODULES
def test_imports_are_from_lower_layers(name) -> None:
    """Also inside functions; a package may import from itself."""
    own = package_of(name)
    imports = {package_of(module) for module in modules_in(imported(list(ast.walk(tree(name)))))}

    assert {other for other in imports - {own} if LAYER[other] >= LAYER[own]} == set()


def test_no_import_cycles() -> None:
    """Neither between packages nor inside one."""
    imports = {name: modules_in(imported(list(ast.walk(tree(name))))) - {name} for name in NAMES}

    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError


@MODULES
def test_no_module_imports_a_package_root(name) -> None:
    """`__init__.py` re-exports nothing, so an import names the module of the definition."""
    modules = modules_in(imported(list(ast.walk(tree(name)))))

    assert {module for module in modules if module.endswith("__init__")} == set()


def test_only_these_modules_load_torch() -> None:
    """Directly, through another module, or inside a function."""
    loading = {name for name in NAMES if loads_torch(name)}
    expected = {n for n in NAMES if package_of(n) in TORCH_PACKAGES} - TORCH_FREE | TORCH_MODULES
    importing = {
        name
        for name in NAMES
        if any(other.split(".")[0] == "torch" for other in imported(list(ast.walk(tree(name)))))
    }

    assert loading == expected
    assert importing <= expected


def modules_after(script: str, folder: Path) -> set[str]:
    """Return the top-level modules that a new process has imported after running `script`."""
    tell = "import json, sys; sys.stderr.write('\\n' + json.dumps([*sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\n{tell}"],
        cwd=folder,
        capture_output=True,
        check=True,
        encoding="utf-8",
        timeout=120,
    )
    return {name.split(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


def test_command_line_starts_without_heavy_imports(tmp_path) -> None:
    """For --help and for an unknown option."""
    loaded = modules_after("import charnn, charnn.cli", tmp_path)

    assert "typer" in loaded
    assert not loaded & HEAVY


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """Return a folder with a text, and a run with a model and metrics."""
    folder = tmp_path_factory.mktemp("workplace")
    text = "the quick brown fox jumps over the lazy dog\n" * 40
    (folder / "fox.txt").write_text(text)
    vocabulary = CharTokenizer.build(text)
    shape = tiny_config(vocab_size=vocabulary.vocab_size)
    run = folder / "runs" / "fox-lstm-001"
    run.mkdir(parents=True)
    model_file.write_model(
        run / "model.safetensors",
        model_file.ModelFile(shape, vocabulary, 0, random_tensors(shape)),
    )
    row = {"split": "train", "step": 1, "tokens": 64, "seconds": 0.1, "loss": 3.0}
    (run / METRICS_FILE).write_text(json.dumps(row) + "\n")
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["prepare", "fox.txt", "-q"],
        ["prepare", "fox.txt", "--tokenizer", "bpe", "--vocab-size", "270", "--name", "b", "-q"],
        ["sample", "-n", "3", "--samples", "2", "--match", "[a-z ]*", "-q"],
        ["score", "fox-lstm-001", "fox.txt", "-q"],
        ["info", "fox-lstm-001"],
        ["plot", "fox-lstm-001", "-o", "curve.svg", "-q"],
        ["corpora", "--json"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_without_training_do_not_import_torch(arguments, workplace) -> None:
    """Importing torch takes longer than these commands."""
    run = f"from charnn.cli import main\nassert main({arguments!r}) == 0"

    assert "torch" not in modules_after(run, workplace)


@MODULES
def test_functions_are_at_most_60_lines(name) -> None:
    """For a command, only the body counts, because the signature lists its options."""
    long = [
        node.name
        for node in functions(name)
        for first in [node.body[0] if name.startswith("commands/") else node]
        if (node.end_lineno or 0) - first.lineno >= LONGEST_FUNCTION
    ]

    assert long == []


def test_tests_mirror_modules() -> None:
    """tests/training/test_loop.py tests charnn/training/loop.py, and so on."""
    tests = {
        path.relative_to(ROOT / "tests").with_name(path.name.removeprefix("test_")).with_suffix("")
        for path in (ROOT / "tests").rglob("test_*.py")
    }
    across = ("shell", "reliability", "docs")
    tested = {path.as_posix() for path in tests if path.parts[0] not in across}
    modules = {name for name in NAMES if not name.endswith(("__init__", "__main__"))}

    assert tested - modules == CROSS_MODULE_TESTS
    assert modules - tested == set(TESTED_ELSEWHERE)
    paths = [where for where in TESTED_ELSEWHERE.values() if where.startswith("tests/")]
    assert all((ROOT / re.split("[,:]", where)[0]).exists() for where in paths)


@MODULES
def test_every_module_has_a_docstring(name) -> None:
    """In its first line."""
    assert ast.get_docstring(tree(name))


@MODULES
def test_public_definitions_have_docstrings(name) -> None:
    """Functions, classes and methods whose names do not begin with an underscore."""
    scopes: list[ast.AST] = [tree(name)]
    scopes += [n for n in tree(name).body if isinstance(n, ast.ClassDef) and n.name[0] != "_"]
    public = [
        node
        for scope in scopes
        for node in ast.iter_child_nodes(scope)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]

    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize(
    ("registry", "names"),
    [
        (spec.CELL_SPECS, config.CellName),
        (layers.LAYERS, config.CellName),
        (numpy_cells.CELLS, config.CellName),
        (TOKENIZERS, config.TokenizerName),
        (samplers.SAMPLERS, config.SamplerName),
        (optimizers.OPTIMIZERS, config.OptimizerName),
        ({"auto": None, **presets.PRESETS}, config.PresetName),
    ],
    ids=["specs", "layers", "cells", "tokenizers", "samplers", "optimizers", "presets"],
)
def test_registry_matches_the_configuration(registry, names) -> None:
    """A registry has exactly the names that a setting allows."""
    assert set(registry) == set(get_args(names))


def test_layers_and_cells_match_their_specification() -> None:
    """In PyTorch, and in NumPy, where the order of the gates may differ."""
    for name, specification in spec.CELL_SPECS.items():
        assert layers.LAYERS[name].spec is specification
        assert numpy_cells.CELLS[name].spec is specification
        assert sorted(numpy_cells.CELLS[name].order) == sorted(specification.gates)


def test_every_filter_has_a_setting() -> None:
    """The settings of sampling are the filters and the length."""
    assert {*logit_filters.FILTERS, "max_new_tokens"} == set(SampleConfig.model_fields)


COMMANDS = {
    f"{name} {part}".strip(): command
    for name, whole in typer.main.get_command(cli.app).commands.items()
    for part, command in {"": whole, **getattr(whole, "commands", {})}.items()
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented(command) -> None:
    """Commands and options have a help text, and docs/commands.md has a section."""
    silent = [parameter.name for parameter in COMMANDS[command].params if not parameter.help]

    assert silent == []
    assert COMMANDS[command].help
    assert f"## charnn {command}\n" in (ROOT / "docs" / "commands.md").read_text("utf-8")


@MODULES
def test_no_silent_errors(name) -> None:
    """`type: ignore` has code and reason, `except` an exception type; `print` is not used."""
    source = path_of(name).read_text("utf-8")
    ignored = [line for line in source.splitlines() if "type: ignore" in line]
    handlers = [node for node in ast.walk(tree(name)) if isinstance(node, ast.ExceptHandler)]
    calls = [node.func for node in ast.walk(tree(name)) if isinstance(node, ast.Call)]

    assert [line for line in ignored if not re.search(r"type: ignore\[[\w-]+\]  # \w", line)] == []
    assert [handler.lineno for handler in handlers if handler.type is None] == []
    assert "print" not in {call.id for call in calls if isinstance(call, ast.Name)}
