"""The rules of the house: who may import whom, what stays light, what agrees, how long is too long.

Nothing is run here that can be read from the source; the rest runs in processes of its own.
"""

import ast
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
from charnn.config import PrepareConfig, SampleConfig, TrainConfig, flag
from charnn.data import samplers
from charnn.generation import logit_filters
from charnn.model import layers, model_file, numpy_cells
from charnn.tokenizers import tokenizer as tokenizers
from charnn.training import optimizers, presets
from charnn.training.metrics_log import METRICS_FILE
from tests.tiny import random_tensors, tiny_config

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "charnn"

# Every module and its floor, along the way of the data. Imports go to lower floors only, the ones
# inside functions too. A new module needs a line here, one floor above what it imports.
FLOORS = {
    # what all stand on
    "errors": 0,
    "config": 1,
    "yaml_files": 2,
    "escapes": 0,
    "files": 1,
    "locks": 2,
    "workspace": 1,
    "threads": 0,
    # text
    "downloads": 2,
    "catalogue": 3,
    "sources": 4,
    "decoding": 5,
    # tokenizer
    "words": 1,
    "byte_pairs": 0,
    "tokenizer": 2,
    "tokenizer_file": 3,
    # dataset
    "splits": 0,
    "corpus": 4,
    "preparation": 6,
    # sampler
    "samplers": 1,
    # model
    "layers": 0,
    "model": 2,
    # evaluation
    "metrics": 0,
    "units": 3,
    "baselines": 1,
    "evaluation": 4,
    "dynamic": 5,
    # trainer
    "devices": 1,
    "presets": 2,
    "optimizers": 3,
    "averaging": 0,
    "pace": 0,
    "events": 1,
    "losses": 2,
    "training": 4,
    "inheritance": 5,
    "training_state": 5,
    "checkpoint": 6,
    "metrics_file": 2,
    "runs": 7,
    "signals": 0,
    "validation": 5,
    "session": 8,
    # model file
    "tensor_files": 2,
    "model_file": 4,
    # generator
    "cells": 0,
    "stepper": 2,
    "filters": 0,
    "stops": 0,
    "uniforms": 0,
    "expressions": 1,
    "automaton": 2,
    "constraints": 3,
    "generation": 4,
    "torch_stepper": 3,
    "state_file": 5,
    "writing": 5,
    "api": 5,
    "__init__": 6,
    # scorer
    "lines": 0,
    "scoring": 4,
    "heat": 2,
    "rows": 5,
    # what has been copied
    "overlap": 0,
    # what a person sees
    "output": 1,
    "formats": 0,
    "display": 1,
    "curves": 0,
    "drawing": 2,
    "plots": 2,
    "charts": 3,
    "status": 3,
    "progress": 4,
    "watching": 5,
    # the lab, on top of all rooms
    "lab/__init__": 0,
    "lab/experiment": 5,
    "lab/trials": 5,
    "lab/memory": 6,
    "lab/graphs": 0,
    "lab/truncation": 6,
    "lab/samplers": 6,
    "lab/hidden_markov": 0,
    "lab/baselines": 6,
    "lab/cells": 6,
    "lab/by_hand": 0,
    "lab/four_steps": 0,
    "lab/agreement": 6,
    "lab/reach": 3,
    "lab/clipping": 6,
    "lab/trained_gradients": 7,
    "lab/gradients": 8,
    # the command line
    "commands/__init__": 0,
    "commands/options": 5,
    "commands/settings": 8,
    "commands/prepare": 9,
    "commands/train": 9,
    "commands/evaluate": 9,
    "commands/sample": 9,
    "commands/score": 9,
    "commands/info": 9,
    "commands/plot": 9,
    "commands/lab": 9,
    "commands/corpora": 9,
    "cli": 10,
    "__main__": 11,
}

# The modules whose import loads torch. All others start without it, and so does what uses them.
TORCH_ROOMS = {
    *("layers", "model"),
    *("evaluation", "dynamic", "torch_stepper", "losses"),
    *("devices", "optimizers", "averaging", "training", "inheritance"),
    *("training_state", "checkpoint", "runs", "validation", "session"),
    *("lab/trials", "lab/graphs", "lab/memory", "lab/truncation", "lab/samplers"),
    *("lab/baselines", "lab/by_hand", "lab/four_steps", "lab/agreement", "lab/reach"),
    *("lab/clipping", "lab/trained_gradients", "lab/gradients", "lab/cells"),
}

