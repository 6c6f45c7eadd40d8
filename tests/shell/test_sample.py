"""`charnn sample` at the shell: what is kept, what may be generated, what is printed."""

import json
import re
import subprocess

import pytest

from tests.shell.conftest import QUICK, Shell

NAMES = "anna\nbob\ncarla\ndora\nemma\nfinn\ngus\nhanna\n"


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> Shell:
    """A folder with a dataset of records and a model of them."""
    shell = Shell(tmp_path_factory.mktemp("names"))
    shell.write("names.txt", NAMES * 20)
    shell.run("prepare", "names.txt", "--lines", "-q")
    shell.run("train", *QUICK, "--steps", "80", "-q")
    return shell


def test_unique_new_samples_are_kept_until_there_are_enough(names) -> None:
    """None is a line of the training text, none repeats; the note counts what was dropped."""
    done = names.run("sample", "--samples", "8", "--unique", "--new", "--seed", "1")
    kept = done.stdout.splitlines()

    assert len(kept) == len(set(kept)) == 8
    assert not set(kept) & set(NAMES.split())
    assert re.search(
        r"kept 8 of 8 samples after \d+ attempts; dropped: .*\d+ in the training text",
        done.stderr,
    )


def test_progress_is_shown_if_only_stderr_is_a_terminal(names, terminal) -> None:
    """It is the count of the samples so far."""
    screens = []
    for both in (False, True):
        screen = terminal(100)
        subprocess.run(
            names.command("sample", "--samples", "5", "--unique", "--seed", "1"),
            cwd=names.folder,
            env=names.environment(TERM="xterm"),
            stdin=subprocess.DEVNULL,
            stdout=screen.stream if both else subprocess.DEVNULL,
            stderr=screen.stream,
            check=True,
            timeout=60,
        )
        screens.append(screen.close())

    assert "kept 0 of 5 samples after 0 attempts" in screens[0]
    assert "kept 0 of 5 samples" not in screens[1]


def test_novel_counts_the_samples_that_are_kept(names) -> None:
    """As many are printed as were asked for."""
    done = names.run("sample", "--samples", "5", "--novel", "3", "--seed", "1")

    assert len(done.stdout.splitlines()) == 5
    assert "copied 3 characters or more" in done.stderr


def test_the_number_of_attempts_is_limited(names) -> None:
    """There are not thirty different samples of one token: a warning, also with --quiet."""
    done = names.run("sample", "--samples", "30", "--unique", "-n", "1", "--jsonl", "-q")
    kept = len(done.stdout.splitlines())

    assert 0 < kept < 30
    assert done.stderr == (
        f"charnn: warning: kept {kept} of 30 samples after 3,000 attempts; "
        f"dropped: {3000 - kept:,} repeated\n"
    )


def test_allow_includes_the_end_of_a_record(names) -> None:
    """Samples are names, not texts of the longest length."""
    done = names.run("sample", "--samples", "3", "--allow", "abn", "--json", "--seed", "1")
    samples = json.loads(done.stdout)["samples"]

    assert {sample["finish"] for sample in samples} == {"stop"}
    assert set("".join(sample["text"] for sample in samples)) <= set("abn\n")


def test_records_cut_by_the_pattern_are_told_apart(names) -> None:
    """Three letters are the whole of some names and the beginning of others."""
    options = ("--samples", "40", "--match", "[a-z]{1,3}", "--jsonl", "--seed", "1", "-q")
    rows = [json.loads(line) for line in names.run("sample", *options).stdout.splitlines()]

    assert {row["finish"] for row in rows} == {"match", "cut"}


def test_a_prompt_in_place_of_the_model_is_pointed_out(names) -> None:
    """The hint names the option for it."""
    refused = names.run("sample", "Once upon a time", code=2).stderr

    assert "no model 'Once upon a time'" in refused
    assert "(for a prompt use -p)" in refused


def test_match_concerns_prompt_and_continuation(trained) -> None:
    """Without --echo, the continuation alone."""
    options = ("-p", "The la", "--seed", "1", "-q")
    echoed = trained.run("sample", *options, "--match", "The [a-z]{4} [a-z]+").stdout
    hidden = trained.run("sample", *options, "--no-echo", "--match", "[a-z]{3}").stdout
    impossible = trained.run("sample", *options, "--match", "A.*", code=2).stderr

    assert re.fullmatch(r"The la[a-z]{2} [a-z]+\n", echoed)
    assert re.fullmatch(r"[a-z]{3}\n", hidden)
    assert "after the prompt" in impossible


def test_skipped_symbols_are_counted_and_not_printed(trained) -> None:
    """The prompt is printed as the model reads it."""
    done = trained.run("sample", "-p", "ü€The", "--unk", "skip", "-n", "0", "--seed", "1")

    assert done.stdout == "The\n"
    assert "2 out-of-vocabulary symbols of the prompt skipped" in done.stderr


def test_json_and_jsonl_exclude_each_other(trained) -> None:
    """Exit code 2."""
    assert "cannot be combined" in trained.run("sample", "--json", "--jsonl", code=2).stderr


@pytest.mark.parametrize("option", ["--unique", "--new", "--novel=5"])
@pytest.mark.parametrize("other", [["-n", "-1"], ["--save-state", "x"]], ids=str)
def test_selection_needs_samples_that_end(trained, option, other) -> None:
    """Exit code 2, before anything is generated."""
    assert trained.run("sample", option, *other, code=2).stdout == ""
