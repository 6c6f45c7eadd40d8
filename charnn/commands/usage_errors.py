"""Word the mistakes on a command line that Typer reports, and name the command of the help."""

import re
from collections.abc import Sequence

import typer
from pydantic import ValidationError

from charnn.config import did_you_mean, problem, shown_value
from charnn.errors import UsageError

# Messages of Typer, and the words for each; a test has an example of all of them.
WORDS = (
    (r"No such option: (\S+)", "no option {}"),
    (r"No such command '(.*?)'", "no command {}"),
    (r"Option '(.*)' requires an argument", "{} needs a value"),
    (r"Option '(.*)' does not take a value", "{} takes no value"),
    (r"Got unexpected extra argument\(s\) \((.*)\)", "unexpected argument {}"),
)
CHOICES = re.compile(r"'.*' is not one of (.*?)\.?$")


def worded(error: typer.TyperException, command: str, commands: Sequence[str]) -> UsageError:
    """Return an error of Typer in our words. `command` is the one whose help is named."""
    context = getattr(error, "ctx", None)
    help_ = f"{context.command_path if context else command} --help"
    if isinstance(error, typer.BadParameter) and isinstance(error.__cause__, ValidationError):
        return _bad_value(error, error.__cause__, help_)
    text = error.format_message()
    for pattern, words in WORDS:
        if match := re.match(pattern, text):
            known = getattr(error, "possibilities", None) or ()
            hint = did_you_mean(match[1], known if "option" in words else commands)
            return UsageError(words.format(match[1]), hint or help_)
    return UsageError(text[:1].lower() + text[1:].rstrip("."), help_)


def _bad_value(error: typer.BadParameter, cause: ValidationError, help_: str) -> UsageError:
    """Return the error for a value that its option does not take."""
    first = cause.errors(include_url=False)[0]
    what, hint = problem(first), help_
    if choices := CHOICES.match(what):
        names = re.findall(r"'(.*?)'", choices[1])
        what = f"must be {', '.join(names[:-1])} or {names[-1]}"
        hint = did_you_mean(str(first["input"]), names) or help_
    option = getattr(error.param, "opts", None) or ["the value"]
    return UsageError(f"{option[0]} is {shown_value(first['input'])}: {what}", hint)
