"""Rows C of the table of faults: damaged, crafted or executable files are refused."""

import gzip
import io
import json
import os
import pickle
import re
import shutil
import stat
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from charnn.config import ModelConfig
from charnn.data import corpora, sources
from charnn.data.download import download
from charnn.errors import DataError, StorageError
from charnn.escape import visible
from charnn.model.language_model import LanguageModel
from charnn.model.model_file import ModelFile, read_model, write_model
from charnn.storage import atomic
from charnn.storage.safetensors_file import MAX_HEADER
from charnn.tokenizers.char import CharTokenizer
from charnn.tokenizers.tokenizer import VocabularyOptions
from charnn.tokenizers.tokenizer_json import dump_tokenizer, load_tokenizer
from charnn.tokenizers.words import WordTokenizer
from charnn.training.checkpoint import load_newest
from tests.loopback import loopback
from tests.reliability.craft import (
    Bomb,
    change,
    change_tokenizer,
    parts,
    reseal,
    reseal_dataset,
    sealed,
)
from tests.shell.conftest import LAMP

RUN = "runs/lamp-lstm-001"
MODEL = f"{RUN}/model.safetensors"
STATE_FILES = ("state.safetensors", "state.json", "manifest.json")
QUICKLY = 2  # seconds


@pytest.fixture
def model(trained):
    """Return the path of a model file that a test may damage."""
    return trained.folder / MODEL


def refused(trained, path=MODEL, *, said="", code=65):
    """Check that a file is refused quickly, without a large allocation, with one message."""
    size = (trained.folder / path).stat().st_size
    tracemalloc.start()
    begin = time.monotonic()
    message = trained.refused("sample", path, "-n", "3", code=code, said=said)
    seconds, (_, peak) = time.monotonic() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert seconds < QUICKLY
    assert peak < 20 * size + 8_000_000
    return message


def cuts(path):
    """Return the sizes to which a safetensors file is truncated."""
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    size = path.stat().st_size
    return 0, 1, 7, 8, header - 1, size // 2, size - 1


def test_c1_a_truncated_model_is_refused(trained, model) -> None:
    """65 at each of seven lengths."""
    whole = model.read_bytes()
    for size in cuts(model):
        model.write_bytes(whole[:size])
        refused(trained)


@pytest.mark.parametrize("name", STATE_FILES)
def test_c1_a_truncated_checkpoint_is_skipped_for_the_previous_one(trained, name) -> None:
    """At each length, with a note; without another checkpoint it is 65."""
    newest = trained.folder / RUN / "checkpoints/step-00000006"
    whole = (newest / name).read_bytes()
    lengths = cuts(newest / name) if "tensors" in name else (0, 1, 7, 8, len(whole) - 1)
    for size in lengths:
        (newest / name).write_bytes(whole[:size])
        state, faults = load_newest(trained.folder / RUN)
        assert (state.header.counters.step, len(faults)) == (3, 1)
    done = trained.run("train", "--resume", "lamp-lstm-001", "--steps", "7")
    assert "using an earlier checkpoint" in done.stderr

    for path in (trained.folder / RUN / "checkpoints").iterdir():
        (path / name).write_bytes(whole[:1])
    more = ("--resume", "lamp-lstm-001", "--steps", "8")
    trained.refused("train", *more, code=65, said=name)


def test_c2_one_flipped_bit_is_detected(trained, model) -> None:
    """In a model, a training state, the tokens of a dataset: SHA-256 differs, 65."""
    for path in (
        model,
        trained.folder / RUN / "checkpoints/step-00000006/state.safetensors",
        trained.folder / "data/lamp/train.bin",
    ):
        data = bytearray(path.read_bytes())
        data[-9] ^= 16
        path.write_bytes(data)
    refused(trained, said="SHA-256")
    shutil.rmtree(trained.folder / RUN / "checkpoints/step-00000003")
    trained.refused("train", "--steps", "1", code=65, said="train.bin")
    with pytest.raises(DataError, match=r"state\.safetensors"):
        load_newest(trained.folder / RUN)