HEAVY = {"torch", "numpy", "tokenizers", "matplotlib", "yaml"}  # takes time at every start
LONGEST_FILE = 300
LONGEST_FUNCTION = 60

MODULES = pytest.mark.parametrize("name", FLOORS)


def path_of(name: str) -> Path:
    """The file of a module."""
    return PACKAGE / f"{name}.py"


@cache
def tree(name: str) -> ast.Module:
    """The syntax of a module."""
    return ast.parse(path_of(name).read_text("utf-8"))


def imported(nodes: list[ast.AST]) -> set[str]:
    """What import statements name, with dots: `from a import b` names a.b."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def at_import(name: str) -> list[ast.AST]:
    """The statements that run when a module is imported, as far as they may import."""
    return [node for node in tree(name).body if isinstance(node, ast.Import | ast.ImportFrom)]


def rooms_in(names: set[str]) -> set[str]:
    """The modules of the package among imported names; a name inside a module counts for it."""
    rooms = set()
    for name in names:
        if name.split(".")[0] == "charnn":
            inside = name.removeprefix("charnn").lstrip(".").replace(".", "/")
            candidates = [inside, inside.rpartition("/")[0], f"{inside}/__init__"]
            rooms |= {next((room for room in candidates if room in FLOORS), "__init__")}
    return rooms


@cache
def loads_torch(name: str) -> bool:
    """Whether importing a module imports torch, itself or through another."""
    names = imported(at_import(name))
    if any(other.split(".")[0] == "torch" for other in names):
        return True
    return any(loads_torch(room) for room in rooms_in(names))


def functions(name: str) -> list[ast.FunctionDef]:
    """Every function and method of a module, inner ones too."""
    return [node for node in ast.walk(tree(name)) if isinstance(node, ast.FunctionDef)]


def test_every_module_has_a_floor() -> None:
    """The table of floors lists the modules there are, and no others."""
    there = {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py")}

    assert there == set(FLOORS)


@MODULES
def test_imports_go_to_lower_floors_only(name) -> None:
    """So no import can come round in a circle; those inside functions count."""
    rooms = rooms_in(imported(list(ast.walk(tree(name)))))

    assert {room for room in rooms if FLOORS[room] >= FLOORS[name]} == set()


@MODULES
def test_no_module_imports_the_root_of_its_package(name) -> None:
    """`from charnn import module` is as good as `import charnn.module`; the root itself is not."""
    assert "__init__" not in rooms_in(imported(list(ast.walk(tree(name)))))


def test_torch_is_imported_in_its_rooms_alone() -> None:
    """Directly, through another module, or inside a function."""
    importing = {
        name
        for name in FLOORS
        if any(other.split(".")[0] == "torch" for other in imported(list(ast.walk(tree(name)))))
    }

    assert {name for name in FLOORS if loads_torch(name)} == TORCH_ROOMS
    assert importing <= TORCH_ROOMS


def modules_after(script: str, folder: Path) -> set[str]:
    """The top-level modules that a new process has imported once it has run `script`."""
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


def test_the_command_line_starts_with_nothing_heavy(tmp_path) -> None:
    """--help and a mistyped flag wait for none of these."""
    loaded = modules_after("import charnn, charnn.cli", tmp_path)

    assert "typer" in loaded
    assert not loaded & HEAVY


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder with a text, and a run that has a model and metrics."""
    folder = tmp_path_factory.mktemp("workplace")
    text = "the quick brown fox jumps over the lazy dog\n" * 40
    (folder / "fox.txt").write_text(text)
    vocabulary = tokenizers.build("char", text)
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
        ["info", "fox-lstm-001"],
        ["plot", "fox-lstm-001", "-o", "curve.svg", "-q"],
        ["corpora", "--json"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_that_trains_nothing_loads_no_torch(arguments, workplace) -> None:
    """It takes longer to load than the command to run."""
    run = f"from charnn.cli import main\nassert main({arguments!r}) == 0"

    assert "torch" not in modules_after(run, workplace)


@MODULES
def test_files_and_functions_fit_on_a_page_or_two(name) -> None:
    """Of a command its body counts: the signature lists its options."""
    long = [
        node.name
        for node in functions(name)
        for first in [node.body[0] if name.startswith("commands/") else node]
        if (node.end_lineno or 0) - first.lineno >= LONGEST_FUNCTION
    ]

    assert len(path_of(name).read_text("utf-8").splitlines()) <= LONGEST_FILE
    assert long == []


@MODULES
def test_every_module_says_what_it_never_knows(name) -> None:
    """In its docstring; the package of the commands speaks for each of them."""
    docstring = ast.get_docstring(tree(name)) or ""
    spoken_for = ast.get_docstring(tree("commands/__init__")) if "/" in name else ""

    assert docstring
    assert "Never know" in f"{docstring}\n{spoken_for}"


@MODULES
def test_what_is_public_has_a_docstring(name) -> None:
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
        (layers.CELLS, config.CellName),
        (numpy_cells.CELLS, config.CellName),
        (model_file.GATES, config.CellName),
        (tokenizers.TOKENIZERS, config.TokenizerName),
        (samplers.SAMPLERS, config.SamplerName),
        (optimizers.OPTIMIZERS, config.OptimizerName),
        ({"auto": None, **presets.PRESETS}, config.PresetName),
        ({"auto": None, **presets.EPOCHS}, config.PresetName),
    ],
    ids=["layers", "cells", "gates", "tokenizers", "samplers", "optimizers", "presets", "epochs"],
)
def test_a_registry_has_the_names_of_the_configuration(registry, names) -> None:
    """What can be asked for can be made, and the other way round."""
    assert set(registry) == set(get_args(names))


