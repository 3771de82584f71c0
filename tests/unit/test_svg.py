"""The report's chart: what is labelled, gaps, marks, and values that are hard to draw."""

from xml.etree import ElementTree

import pytest

from tollama.cli import svg


def months(count):
    return [f"{1950 + i // 12}-{i % 12 + 1:02}-01" for i in range(count)]


@pytest.mark.parametrize(
    ("names", "room", "found"),
    [
        (months(100), 5, [(12, "1951"), (36, "1953"), (60, "1955"), (84, "1957")]),
        ([f"2024-01-{d:02}" for d in range(1, 9)], 7, [(1, "2024-01-02"), (3, "2024-01-04")]),
        ([f"2024-01-01T{t:02}:00:00" for t in range(5)], 7, [(1, "2024-01-01 01:00")]),
        ([str(n) for n in range(1, 31)], 3, [(9, "10"), (19, "20"), (29, "30")]),
        (["2024-01-01", "", "", "2025-01-01"], 7, [(3, "2025-01-01")]),
        (["1"], 7, [(0, "1")]),
        ([], 7, []),
    ],
)
def test_labels_stand_where_a_year_a_day_or_a_round_step_begins(names, room, found):
    assert svg.labels(names, room)[: len(found)] == found
    assert len(svg.labels(names, room)) <= room + 1


def paths(text):
    root = ElementTree.fromstring(text)
    return {
        kind: [one for one in root.iter() if one.get("class") == kind]
        for kind in ("past", "mean", "band", "mark", "grid")
    }


def test_gaps_break_the_line_and_marks_are_dots():
    history = [1.0, 2.0, None, 4.0, 5.0]
    band = [([3.0, 2.0], [9.0, 10.0])]
    found = paths(svg.chart(history, [6.0, 7.0], band, months(7), "a <b>", marks=[1, 2, 4]))
    assert found["past"][0].get("d").count("M") == 2
    assert found["mean"][0].get("d").count("M") == 1
    assert len(found["band"]) == 1
    assert len(found["mark"]) == 2  # a missing value has no place


@pytest.mark.parametrize(
    "history", [[], [None, None], [0.0], [7.0] * 5, [1e300, -1e300], [1e-300, 0.0], [-5.0, -5.0]]
)
def test_any_history_is_drawn(history):
    text = svg.chart(history, [1.0], [], months(len(history) + 1), "a", size=svg.SMALL)
    assert "nan" not in text and "inf" not in text
    assert paths(text)["grid"]