def lies(header):
    """Return header entries that contradict the file, by name."""
    first = header["embedding.weight"]
    begin, end = first["data_offsets"]
    return {
        "overlap": {"output.bias": {"data_offsets": [begin, begin + 4]}},
        "hole": {"embedding.weight": {"data_offsets": [begin + 4, end + 4]}},
        "overflow": {"embedding.weight": {"data_offsets": [begin, 2**64]}},
        "negative": {"embedding.weight": {"data_offsets": [-8, end]}},
        "huge-shape": {"embedding.weight": {"shape": [2**40, 2**40]}},
        "odd-shape": {"embedding.weight": {"shape": [3, 3]}},
        "text-shape": {"embedding.weight": {"shape": "many"}},
        "unknown-dtype": {"embedding.weight": {"dtype": "F7"}},
        "other-dtype": {"embedding.weight": {"dtype": "F64"}},
        "missing": {"output.bias": None},
        "unexpected": {"extra": first},
    }


@pytest.mark.parametrize(
    "lie",
    [
        *("overlap", "hole", "overflow", "negative", "huge-shape", "odd-shape", "text-shape"),
        *("unknown-dtype", "other-dtype", "missing", "unexpected"),
    ],
)
def test_c3_a_header_that_contradicts_the_file_is_refused(trained, model, lie) -> None:
    """65, without allocating the size that it states."""
    header, _ = parts(model)
    change(model, entries=lies(header)[lie])

    refused(trained)


def test_c3_malformed_safetensors_are_refused(trained, model) -> None:
    """A header that is too long, repeated keys, trailing bytes, deep nesting, invalid JSON."""
    header, body = parts(model)
    text = json.dumps(header).encode()
    repeated = text.replace(b'{"__metadata__"', b'{"output.bias": 1, "__metadata__"', 1)
    for data in (
        (MAX_HEADER + 1).to_bytes(8, "little") + text + body,
        (2**64 - 1).to_bytes(8, "little") + text + body,
        sealed(repeated, body),
        sealed(header, body + b"trailing"),
        sealed(b"[" * 100_000, body),
        sealed(b'{"a":' * 100_000, body),
        sealed(b"\xff\xfe\x00", body),
        sealed(b'{"__metadata__": 7}', body),
        sealed(b"[]", body),
        sealed(b'{"__metadata__": {"format": "charnn-model", "format_version": 1}}', body),
        b"\0" * 1000,
        b"{}",
    ):
        model.write_bytes(data)
        refused(trained)


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580, 0x4B50], ids=hex)
def test_c3_a_valid_file_is_not_mistaken_for_a_pickle(trained, model, length) -> None:
    """The length of its header, the first bytes, can look like those of a pickle or an archive."""
    header, body = parts(model)
    header["__metadata__"]["training"] = "{}"
    header["__metadata__"]["metrics"] = "{}"
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    wanted = length if length > len(text) else length + 0x10000
    model.write_bytes(sealed(text.ljust(wanted), body))

    trained.run("sample", MODEL, "-n", "3", "-q")


EVIL = "\x1b]52;c;aGk=\x07\x9b2J\n\u202e"  # sets the clipboard, clears the screen, reverses text


def test_c4_control_characters_are_escaped_in_every_message(trained, model) -> None:
    """In tensor names, strings, tokens, YAML keys and paths."""
    whole = model.read_bytes()
    header, _ = parts(model)
    for lie in (
        {"entries": {EVIL: header["output.bias"]}},
        {"entries": {"output.bias": {"dtype": EVIL}}},
        {"strings": {"config": json.dumps({EVIL: 1})}},
        {"strings": {"format_version": EVIL}},
        {"strings": {"start_token": EVIL}},
    ):
        model.write_bytes(whole)
        change(model, **lie)
        assert "\\x1b" in refused(trained)
    model.write_bytes(whole)
    trained.write("evil.yaml", f'"{EVIL.encode("unicode_escape").decode()}": 1\n')
    trained.refused("train", "--config", "evil.yaml", code=2, said="\\x1b]52")
    trained.refused("sample", EVIL, code=2, said="\\x1b]52")
    trained.refused("prepare", EVIL, code=74, said="\\x1b]52")
    trained.refused("sample", "-p", EVIL, code=2, said="\\x1b")
    assert not any(c in visible(EVIL, one_line=True) for c in EVIL if not c.isprintable())


