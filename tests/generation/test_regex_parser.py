"""Regular expressions parsed to trees, and unsupported syntax."""

import re

import pytest

from charnn.errors import UsageError
from charnn.generation.regex_parser import Chain, Characters, Choice, Repeat, parse

ASCII = ["".join(map(chr, range(128)))]


def characters(*ranges):
    return Characters(tuple((ord(first), ord(last)) for first, last in ranges))


A, B = characters("aa"), characters("bb")


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
        (r"a\$", Chain((A, characters("$$")))),
        ("a{", Chain((A, characters("{{")))),
        ("[a-b]", characters("ab")),
        ("[]a]", characters("]]", "aa")),
        (r"[^\]-~]", characters("\0\\", "\x7f\x7f")),
        (r"\x61\u0062", Chain((A, B))),
        (r"\d", characters("09")),
        ("(?i)a", characters("AA", "aa")),
        (".", characters("\0\t", "\v\x7f")),
        ("(?s).", characters("\0\x7f")),
    ],
)
def test_patterns_are_parsed_to_trees(pattern, tree) -> None:
    """There is an example for each rule of the syntax."""
    assert parse(pattern, ASCII) == tree


@pytest.mark.parametrize(
    "atom", [r"\w", r"\W", r"\d", r"\s", r"\S", ".", r"[\w-]", r"(?i)[k-s]", r"[^a-zé\n]"]
)
def test_character_classes_agree_with_re(atom) -> None:
    """A class contains exactly the characters that Python's `re` matches."""
    alphabet = ["\t\n", " !", "0123", "ABC", "K", "abc", "ß", "é", "ſ", "٣", "中丮", "\u2028\u2029"]
    tree = parse(atom, alphabet)
    matched = {
        character
        for character in "".join(alphabet)
        for low, high in tree.ranges
        if low <= ord(character) <= high
    }

    assert matched == {char for char in "".join(alphabet) if re.fullmatch(atom, char)}


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
def test_unsupported_pattern_is_a_usage_error(pattern, part) -> None:
    """The message gives the reason for malformed and for non-regular patterns."""
    with pytest.raises(UsageError) as caught:
        parse(pattern, ASCII)

    assert part in caught.value.message
