"""Rows B of the table of faults: invalid settings are refused, with their position."""

import json
import shlex
import time
import tracemalloc

import pytest
import yaml

from charnn.config import TrainConfig
from charnn.data.dataset import open_dataset
from charnn.errors import UsageError
from charnn.storage.settings_file import dump_settings, read_settings
from tests.shell.conftest import LAMP

QUICKLY = 5.0  # seconds; expansion attacks take minutes, and the machine may be busy


@pytest.fixture
def refuses(tmp_path):
    """Return a function that checks that settings are refused quickly, with these words."""

    def check(text, *said):
        path = tmp_path / "bad.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        tracemalloc.start()
        begin = time.monotonic()
        with pytest.raises(UsageError) as caught:
            read_settings(path, TrainConfig)
        seconds, (_, peak) = time.monotonic() - begin, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        message = f"{caught.value.message}\n{caught.value.hint}"
        assert caught.value.exit_code == 2
        assert "bad.yaml" in message
        for words in said:
            assert words in message, message
        assert seconds < QUICKLY
        assert peak < 100_000_000

    return check


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("2e-5", 2e-5), ("1E-3", 1e-3), (".5", 0.5), ("1.", 1.0), ("3", 3.0)],
)
def test_b1_numbers_are_parsed_in_common_notations(tmp_path, text, value) -> None:
    """A quoted number is a string, and refused where a number is expected."""
    path = tmp_path / "good.yaml"
    path.write_text(f"lr: {text}\n")
    found = read_settings(path, TrainConfig)["lr"]
    assert found == value
    assert isinstance(found, int | float)
    path.write_text(f"lr: '{text}'\n")
    with pytest.raises(UsageError, match="lr"):
        read_settings(path, TrainConfig)


@pytest.mark.parametrize("text", ["017", "0x10", "1_000", "12:30:45", "0b1", "0o7"])
def test_b1_special_yaml_numbers_are_refused(tmp_path, text) -> None:
    """No octal or sexagesimal numbers: 017 is seventeen, the others are refused."""
    path = tmp_path / "odd.yaml"
    path.write_text(f"hidden_size: {text}\n")
    if text == "017":
        assert read_settings(path, TrainConfig) == {"hidden_size": 17}
        return
    with pytest.raises(UsageError, match="hidden_size"):
        read_settings(path, TrainConfig)


def test_b2_an_unknown_key_is_refused_with_a_suggestion(refuses) -> None:
    """Sections are refused too; no setting has them."""
    refuses("dropuot: 0.1\n", "line 1", "dropuot", "did you mean dropout?")
    refuses("lr: 0.1\nmodel:\n  cell: lstm\n", "line 3", "model")
    refuses("lr:\n  peak: 0.1\n", "lr", "single value")


def test_b3_a_file_that_is_not_one_mapping_is_refused_with_the_line(refuses) -> None:
    """Duplicate keys, two documents, lists, scalars, empty files, tabs, other encodings."""
    refuses("lr: 1.0\ncell: gru\nlr: 2.0\n", "line 3", "twice")
    refuses("lr: 1.0\n---\nlr: 2.0\n", "line 2", "second document")
    refuses("- lr\n- cell\n", "line 1")
    refuses("just words\n", "line 1")
    refuses("", "line 1")
    refuses("# nothing\n", "line 1")
    refuses("lr: 1.0\n\tcell: gru\n", "line 2")
    refuses("lr: 0.1\ncell: gr\xfc\n".encode("latin-1"), "line 2", "UTF-8")
    refuses("lr: 1.0\n".encode("utf-16"), "line 1")
    refuses("lr: [1.0\n", "line")
    refuses("lr: 1.0: 2\n", "line 1")
    refuses("? [a, b]\n: 1\n", "line 1")
    refuses("lr: \0\n", "line")


def test_b3_a_byte_order_mark_is_accepted(tmp_path) -> None:
    """Some editors write one."""
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbflr: 0.1\n")

    assert read_settings(path, TrainConfig) == {"lr": 0.1}


def test_b4_nothing_is_executed_or_expanded(refuses, tmp_path, monkeypatch) -> None:
    """Tags, recursive anchors, the billion laughs attack, deep nesting, 100 MB."""
    monkeypatch.chdir(tmp_path)
    refuses("lr: !!python/object/apply:os.system ['touch marker']\n", "tag", "line 1")
    refuses("!!python/object/apply:os.system ['touch marker']\n", "tag")
    refuses("lr: !!float 1\n", "tag")
    refuses("&a lr: *a\n", "anchors")
    refuses("lr: &a [*a]\n", "anchors")
    laughs = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 10))
    refuses("l0: &l0 lol\n" + laughs, "anchors")
    refuses("lr: " + "[" * 2000, "nested")
    refuses("lr: " + "{a: " * 2000, "nested")
    refuses("a: " * 2000)
    refuses(b"lr: 1.0\n" + b"#" * 100_000_000, "larger than")

    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("key", ["lr", "hidden_size", "dropout", "steps", "seed", "minutes"])