def test_c4_info_escapes_the_metadata_of_a_model(trained, model, monkeypatch) -> None:
    """Its strings and tokens cannot control the terminal."""
    change(
        model,
        strings={"metrics": json.dumps({EVIL: EVIL}), "training": json.dumps({"data": EVIL})},
    )
    text = trained.run("info", MODEL).stdout.decode()
    as_json = trained.run("info", MODEL, "--json").stdout

    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text if c not in "\n\t")
    assert json.loads(as_json)["metrics"] == {EVIL: EVIL}
    assert visible(as_json.decode()) == as_json.decode()


def test_c4_eval_escapes_file_names(trained) -> None:
    """A file from someone else can have any name."""
    trained.write("evil\x1b[2J.txt", LAMP)
    text = trained.run("eval", MODEL, "evil\x1b[2J.txt").stdout.decode()

    assert "\x1b" not in text
    assert r"evil\x1b[2J.txt" in text


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
def test_c5_a_pickle_under_any_file_name_is_refused(trained, model, protocol) -> None:
    """Without opening it: its code does not run."""
    bomb = pickle.dumps(Bomb(), protocol)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:  # the layout of torch.save
        zipped.writestr("archive/data.pkl", bomb)
    checkpoint = trained.folder / RUN / "checkpoints/step-00000006"
    for data in (bomb, archive.getvalue()):
        model.write_bytes(data)
        trained.write("model.pt", data)
        trained.write("state", data)
        for arguments in (
            ("sample", "model.pt"),
            ("sample", "lamp-lstm-001"),
            ("info", MODEL),
            ("eval", MODEL),
            ("train", "--init-from", "model.pt", "--steps", "1"),
        ):
            trained.refused(*arguments, code=65)
        for name in STATE_FILES:
            reseal(checkpoint, name, data) if name != "manifest.json" else None
        shutil.rmtree(trained.folder / RUN / "checkpoints/step-00000003", ignore_errors=True)
        trained.refused("train", "--resume", "lamp-lstm-001", "--steps", "8", code=65)
        for name in ("tokenizer.json", "meta.json"):
            (trained.folder / "data/lamp" / name).write_bytes(data)
        trained.refused("train", "--steps", "1", code=65)

    assert not (trained.folder / "marker").exists()


def test_c5_a_pickle_as_generation_state_is_refused(trained) -> None:
    """`sample --state` accepts only files written by `--save-state`."""
    trained.write("state", pickle.dumps(Bomb()))
    trained.refused("sample", "--state", "state", "-n", "3", "-q", code=65, said="pickle")

    assert not (trained.folder / "marker").exists()


@pytest.mark.parametrize(
    "values",
    [
        {"hidden_size": 10**9},
        {"hidden_size": 65_536},
        {"num_layers": 10**6},
        {"num_layers": 64},
        {"embedding_dim": 65_536},
        {"vocab_size": 2**31 - 1},
        {"cell": "transformer"},
        {"cell": "rnn"},
        {"hidden_size": True},
        {"hidden_size": "8"},
        {"extra": 1},
        {"tie_weights": True},
    ],
    ids=str,
)
def test_c7_a_shape_is_compared_with_the_file_before_allocation(trained, model, values) -> None:
    """65 at once, for any size."""
    header, _ = parts(model)
    config = {**json.loads(header["__metadata__"]["config"]), **values}
    change(model, strings={"config": json.dumps(config)})

    refused(trained)


FORGED_COUNTERS = {
    "batch": 10**6,
    "epoch": -1,
    "step": "6",
    "tokens": None,
    "lr_scale": 0.0,
    "loss_sum": "NaN",
    "best_step": True,
    "scaler": {"scale": "x"},
    "extra": 1,
}


