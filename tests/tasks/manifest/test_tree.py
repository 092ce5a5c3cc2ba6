"""Both formats become the same tree, with lines, within limits."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.manifest.json_tree import parse_json
from tasks.manifest.tree import MAX_NODES, TreeError, lines, plain
from tasks.manifest.yaml_tree import parse_yaml

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(10**39), 10**39) | st.floats(allow_nan=False, allow_infinity=False)
keys = st.text("abc-_", min_size=1, max_size=3)
scalars = st.none() | st.booleans() | numbers | words


@settings(max_examples=60)
@given(st.lists(st.dictionaries(keys, scalars | st.lists(numbers, max_size=3)), max_size=4))
def test_json_is_read_as_the_standard_library_reads_it(value):
    assert plain(parse_json(json.dumps(value, indent=1)).root) == value


def test_json_with_escapes_and_pairs():
    assert plain(parse_json('["\\u00e9\\n", "\\ud83d\\ude00", 1e3, -0.5]').root) == ["é\n", "😀", 1000.0, -0.5]


def test_yaml_words_mean_what_they_look_like():
    text = "[yes, No, on, 1:30, 2027-01-01, 0o7, 1_000, '12', 'true']"
    assert plain(parse_yaml(text).root) == ["yes", "No", "on", "1:30", "2027-01-01", "0o7", "1_000", "12", "true"]
    text = "[true, True, FALSE, null, ~, 12, -0.5, 1e3, .5]"
    assert plain(parse_yaml(text).root) == [True, True, False, None, None, 12, -0.5, 1e3, 0.5]


def test_lines_are_those_of_the_keys():
    tree = parse_yaml("a: 1\n\nb:\n  # word\n  - c: 2\n    d: 3\n  - 4\n")
    assert dict(lines(tree.root)) == {
        (): 1, ("a",): 1, ("b",): 3, ("b", 0): 5, ("b", 0, "c"): 5, ("b", 0, "d"): 6, ("b", 1): 7,
    }  # fmt: skip
    tree = parse_json('{"a": 1,\n\n"b": [\n{"c": 2},\n4]}')
    assert dict(lines(tree.root)) == {
        (): 1, ("a",): 1, ("b",): 3, ("b", 0): 4, ("b", 0, "c"): 4, ("b", 1): 5,
    }  # fmt: skip


def test_merge_keys_give_way_to_written_ones():
    text = "base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\nboth:\n  <<: [*b, *o]\n  x: 9\n"
    assert plain(parse_yaml(text).root)["both"] == {"x": 9, "y": 2, "z": 4}


def test_the_first_of_two_keys_counts_and_the_second_is_told():
    for tree in (parse_yaml("a: 1\nb:\n  c: 1\n  c: 2\n"), parse_json('{"a": 1,\n"b": {\n"c": 1,\n"c": 2}}')):
        assert plain(tree.root)["b"] == {"c": 1}
        assert tree.duplicates == [(4, ("b",), "c")]


def test_many_aliases_are_fine_until_they_are_too_many():
    shot = "s: &s [1, 2, 3]\nall: [" + ", ".join(["*s"] * 1000) + "]\n"
    assert len(plain(parse_yaml(shot).root)["all"]) == 1000
    with pytest.raises(TreeError, match=str(MAX_NODES)):
        parse_yaml("s: &s [1, 2, 3]\nall: [" + ", ".join(["*s"] * 60_000) + "]\n")


def test_a_chain_of_aliases_cannot_hide_its_depth():
    chain = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 3000))
    with pytest.raises(TreeError, match="nested") as refused:
        parse_yaml(chain)
    assert refused.value.rule == "too-deep"


@pytest.mark.parametrize("parse", [parse_yaml, parse_json])
@pytest.mark.parametrize("text", ["[" * 500_000, "[[" * 20 + "]", '{"a":' * 100_000, "[" * 10 + "]" * 11])
def test_brackets_without_end_are_refused_at_once(parse, text):
    with pytest.raises(TreeError):
        parse(text)


NOT_JSON = """{"a" 1}|{"a": 1,}|[1 2]|{'a': 1}|{"a": 01}|{"a": +1}|{"a": "\n"}|{"a": "\\ud800"}|{} {}|nul"""


@pytest.mark.parametrize("text", NOT_JSON.split("|"))
def test_what_is_not_json_is_refused(text):
    with pytest.raises(TreeError) as refused:
        parse_json(text)
    assert refused.value.rule == "bad-json"


@given(st.text(max_size=200))
def test_no_text_breaks_the_readers(text):
    for parse in (parse_yaml, parse_json):
        try:
            plain(parse(text).root)
        except TreeError as refused:
            assert refused.line >= 1
            assert str(refused)
