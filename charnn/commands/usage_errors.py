"""Convert errors of Typer to messages in the style of charnn, with the help command as hint."""

import re
from collections.abc import Sequence
from typing import Any

import typer
from pydantic import ValidationError

from charnn.config import did_you_mean, problem, shown_value
from charnn.errors import UsageError

NO_OPTION = "no option {}"
# Messages of Typer, and the message of charnn for each; a test has an example of all of them.
WORDS = (
    (r"No such option: (\S+)", NO_OPTION),
    (r"No such command '(.*?)'", "no command {}"),
    (r"Option '(.*)' requires an argument", "{} needs a value"),
    (r"Option '(.*)' does not take a value", "{} takes no value"),
    (r"Got unexpected extra argument\(s\) \((.*)\)", "unexpected argument {}"),
)
CHOICES = re.compile(r"'.*' is not one of (.*?)\.?$")


def worded(error: typer.TyperException, command: str, given: Sequence[str]) -> UsageError:
    """Return the UsageError for an error of Typer in the arguments `given`.

    The hint is the help of the command in the error or, without one, of `command`.
    """
    context = getattr(error, "ctx", None)
    help_ = f"{context.command_path if context else command} --help"
    if isinstance(error, typer.BadParameter) and isinstance(error.__cause__, ValidationError):
        return _bad_value(error, error.__cause__, help_)
    text = error.format_message()
    commands = getattr(context and context.command, "commands", {})
    for pattern, words in WORDS:
        if match := re.match(pattern, text):
            is_option = words == NO_OPTION
            if is_option and commands and (line := _after_command(match[1], context, given)):
                return UsageError(f"{match[1]} must come after the command", line)
            near = _nearest(match[1], getattr(error, "possibilities", None), list(commands))
            return UsageError(words.format(match[1]) + near, help_)
    return UsageError(text[:1].lower() + text[1:].rstrip("."), help_)


def _after_command(option: str, context: Any, given: Sequence[str]) -> str:
    """Return the command line with the option at its end; empty if no command has it."""
    words, command = [context.command_path], context.command
    for word in given:
        if word in getattr(command, "commands", {}):
            words.append(word)
            command = command.commands[word]
    candidates = list(getattr(command, "commands", {}).values())
    if candidates:  # no command was given
        words.append("COMMAND")
    for parameter in [one for each in candidates or [command] for one in each.params]:
        if option in (*parameter.opts, *parameter.secondary_opts):
            return " ".join([*words, option, *([] if parameter.is_flag else ["…"])])
    return ""


def _nearest(given: str, options: Sequence[str] | None, commands: Sequence[str]) -> str:
    """Return a question with the option or command that is nearest; empty if none is near."""
    if options is None:
        near = did_you_mean(given, commands)
    else:  # compared without dashes, which all have in common
        near = did_you_mean(given.lstrip("-"), [option.lstrip("-") for option in options])
        near = near.replace("mean ", "mean --")
    return f"; {near}" if near else ""


def _bad_value(error: typer.BadParameter, cause: ValidationError, help_: str) -> UsageError:
    """Return the error for a value that its option does not take."""
    first = cause.errors(include_url=False)[0]
    what = problem(first)
    if choices := CHOICES.match(what):
        names = re.findall(r"'(.*?)'", choices[1])
        what = f"must be {', '.join(names[:-1])} or {names[-1]}"
    option = getattr(error.param, "opts", None) or ["the value"]
    return UsageError(f"{option[0]} is {shown_value(first['input'])}: {what}", help_)