@pytest.mark.parametrize("name", FORGED_COUNTERS)
def test_c7_forged_counters_of_a_checkpoint_are_refused(trained, name) -> None:
    """65 before the first step, although the manifest matches."""
    folder = trained.folder / RUN / "checkpoints/step-00000006"
    shutil.rmtree(trained.folder / RUN / "checkpoints/step-00000003")
    header = json.loads((folder / "state.json").read_text())
    place = header["counters"] if name in header["counters"] else header
    place[name] = FORGED_COUNTERS[name]
    reseal(folder, "state.json", json.dumps(header).encode())

    trained.refused("train", "--resume", "lamp-lstm-001", "--steps", "9", code=65)


def forged(tensors):
    """Return changes of a training state that would break a step, by name."""
    hidden, weight = tensors["hidden.0"], tensors["model.output.bias"]
    remembered = next(name for name in tensors if name.endswith("exp_avg"))
    return {
        "weight-shape": {"model.output.bias": weight[:1]},
        "weight-type": {"model.output.bias": weight.double()},
        "weight-nan": {"model.output.bias": weight * float("nan")},
        "weight-missing": {"model.output.bias": None},
        "weight-extra": {"model.extra": weight},
        "average-shape": {"average.output.bias": weight},
        "memory-shape": {remembered: torch.zeros(2)},
        "memory-scalar": {remembered: torch.zeros(())},
        "memory-type": {remembered: tensors[remembered].double()},
        "memory-missing": {remembered: None},
        "memory-beyond": {"optimizer.0.999.momentum": torch.zeros(1)},
        "memory-name": {"optimizer.0.x": torch.zeros(1)},
        "hidden-streams": {"hidden.0": hidden[:1], "hidden.1": hidden[:1]},
        "hidden-width": {"hidden.0": hidden[:, :1]},
        "hidden-scalar": {"hidden.0": torch.zeros(())},
        "hidden-missing": {"hidden.0": None},
        "random-short": {"random.cpu": tensors["random.cpu"][:-1]},
        "random-type": {"random.cpu": tensors["random.cpu"].float()},
        "random-missing": {"random.cpu": None},
    }


FORGERIES = (
    *("weight-shape", "weight-type", "weight-nan", "weight-missing", "weight-extra"),
    *("average-shape", "memory-shape", "memory-scalar", "memory-type", "memory-missing"),
    *("memory-beyond", "memory-name", "hidden-streams", "hidden-width", "hidden-scalar"),
    *("hidden-missing", "random-short", "random-type", "random-missing"),
)


@pytest.mark.parametrize("kind", FORGERIES)
def test_c7_forged_tensors_of_a_checkpoint_are_refused(trained, kind) -> None:
    """65: names, shapes and types must be those of the run, otherwise nothing is restored."""
    folder = trained.folder / RUN / "checkpoints/step-00000006"
    shutil.rmtree(trained.folder / RUN / "checkpoints/step-00000003")
    tensors = safetensors.torch.load((folder / "state.safetensors").read_bytes())
    tensors |= forged(tensors)[kind]
    kept = {name: tensor.clone() for name, tensor in tensors.items() if tensor is not None}
    reseal(folder, "state.safetensors", safetensors.torch.save(kept))

    trained.refused(
        "train", "--resume", "lamp-lstm-001", "--steps", "9", code=65, said="does not match"
    )


def test_c8_inconsistent_vocabulary_sizes_are_refused(trained, model) -> None:
    """Tokenizer, configuration and weights must have the same number of tokens."""
    header, _ = parts(model)
    size = header["embedding.weight"]["shape"][0]
    whole = model.read_bytes()
    config = {**json.loads(header["__metadata__"]["config"]), "vocab_size": size + 1}
    change(model, strings={"config": json.dumps(config)})
    refused(trained, said=(f"{size} tokens", f"vocab_size is {size + 1}"))

    model.write_bytes(whole)
    vocab = json.loads(header["__metadata__"]["tokenizer"])["model"]["vocab"]
    unused = next(c for c in "ΩΨΦ" if c not in vocab)
    change_tokenizer(model, lambda t: t["model"]["vocab"].update({unused: size}))
    config["vocab_size"] = size + 1
    change(model, strings={"config": json.dumps(config)})
    refused(trained, said=(f"{size + 1}", f"[{size}, "))


