"""Hidden aliases: names of options in other tools."""

import json

import yaml


def test_aliases_set_the_same_options_and_are_not_in_the_help(trained) -> None:
    """Names from char-rnn, torch-rnn and llama.cpp are accepted."""
    aliases = {"--rnn-size": "24", "--layers": "2", "--seq-len": "16", "--clip": "0.5"}
    given = [word for pair in aliases.items() for word in pair]
    settings = yaml.safe_load(trained.run("train", "--print-config", "-q", *given).stdout)
    sample = ("sample", "--jsonl", "-q", "--seed", "1", "--temp", "0")
    help_texts = "".join(trained.run(command, "--help").stdout for command in ("train", "sample"))

    names = ("hidden_size", "num_layers", "bptt", "grad_clip")
    assert [settings[name] for name in names] == [24, 2, 16, 0.5]
    short = json.loads(trained.run(*sample, "--length", "7").stdout)
    assert short["tokens"] == 7
    penalized = trained.run(*sample, "--repeat-penalty", "1.5", "--length=7").stdout
    assert penalized == trained.run(*sample, "--repetition-penalty", "1.5", "-n", "7").stdout
    assert not [
        alias for alias in (*aliases, "--length", "--repeat-penalty") if alias in help_texts
    ]


def test_value_that_looks_like_an_alias_is_unchanged(trained) -> None:
    """Only option names are replaced."""
    prompt = trained.run(
        "sample", "-n0", "-q", "--unk", "replace", "--json", "-p", "--length"
    ).stdout

    assert json.loads(prompt)["text"] == "--length"
