"""The page of files: everything that charnn writes, who reads it, and whether it may be deleted.

`tests/docs/test_files.py` runs charnn and fails for a file that is missing here.
"""

from dataclasses import dataclass

from charnn.commands.lab import FOLDER as LAB_FOLDER
from charnn.data.corpora import CACHE_VARIABLE
from charnn.data.splits import SPLITS
from charnn.storage.atomic import REPLACED_PREFIX, TEMPORARY_PREFIX
from charnn.storage.lock import LOCK_FILE
from charnn.storage.workspace import (
    CHECKPOINTS,
    CONFIG_FILE,
    DATA_DIR,
    META_FILE,
    MODEL_FILE,
    RUNS_DIR,
    TOKENIZER_FILE,
)
from charnn.training.checkpoint import KEEP, MANIFEST_FILE, STATE_FILE, TENSORS_FILE
from charnn.training.metrics_log import METRICS_FILE
from docs.generate import markdown

INTRODUCTION = """\
Every file that charnn writes, and what is lost when you delete it. [File formats](format.md)
describes the contents. To delete a dataset or a run as a whole, remove its folder. Do not delete
files of a run while `charnn train` writes it."""
DATASET = f"""\
The folder `{DATA_DIR}/NAME/`, or `NAME` in the folder of `--data-dir`. charnn reads a dataset only
as a whole: without one of its files, prepare it again. A trained model does not need its dataset,
but `train --resume`, `eval` of a split, `sample --novel` and `score --overlap` read it."""
RUN = f"The folder `{RUNS_DIR}/NAME/`, or `NAME` in the folder of `--runs-dir`."
CHECKPOINT = f"""\
A folder `{CHECKPOINTS}/step-NNNNNNNN/` of the run, named after its step. A run keeps its {KEEP}
newest checkpoints. Delete a checkpoint only as a whole folder; without any, the run cannot be
resumed. A finished run needs none: delete `{CHECKPOINTS}/` to save space."""
OTHER = """\
Files that commands write besides datasets and runs."""
LEFTOVERS = """\
A command that ends, also after an error or Ctrl-C, removes these. A process that was killed leaves
them; the next command that writes to the same dataset or run removes them."""


@dataclass(frozen=True)
class File:
    """A row of the page. `pattern` is relative to the folder, in the syntax of `Path.match`."""

    pattern: str
    content: str
    readers: str
    deletable: str


_DATASET_READERS = "`train`, `eval`, `info`"
DATASET_FILES = (
    *(
        File(f"{split}.bin", f"Token ids of the {split} split.", _DATASET_READERS, "No.")
        for split in SPLITS
    ),
    File(
        TOKENIZER_FILE, "The tokenizer.", f"{_DATASET_READERS}, `prepare --tokenizer-from`", "No."
    ),
    File(
        META_FILE,
        "Format version, counts, hashes, sources and settings.",
        _DATASET_READERS,
        "No.",
    ),
)
RUN_FILES = (
    File(
        CONFIG_FILE,
        "The resolved settings.",
        "`train --resume`, `train --config`, `list`, and the default model",
        "Yes, but the run cannot be resumed then, and counts as damaged: it is no default.",
    ),
    File(
        METRICS_FILE,
        "Loss and speed of logged steps, validations, and the final score.",
        "`plot`, `list`; `train --resume` and the default model, to recognize a finished run.",
        "Yes, but the run has no learning curves then, and counts as finished.",
    ),
    File(
        MODEL_FILE,
        "The best model so far, with its tokenizer. It works without the other files.",
        "`sample`, `eval`, `score`, `info`, `train --init-from`, `charnn.load`",
        "No. It is the result of the run.",
    ),
)
CHECKPOINT_FILES = (
    File(
        TENSORS_FILE,
        "Weights, optimizer state, hidden state and random generators.",
        "`train --resume`",
        "With the folder.",
    ),
    File(
        STATE_FILE,
        "Counters, and the position in the data.",
        "`train --resume`",
        "With the folder.",
    ),
    File(
        MANIFEST_FILE,
        "Size and SHA-256 of the two files above.",
        "`train --resume`",
        "With the folder.",
    ),
)
LEFTOVER_FILES = (
    File(
        f"{LOCK_FILE}*",
        "Lock of a run or a dataset that a command writes now: its process and machine.",
        "`train`, `prepare`",
        "Yes, if no command runs. The lock of a process that ended has no effect.",
    ),
    File(
        f"{TEMPORARY_PREFIX}*", "An unfinished file or folder.", "None.", "Yes, if no command runs."
    ),
    File(
        f"{REPLACED_PREFIX}*",
        "A folder that was being replaced.",
        "`prepare --force` restores it if the replacement is missing.",
        "Only if the folder of the same name without the prefix exists.",
    ),
)
OTHER_FILES = (
    File(
        f"{CACHE_VARIABLE}/CORPUS/*",
        "A downloaded corpus, in the [cache folder](environment.md).",
        "`prepare CORPUS`",
        "Yes. `prepare` downloads it again.",
    ),
    File(
        f"{LAB_FOLDER}/NAME.png",
        "The picture of an experiment, unless `-o` names another file.",
        "You.",
        "Yes.",
    ),
    File("`-o FILE` of `plot`", "Learning curves.", "You.", "Yes."),
    File(
        "`--save-state FILE` of `sample`",
        "The hidden state after a text, and the position in the random stream.",
        "`sample --state`",
        "Yes.",
    ),
)


def page() -> str:
    """Return tables of the files of a dataset, of a run, of killed processes, and others."""
    return markdown.page(
        "Files",
        INTRODUCTION,
        f"## Dataset\n\n{DATASET}\n\n{table(DATASET_FILES)}",
        f"## Run\n\n{RUN}\n\n{table(RUN_FILES)}",
        f"### Checkpoint\n\n{CHECKPOINT}\n\n{table(CHECKPOINT_FILES)}",
        f"## Locks and temporary files\n\n{LEFTOVERS}\n\n{table(LEFTOVER_FILES)}",
        f"## Other files\n\n{OTHER}\n\n{table(OTHER_FILES)}",
    )


def table(files: tuple[File, ...]) -> str:
    """Return a table with a row per file."""
    rows = [
        [
            file.pattern if "`" in file.pattern else f"`{file.pattern}`",
            file.content,
            file.readers,
            file.deletable,
        ]
        for file in files
    ]
    return markdown.table(["file", "content", "read by", "may be deleted"], rows)