@pytest.mark.parametrize(
    "value",
    [".nan", ".inf", "-.inf", "-1", "1e30", "9" * 60, "true", "yes", "''", "null-ish", "[]"],
)
def test_b5_values_out_of_range_are_refused_with_field_and_range(refuses, key, value) -> None:
    """NaN, infinite, negative, huge, or not a number."""
    refuses(f"cell: gru\n{key}: {value}\n", "line 2", key)


@pytest.mark.parametrize("key", ["lr", "hidden_size", "steps", "batch_size", "bptt", "num_layers"])
def test_b5_zero_is_refused_for_sizes_and_steps(refuses, key) -> None:
    """For example, a run of no steps."""
    refuses(f"{key}: 0\n", key, "is 0: must be")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--temp", "nan"), "temp"),
        (("--temp", "inf"), "temp"),
        (("--temp", "-1"), "temp"),
        (("--temp", "warm"), "temp"),
        (("--top-p", "0"), "top-p"),
        (("--top-p", "1.5"), "top-p"),
        (("--top-p", "nan"), "top-p"),
        (("--min-p", "2"), "min-p"),
        (("--top-k", "-1"), "top-k"),
        (("--top-k", "1.5"), "top-k"),
        (("--repetition-penalty", "0"), "repetition-penalty"),
        (("-n", "-5"), "max-new-tokens"),
        (("-n", "-1", "--samples", "2"), "-n -1"),
        (("--samples", "0"), "samples"),
        (("--seed", "-1"), "seed"),
        (("--stop", ""), "--stop"),
        (("--match", "["), "--match"),
        (("--match", "a{99999999999999}"), "--match"),
        (("--match", "(" * 5000), "--match"),
    ],
    ids=lambda given: " ".join(given)[:30],
)
def test_b6_sampling_settings_out_of_range(trained, arguments, said) -> None:
    """2, naming the flag."""
    trained.refused("sample", *arguments, "-q", code=2, said=said)


@pytest.mark.parametrize("temperature", ["0", "1e-300", "1e-9", "1e9", "1e300"])
def test_b6_extreme_temperatures_are_defined(trained, temperature) -> None:
    """0 and very low values are greedy; very high values make all symbols equally likely."""
    arguments = ("sample", "--temp", temperature, "-n", "40", "--seed", "1")
    text = trained.run(*arguments).stdout

    assert len(text) >= 40
    assert text == trained.run(*arguments).stdout
    if float(temperature) < 1e-6:
        assert text == trained.run("sample", "--temp", "0", "-n", "40", "--seed", "2").stdout


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("sampel",), "sample"),
        (("sample", "--tmp", "1"), "--temp"),
        (("train", "--hiden-size", "4"), "--hidden-size"),
        (("prepare", "--tokeniser", "char"), "--tokenizer"),
        (("train", "--cell", "lstn"), "lstm"),
        (("prepare", "lamp.txt", "--tokenizer", "word", "--word-pattern", "["), "character 0"),
        (("prepare", "lamp.txt", "--tokenizer", "word", "--word-pattern", "a{9999999999}"), "-pat"),
    ],
    ids=" ".join,
)
def test_b7_mistyped_arguments_are_refused_with_a_suggestion(trained, arguments, nearest) -> None:
    """2; commands, options, and names of cells."""
    trained.refused(*arguments, code=2, said=nearest)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("prepare", "lamp.txt", "--val", "v.txt", "--val-frac", "0.1"), "--val-frac"),
        (("prepare", "lamp.txt", "--test", "v.txt", "--test-frac", "0.1"), "--test-frac"),
        (("prepare", "lamp.txt", "--tokenizer-from", "x", "--tokenizer", "bpe"), "--tokenizer"),
        (("prepare", "lamp.txt", "--tokenizer-from", "x", "--vocab-size", "9"), "--vocab-size"),
        (("prepare", "lamp.txt", "--tokenizer-from", "x", "--min-count", "2"), "--min-count"),
        (("prepare", "lamp.txt", "--tokenizer-from", "x", "--word-pattern", "a"), "--word-pat"),
        (("eval", "--windows", "8", "--streams", "2"), "--streams"),
    ],
    ids=" ".join,
)
def test_b7_conflicting_flags_are_refused(trained, arguments, said) -> None:
    """2, before anything is read."""
    trained.refused(*arguments, code=2, said=said)


