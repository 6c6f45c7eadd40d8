"""Expressions as trees: what is read, and what is refused."""

import re

import pytest

from charnn.errors import UsageError
from charnn.generation.regex_parser import Chain, Characters, Choice, Repeat, parse

ASCII = ["".join(map(chr, range(128)))]


def one(*characters):
    return Characters(tuple((ord(first), ord(last)) for first, last in characters))


A, B = one("aa"), one("bb")


@pytest.mark.parametrize(
    ("pattern", "tree"),
    [
        ("", Chain(())),
        ("a", A),
        ("ab", Chain((A, B))),
        ("a|b", Choice((A, B))),
        ("a|", Choice((A, Chain(())))),
        ("(a)(?:b)(?P<name>a)", Chain((A, B, A))),
        ("a*", Repeat(A, 0, None)),
        ("a+?", Repeat(A, 1, None)),
        ("a?", Repeat(A, 0, 1)),
        ("a{2}", Repeat(A, 2, 2)),
        ("a{2,}", Repeat(A, 2, None)),
        ("a{,3}", Repeat(A, 0, 3)),
        ("a{2,3}?", Repeat(A, 2, 3)),
        ("(ab)*", Repeat(Chain((A, B)), 0, None)),
        ("^ab$", Chain((A, B))),
        (r"a\$", Chain((A, one("$$")))),
        ("a{", Chain((A, one("{{")))),
        ("[a-b]", one("ab")),
        ("[]a]", one("]]", "aa")),
        (r"[^\]-~]", one("\0\\", "\x7f\x7f")),
        (r"\x61\u0062", Chain((A, B))),
        (r"\d", one("09")),
        ("(?i)a", one("AA", "aa")),
        (".", one("\0\t", "\v\x7f")),
        ("(?s).", one("\0\x7f")),
    ],
)
def test_patterns_are_read_as_trees(pattern, tree) -> None:
    """One example for each rule of the syntax."""
    assert parse(pattern, ASCII) == tree


@pytest.mark.parametrize(
    "atom", [r"\w", r"\W", r"\d", r"\s", r"\S", ".", r"[\w-]", r"(?i)[k-s]", r"[^a-zé\n]"]
)
def test_classes_are_those_of_re(atom) -> None:
    """What a class stands for is what Python's re says, character by character."""
    alphabet = ["\t\n", " !", "0123", "ABC", "K", "abc", "ß", "é", "ſ", "٣", "中丮", "\u2028\u2029"]
    tree = parse(atom, alphabet)
    found = {
        character
        for character in "".join(alphabet)
        for low, high in tree.ranges
        if low <= ord(character) <= high
    }

    assert found == {char for char in "".join(alphabet) if re.fullmatch(atom, char)}


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        (r"(a)\1", "position 3"),
        ("(?=a)b", "special group"),
        ("(?<!a)b", "special group"),
        ("(?>a)b", "special group"),
        ("(?i:a)b", "special group"),
        (r"\ba", "reference or an anchor"),
        (r"a\Z", "reference or an anchor"),
        ("a^b", "anchor inside"),
        ("(a$)b", "anchor inside"),
        ("a*+", "possessive"),
        ("(a", "missing )"),
        ("[b-a]", "bad character range"),
        ("a{2,1}", "min repeat greater than max repeat"),
        ("(" * 3000 + ")" * 3000, "too deeply"),
        ("a{99999999999999999999}", "too large"),
    ],
    ids=lambda text: text[:12],
)
def test_what_cannot_be_followed_is_refused(pattern, part) -> None:
    """A malformed pattern, and one that is not regular, is a usage error that says why."""
    with pytest.raises(UsageError) as refusal:
        parse(pattern, ASCII)

    assert part in refusal.value.message
