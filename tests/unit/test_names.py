import os

import pytest

from tollama.core import names
from tollama.core.errors import InvalidRequest


@pytest.mark.parametrize(
    ("given", "canonical", "folder"),
    [
        ("auto", "auto", "auto"),
        ("Auto", "Auto", "auto"),
        ("chronos2:latest", "chronos2", "chronos2"),
        ("a" * 128, "a" * 128, "a" * 128),
        ("x.y_z-1", "x.y_z-1", "x.y_z-1"),
        ("hf.co/amazon/chronos-2", "hf.co/amazon/chronos-2", "hf.co--amazon--chronos-2"),
    ],
)
def test_a_good_name_has_one_form_and_one_folder(given, canonical, folder):
    assert names.check(given) == canonical
    assert names.folder(given) == folder


@pytest.mark.parametrize(
    "bad",
    [
        None, 1, "", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", "a" * 129, "-a", ".a", "ä",
        "a b",
        "a:1", "a:latest:latest", "a..b", "a.", "con", "NUL", "com1.txt", "hf.co/", "hf.co/a",
        "hf.co/a/b/c", "hf.co/../b", "hf.co/a/..", "hf.co/a--b/c", "hf.co--a--b", "a\n", "a\0",
    ],
)  # fmt: skip
def test_a_bad_name_is_refused_and_never_becomes_a_path(bad):
    with pytest.raises(InvalidRequest):
        names.check(bad)
    with pytest.raises(InvalidRequest):
        names.folder(bad)


def test_a_folder_is_always_one_component():
    assert os.path.basename(names.folder("hf.co/A/b")) == "hf.co--a--b"


def test_a_revision_follows_an_at_sign():
    assert names.with_revision("chronos2@main") == ("chronos2", "main")
    assert names.with_revision("hf.co/a/b@refs/pr/1") == ("hf.co/a/b", "refs/pr/1")
    assert names.with_revision("chronos2") == ("chronos2", None)


@pytest.mark.parametrize("bad", ["a@", "a@..", "a@-x", "a@x y", "@main"])
def test_a_bad_revision_is_refused(bad):
    with pytest.raises(InvalidRequest):
        names.with_revision(bad)


def test_names_do_not_differ_by_case_alone():
    assert names.same("Auto", "auto")
    assert not names.same("auto", "auto2")