def test_b7_a_pattern_that_is_too_long_is_refused_by_prepare(charnn) -> None:
    """2 from prepare instead of 65 from train; the message does not repeat the whole pattern."""
    charnn.write("lamp.txt", LAMP)
    given = ("prepare", "lamp.txt", "--tokenizer", "word", "--word-pattern")
    message = charnn.refused(*given, "a" * 1001, code=2, said="--word-pattern")
    charnn.run(*given, r"\w+|" * 249 + r"\S", "-q")

    assert len(message) < 400
    assert open_dataset(charnn.folder / "data/lamp").tokenizer.kind == "word"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("sample", "--tmp", "1"), "charnn sample --help"),
        (("lab", "memory", "--tmp", "1"), "charnn lab memory --help"),
        (("sampel",), "charnn --help"),
    ],
    ids=" ".join,
)
def test_b7_a_usage_error_points_to_the_help_of_its_command(charnn, arguments, hint) -> None:
    """Not to the list of all commands."""
    assert charnn.refused(*arguments, code=2).endswith(f"hint: {hint}\n")


def test_b8_commands_in_hints_can_be_run(charnn) -> None:
    """They repeat folders that were given as flags, quoted for a shell."""
    charnn.write("lamp.txt", LAMP * 10)
    shape = ("--steps", "2", "--hidden-size", "8", "--embedding-dim", "4", "--name", "first")
    runs = ("--runs-dir", "my runs")

    def follow(done, *options):
        hint = done.stderr.splitlines()[-1]
        return charnn.run(*shlex.split(hint.removeprefix("next: charnn ")), *options)

    trained = follow(charnn.run("prepare", "lamp.txt", "--data-dir", "my data"), *shape, *runs)
    assert trained.stderr.endswith("--data-dir 'my data' --runs-dir 'my runs'\n")
    assert follow(trained, "-n", "3").stdout
    for model in ("first", "my runs/first/model.safetensors"):
        evaluated = charnn.run("eval", model, "--data-dir", "my data", *runs)
        assert "charnn sample first --data-dir" in evaluated.stderr
        assert follow(evaluated, "-n", "3").stdout
    (charnn.folder / "my runs/first/model.safetensors").rename("mailed.safetensors")
    evaluated = charnn.run("eval", "mailed.safetensors", "lamp.txt")
    assert follow(evaluated, "-n", "3").stdout


def test_b8_a_run_finds_a_dataset_given_by_path(charnn) -> None:
    """The run records the path, the model only the name."""
    charnn.write("lamp.txt", LAMP * 10)
    charnn.run("prepare", "lamp.txt", "--data-dir", "elsewhere", "-q")
    shape = ("--hidden-size", "8", "--embedding-dim", "4")
    charnn.run("train", "elsewhere/lamp", "--steps", "2", *shape, "--name", "first", "-q")
    charnn.run("train", "--resume", "first", "--steps", "3", "-q")
    told = json.loads(charnn.run("info", "first", "--json").stdout)

    assert told["training"]["data"] == "lamp"
    assert "data: elsewhere/lamp\n" in (charnn.folder / "runs/first/config.yaml").read_text()


def test_b8_flags_override_the_file_and_the_result_is_stored(trained) -> None:
    """config.yaml of the run has the values of --print-config, which --config accepts."""
    trained.write("some.yaml", "lr: 0.5\ndropout: 0.25\nhidden_size: 6\nprecision: float32\n")
    given = ("--config", "some.yaml", "--lr", "0.25", "--lr", "0.125", "--steps", "2")
    printed = yaml.safe_load(trained.run("train", *given, "--print-config").stdout)
    trained.run("train", *given, "--name", "mixed", "-q")
    stored = yaml.safe_load((trained.folder / "runs/mixed/config.yaml").read_text())

    assert (printed["lr"], printed["dropout"], printed["hidden_size"]) == (0.125, 0.25, 6)
    for key in ("lr", "dropout", "hidden_size", "steps", "cell", "seed"):
        assert stored[key] == printed[key]


def test_b8_a_saved_file_changes_nothing_on_resuming(trained) -> None:
    """Only the new number of steps is reported, not the device and the threads of the machine."""
    shape = ("--hidden-size", "8", "--embedding-dim", "4", "--precision", "float32")
    saved = trained.run(
        "train", *shape, "--steps", "7", "--save-every", "3", "--print-config"
    ).stdout
    trained.write("saved.yaml", saved.replace(b"preset: tiny", b"preset: auto"))
    done = trained.run("train", "--config", "saved.yaml", "--resume", "lamp-lstm-001")

    assert b"device: auto" in saved
    assert "\nchanged settings: steps 6 → 7\n" in done.stderr


def test_b8_settings_survive_a_round_trip(tmp_path) -> None:
    """For every field."""
    settings = TrainConfig(lr=1e-5, data="no", minutes=0.5, tie_weights=True)
    (tmp_path / "c.yaml").write_text(dump_settings(settings))

    assert TrainConfig(**read_settings(tmp_path / "c.yaml", TrainConfig)) == settings
