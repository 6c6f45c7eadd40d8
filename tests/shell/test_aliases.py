"""Hidden aliases: the names that options have in other tools."""

import json

import yaml


def test_aliases_of_other_tools_set_the_same_options(trained) -> None:
    """They are not in the help."""
    aliases = {"--rnn-size": "24", "--layers": "2", "--seq-len": "16", "--clip": "0.5"}
    given = [word for pair in aliases.items() for word in pair]
    settings = yaml.safe_load(trained.run("train", "--print-config", "-q", *given).stdout)
    sample = ("sample", "--jsonl", "-q", "--seed", "1", "--temp", "0")
    shown = "".join(trained.run(command, "--help").stdout for command in ("train", "sample"))

    names = ("hidden_size", "num_layers", "bptt", "grad_clip")
    assert [settings[name] for name in names] == [24, 2, 16, 0.5]
    short = json.loads(trained.run(*sample, "--length", "7").stdout)
    assert short["tokens"] == 7
    penalized = trained.run(*sample, "--repeat-penalty", "1.5", "--length=7").stdout
    assert penalized == trained.run(*sample, "--repetition-penalty", "1.5", "-n", "7").stdout
    assert not [alias for alias in (*aliases, "--length", "--repeat-penalty") if alias in shown]


def test_a_value_may_look_like_an_alias(trained) -> None:
    """Only names of options are replaced."""
    prompt = trained.run("sample", "-n0", "-q", "--unk", "skip", "--json", "-p", "--length").stdout

    assert json.loads(prompt)["text"] == "--length"