def put(*keys, value):
    """Return a function that sets a value in nested JSON."""

    def edit(tokenizer):
        for key in keys[:-1]:
            tokenizer = tokenizer[key]
        tokenizer[keys[-1]] = value

    return edit


def shift(tokenizer):
    vocab = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {name: index + 1 for name, index in vocab.items()}


def repeat(tokenizer):
    tokenizer["model"]["vocab"] = dict.fromkeys(tokenizer["model"]["vocab"], 0)


def far(tokenizer):
    first = next(iter(tokenizer["model"]["vocab"]))
    tokenizer["model"]["vocab"][first] = 5_000_000_000


PADDING = {"strategy": {"Fixed": 2 * 10**9}, "direction": "Right", "pad_id": 0}
REPLACE = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "x"}
CRAFTED = {
    "no-model": lambda t: t.pop("model"),
    "model-list": put("model", value=[]),
    "model-unknown": put("model", "type", value="Unigram"),
    "model-bpe": put("model", "type", value="BPE"),
    "vocab-none": put("model", "vocab", value=None),
    "vocab-empty": put("model", "vocab", value={}),
    "vocab-list": put("model", "vocab", value=["a", "b"]),
    "ids-text": put("model", "vocab", value={"a": "0"}),
    "ids-float": put("model", "vocab", value={"a": 0.0, "b": 1.0}),
    "ids-bool": put("model", "vocab", value={"a": False, "b": True}),
    "ids-negative": put("model", "vocab", value={"a": -1, "b": 0}),
    "ids-gap": shift,
    "ids-repeated": repeat,
    "ids-far": far,
    "unk-missing": lambda t: t["model"].pop("unk_token"),
    "unk-unknown": put("model", "unk_token", value="no such token"),
    "unk-number": put("model", "unk_token", value=7),
    "long-character": lambda t: t["model"]["vocab"].update({"two": len(t["model"]["vocab"])}),
    "surrogate": lambda t: t["model"]["vocab"].update({"\ud800": len(t["model"]["vocab"])}),
    "merges": put("model", "merges", value=[["a", "b"]]),
    "version": put("version", value="2.0"),
    "key-extra": put("extra", value=1),
    "decoder": put("decoder", value={"type": "WordPiece", "prefix": "##", "cleanup": True}),
}
SMUGGLED = {
    "padding": put("padding", value=PADDING),
    "truncation": put("truncation", value={"max_length": 0, "strategy": "LongestFirst"}),
    "normalizer": put("normalizer", value=REPLACE),
    "post-processor": put("post_processor", value={"type": "ByteLevel"}),
    "added-tokens": put("added_tokens", value=[{"id": 0, "content": "a", "special": True}]),
}
PRE_TOKENIZERS = {
    "catastrophic": {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Removed"},
    "unknown": {"type": "Metaspace", "replacement": "_"},
    "sequence": {"type": "Sequence", "pretokenizers": []},
    "wrong-regex": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"},
    "long-regex": {"type": "Split", "pattern": {"Regex": "a" * 2000}, "behavior": "Isolated"},
    "none": None,
    "list": [],
}


def both_ways(trained, model, edit):
    """Check a damaged tokenizer in a model file, in a dataset, and as a separate file."""
    change_tokenizer(model, edit)
    refused(trained)
    folder = trained.folder / "data/lamp"
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    edit(tokenizer)
    data = json.dumps(tokenizer).encode()
    reseal_dataset(folder, "tokenizer.json", data)
    trained.refused("train", "--steps", "1", code=65)
    trained.write("t.json", data)
    trained.refused("prepare", "lamp.txt", "--name", "x", "--tokenizer-from", "t.json", code=65)


@pytest.mark.parametrize("kind", CRAFTED)
def test_c9_a_crafted_tokenizer_is_refused(trained, model, kind) -> None:
    """65 without a traceback; it never reaches a library that could panic."""
    both_ways(trained, model, CRAFTED[kind])


def test_c9_a_tokenizer_that_is_not_json_is_refused(trained, model) -> None:
    """Truncated, nested, duplicate keys, a number, NaN: 65."""
    for text in ("", "{", "7", "null", "[" * 100_000, '{"a":' * 50_000, '{"a":1,"a":2}', "NaN"):
        change(model, strings={"tokenizer": text})
        refused(trained)


def test_c9_a_pattern_with_a_python_warning_is_read_without_it() -> None:
    """Found by fuzzing: Python reserves sets within sets for the future."""
    re.purge()
    tokenizer = WordTokenizer.build(LAMP, VocabularyOptions(word_pattern=r"[[a-z]+|\s|."))
    re.purge()
    assert load_tokenizer(dump_tokenizer(tokenizer)).pattern == tokenizer.pattern


@pytest.mark.parametrize("kind", SMUGGLED)
def test_c10_additions_to_a_tokenizer_are_refused(trained, model, kind) -> None:
    """Padding to 2·10⁹ tokens would end the process; only what charnn writes is accepted."""
    both_ways(trained, model, SMUGGLED[kind])


@pytest.mark.parametrize("kind", ["ids-gap", "ids-repeated", "ids-far", "ids-negative"])
def test_c11_ids_must_be_0_to_v_without_gaps(trained, model, kind) -> None:
    """Gaps, duplicates and ids beyond 2³¹ are refused."""
    both_ways(trained, model, CRAFTED[kind])


def test_c11_out_of_range_ids_are_detected_before_the_first_step(trained) -> None:
    """In a train.bin with a matching hash: 65 with the id."""
    folder = trained.folder / "data/lamp"
    ids = np.fromfile(folder / "train.bin", np.uint8)
    ids[100] = 250
    reseal_dataset(folder, "train.bin", ids.tobytes())

    trained.refused("train", "--steps", "1", code=65, said="id 250 is not in the vocabulary")


@pytest.mark.parametrize("value", [None, "1", [1], 1.5, -1, True], ids=str)
@pytest.mark.parametrize("count", ["tokens", "chars", "bytes", "unknown"])
def test_c11_counts_of_a_dataset_must_be_numbers(trained, count, value) -> None:
    """Found by fuzzing: a list instead of a count broke the error message."""
    path = trained.folder / "data/lamp/meta.json"
    meta = json.loads(path.read_text())
    meta["splits"]["train"][count] = value
    path.write_text(json.dumps(meta))

    for command in (("train", "--steps", "1"), ("info", "lamp")):
        trained.refused(*command, code=65)


@pytest.mark.parametrize("kind", PRE_TOKENIZERS)
def test_c12_only_known_pre_tokenizers_are_accepted(trained, model, kind) -> None:
    """A pattern with catastrophic backtracking is refused."""
    both_ways(trained, model, put("pre_tokenizer", value=PRE_TOKENIZERS[kind]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30], ids=str)
def test_c13_a_model_with_weights_that_are_not_finite_is_refused(trained, model, value) -> None:
    """65 from sample, eval and train --init-from, as a diverged model."""
    _, body = parts(model)
    weights = np.frombuffer(body, np.float32).copy()
    weights[5] = value
    change(model, body=weights.tobytes())

    refused(trained, said="diverged")
    trained.refused("eval", MODEL, code=65, said="diverged")
    trained.refused("train", "--init-from", MODEL, "--steps", "1", code=65, said="diverged")


def test_c14_a_decompression_bomb_is_unpacked_up_to_a_limit(trained, monkeypatch) -> None:
    """Counted while reading; names inside an archive are never used as paths."""
    monkeypatch.setattr(sources, "MAX_UNPACKED", 1_000_000)
    monkeypatch.setattr(corpora, "MAX_MEMBER", 1_000_000)
    trained.write("bomb.gz", gzip.compress(b"\0" * 50_000_000))
    trained.refused("prepare", "bomb.gz", code=65, said="unpacks to more than")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("../../outside", "x")
        zipped.writestr("bomb", b"\0" * 50_000_000)
    item = corpora.Download(urls=["https://x/y.zip"], members={"train": "bomb"})

    with pytest.raises(DataError, match="more than"):
        corpora._texts(archive.getvalue(), item)
    item = corpora.Download(urls=["https://x/y.zip"], members={"train": "../../outside"})
    assert corpora._texts(archive.getvalue(), item) == {"train": b"x"}
    assert not (trained.folder.parent / "outside").exists()


def test_c15_a_wrong_download_is_74(monkeypatch) -> None:
    """Wrong, truncated, missing, plain HTTP, redirected to a local file: no bytes are returned."""
    monkeypatch.setenv("no_proxy", "*")
    right = atomic.sha256(b"text")
    with loopback() as web:
        for url in (
            web.serve("/wrong", b"tex!"),
            web.serve("/short", b"te", announced=4),
            web.redirect("/local", "file:///etc/passwd"),
            web.redirect("/plain", "http://example.invalid/"),
            web.address + "/none",
            "file:///etc/passwd",
            "http://example.invalid/",
        ):
            with pytest.raises(StorageError):
                download([url], 4, right, lambda _: None)


def test_c16_names_in_a_manifest_are_not_used_as_paths(trained) -> None:
    """The file names are fixed: a split called ../../x is not read."""
    meta_path = trained.folder / "data/lamp/meta.json"
    meta = json.loads(meta_path.read_text())
    meta["splits"]["../../outside"] = meta["splits"]["train"]
    meta_path.write_text(json.dumps(meta))
    manifest = trained.folder / RUN / "checkpoints/step-00000006/manifest.json"
    named = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**named, "../../outside": {"bytes": 1, "sha256": ""}}))

    assert load_newest(trained.folder / RUN)[0].header.counters.step == 6
    trained.run("train", "--steps", "1", "-q")
    for name in ("../x", "/x", ".", "..", ".x", "a/b", "a\x1b"):
        trained.refused("train", "--name", name, "--steps", "1", code=2, said="--name")
        trained.refused("prepare", "lamp.txt", "--name", name, code=2, said="--name")