def test_the_gates_of_a_cell_agree_everywhere() -> None:
    """In training, in the model file, and one token at a time."""
    for name, gates in model_file.GATES.items():
        assert layers.CELLS[name].gates == gates
        assert sorted(numpy_cells.CELLS[name].order) == list(range(len(gates)))


def test_every_filter_has_a_field() -> None:
    """The settings of sampling are the filters and the length."""
    assert {*logit_filters.FILTERS, "max_new_tokens"} == set(SampleConfig.model_fields)


COMMANDS = {
    f"{name} {part}".strip(): command
    for name, whole in typer.main.get_command(cli.app).commands.items()
    for part, command in {"": whole, **getattr(whole, "commands", {})}.items()
}


@pytest.mark.parametrize(
    ("command", "kind"),
    [("train", TrainConfig), ("sample", SampleConfig), ("prepare", PrepareConfig)],
    ids=["train", "sample", "prepare"],
)
def test_every_setting_is_an_option_of_the_same_name(command, kind) -> None:
    """With the same help text; the dataset of `train` alone is an argument."""
    options = {parameter.name: parameter for parameter in COMMANDS[command].params}
    told = {name: getattr(options.get(name), "help", None) for name in kind.model_fields}
    spelled = {
        name for name in options.keys() & kind.model_fields if flag(name) in options[name].opts
    }

    assert set(kind.model_fields) - spelled <= {"data"}
    assert {name for name in spelled if told[name] != kind.model_fields[name].description} == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command) -> None:
    """And the command itself, in the help, in README.md and in docs/commands.md."""
    silent = [parameter.name for parameter in COMMANDS[command].params if not parameter.help]

    assert silent == []
    assert COMMANDS[command].help
    assert f"`charnn {command.split()[0]}`" in (ROOT / "README.md").read_text("utf-8")
    assert f"## charnn {command}\n" in (ROOT / "docs" / "commands.md").read_text("utf-8")


@MODULES
def test_nothing_is_hushed_up(name) -> None:
    """An ignored type has its code and its reason, an exception its name, a word its stream."""
    source = path_of(name).read_text("utf-8")
    ignored = [line for line in source.splitlines() if "type: ignore" in line]
    handlers = [node for node in ast.walk(tree(name)) if isinstance(node, ast.ExceptHandler)]
    calls = [node.func for node in ast.walk(tree(name)) if isinstance(node, ast.Call)]

    assert [line for line in ignored if not re.search(r"type: ignore\[[\w-]+\]  # \w", line)] == []
    assert [handler.lineno for handler in handlers if handler.type is None] == []
    assert "print" not in {call.id for call in calls if isinstance(call, ast.Name)}
