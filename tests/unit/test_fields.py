import pytest

from tollama.core import fields
from tollama.core.errors import InvalidRequest


def problems(read, value):
    with pytest.raises(InvalidRequest) as caught:
        read(value, ("x",))
    return caught.value.problems()


@pytest.mark.parametrize(
    ("read", "good"),
    [
        (fields.string, "ü"),
        (fields.nonempty, "a"),
        (fields.boolean, False),
        (fields.integer(1, 5), 5),
        (fields.finite, 3),
        (fields.finite, -1.5),
        (fields.positive, 0.1),
        (fields.numbers_or_null, [1, None, 2.5]),
        (fields.numbers_or_null, []),
        (fields.numbers_or_null, [1e308, 1e308]),
        (fields.numbers, [1e308, 1e308, -1.0]),
        (fields.covariate, ["a", None]),
        (fields.covariate, [1, None]),
        (fields.choice("a", "b"), "b"),
        (fields.strings, ["a"]),
    ],
)
def test_a_reader_gives_the_value_unchanged(read, good):
    assert read(good, ("x",)) is good


@pytest.mark.parametrize(
    ("read", "bad", "message"),
    [
        (fields.string, 1, "expected a string, got 1"),
        (fields.string, "\ud800", "expected a string of valid Unicode, got a lone surrogate"),
        (fields.nonempty, "", "expected a non-empty string"),
        (fields.boolean, 1, "expected true or false, got 1"),
        (fields.integer(1), True, "expected an integer, got true"),
        (fields.integer(1), 1.0, "expected an integer, got 1.0"),
        (fields.integer(1), 0, "expected an integer >= 1, got 0"),
        (fields.integer(1, 3), 4, "expected an integer <= 3, got 4"),
        (fields.finite, True, "expected a finite number, got true"),
        (fields.finite, float("nan"), "expected a finite number, got nan"),
        (fields.finite, 10**400, "expected a finite number, got an integer of over 77 digits"),
        (fields.positive, 0, "expected a number > 0, got 0"),
        (fields.numbers_or_null, {}, "expected a list, got an object"),
        (fields.choice("a", "b"), "c", "expected one of 'a', 'b', got 'c'"),
    ],
)
def test_a_reader_says_what_it_expected_and_found(read, bad, message):
    assert problems(read, bad) == [(("x",), message)]


@pytest.mark.parametrize("bad", ["a", True, float("inf"), float("nan"), 10**400, [1], {}])
def test_numbers_name_the_index_of_each_bad_item(bad):
    found = problems(fields.numbers_or_null, [1, None, bad, 2.5, bad])
    assert [loc for loc, _ in found] == [("x", 2), ("x", 4)]
    assert all("expected a finite number or null" in text for _, text in found)


def test_a_null_among_numbers_is_refused_where_none_is_allowed():
    assert problems(fields.numbers, [1, None]) == [(("x", 1), "expected a finite number, got null")]


def test_a_covariate_is_all_strings_or_all_numbers():
    assert problems(fields.covariate, ["a", 1])[0][0] == ("x", 1)


def test_only_the_first_bad_items_are_listed():
    found = problems(fields.numbers, ["a"] * 1000)
    assert len(found) == 21
    assert "first 20" in found[-1][1]


def test_fields_collect_every_problem_of_an_object():
    with pytest.raises(InvalidRequest) as caught, fields.Fields({"a": 1, "quantile": []}) as f:
        f.take("model", fields.string)
        f.take("a", fields.boolean)
        f.take("quantiles", fields.list_of(fields.finite), [])
    assert [loc for loc, _ in caught.value.problems()] == [("model",), ("a",), ("quantile",)]
    assert "did you mean 'quantiles'" in caught.value.problems()[2][1]
    assert caught.value.detail[0] == {
        "loc": ["body", "model"],
        "msg": "this field is required",
        "type": "value_error",
    }


def test_null_means_absent_for_an_optional_field():
    with fields.Fields({"a": None}) as f:
        assert f.take("a", fields.string, "default") == "default"


def test_lenient_fields_ignore_what_they_do_not_know():
    with fields.Fields({"unknown": 1, "a": "x"}, lenient=True) as f:
        assert f.take("a", fields.string) == "x"


def test_something_else_than_an_object_is_refused():
    with pytest.raises(InvalidRequest, match="expected an object, got a list of 1"):
        fields.Fields([1])