@pytest.mark.parametrize(("mask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_c17_modes_follow_the_umask_and_links_are_not_followed(
    trained, model, mask, file, folder
) -> None:
    """For datasets, models and checkpoints; a symbolic link is replaced, not followed."""
    victim = trained.write("victim", "precious")
    model.unlink()
    model.symlink_to(victim)
    before = os.umask(mask)
    try:
        trained.run("train", "--resume", "lamp-lstm-001", "--steps", "8", "-q")
        trained.run("prepare", "lamp.txt", "--name", "new", "-q")
    finally:
        os.umask(before)
    made = [model, trained.folder / "data/new", trained.folder / RUN / "checkpoints/step-00000008"]
    made += [*made[1].iterdir(), *made[2].iterdir()]

    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == (folder if path.is_dir() else file), path
    assert victim.read_text() == "precious"
    assert not model.is_symlink()


def test_c18_tied_weights_are_saved_once_and_stay_tied(tmp_path) -> None:
    """The file has one matrix, and the network that reads it gives the same logits."""
    tokenizer = CharTokenizer.build("hello there\n")
    config = ModelConfig(
        hidden_size=6, embedding_dim=6, tie_weights=True, vocab_size=tokenizer.vocab_size
    )
    one, other = LanguageModel(config).eval(), LanguageModel(config).eval()
    tensors = {name: tensor.detach().numpy() for name, tensor in one.named_tensors().items()}
    write_model(tmp_path / "m", ModelFile(config, tokenizer, 0, tensors))
    read = read_model(tmp_path / "m").tensors
    other.load_tensors({name: torch.tensor(array) for name, array in read.items()})
    ids = torch.arange(5)[None]

    assert "output.weight" not in read
    assert torch.equal(one(ids, one.initial_state(1))[0], other(ids, other.initial_state(1))[0])
    with torch.no_grad():
        other.embedding.weight.add_(1)
    assert not torch.equal(one(ids, one.initial_state(1))[0], other(ids, other.initial_state(1))[0])
