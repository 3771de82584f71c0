"""models/hub.py against a hub on loopback: what a pull takes, resuming, verifying, cancelling."""

from __future__ import annotations

import os
import random
import resource
import threading
import time

import pytest
from fake_hub import FakeHub, sha256

from tollama.core import errors, protocol
from tollama.models import hub as hub_module
from tollama.models.hub import PullSpec, check_head, pull, read_file, verify

REPO = "org/tiny"
WEIGHTS = random.Random(1).randbytes(1_500_000)
FILES = {
    "config.json": b'{"architectures": ["X"]}',
    "generation_config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"a pickle",
    "modeling_x.py": b"print('no')",
    "README.md": b"# tiny",
    "onnx/model.safetensors": b"another",
}
TAKEN = ["config.json", "generation_config.json", "model.safetensors"]


@pytest.fixture
def hub():
    with FakeHub() as server:
        server.commit = server.add(REPO, FILES)
        yield server


def spec(hub, dest, **fields):
    return PullSpec(
        **{"repo_id": REPO, "endpoint": hub.url, "dest": str(dest), "tries": 3, **fields}
    )


def fetch(hub, dest, **fields):
    """Pull; the result and the events."""
    events = []
    return pull(spec(hub, dest, **fields), on_event=events.append), events


def tree(folder):
    return sorted(
        os.path.relpath(os.path.join(where, name), folder)
        for where, _, names in os.walk(folder)
        for name in names
    )


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "gave up waiting"
        time.sleep(0.01)


def test_pull_takes_only_what_a_model_needs(hub, tmp_path):
    pulled, _ = fetch(hub, tmp_path / "s")
    assert tree(tmp_path / "s") == TAKEN
    assert pulled.commit_sha == hub.commit
    assert pulled.snapshot_path == str(tmp_path / "s")
    assert [f["path"] for f in pulled.files] == TAKEN
    assert all(f["sha256"] == sha256(FILES[f["path"]]) for f in pulled.files)
    assert pulled.size_bytes == sum(len(FILES[path]) for path in TAKEN)
    assert pulled.digest.startswith("sha256:")
    assert (tmp_path / "s" / "model.safetensors").read_bytes() == WEIGHTS


def test_pull_reports_progress_that_ollama_clients_read(hub, tmp_path):
    pulled, events = fetch(hub, tmp_path / "s")
    assert [e["status"] for e in events][:: len(events) - 1] == [
        "resolving digest",
        "verifying sha256 digest",
    ]
    assert events[0]["digest"] == hub.commit
    last = [e for e in events if e["status"] == "downloading"][-1]
    assert last["completed_bytes"] == last["total_bytes"] == pulled.size_bytes
    assert last["files_completed"] == last["files_total"] == 3
    assert (last["completed"], last["total"]) == (last["completed_bytes"], last["total_bytes"])
    assert last["digest"] == "sha256:" + sha256(WEIGHTS)


def test_pull_takes_the_files_that_patterns_name(hub, tmp_path):
    fetch(hub, tmp_path / "s", patterns=("onnx/*", "README.md"))
    assert tree(tmp_path / "s") == ["README.md", "onnx/model.safetensors"]


def test_pull_refuses_a_repository_of_pickles(hub, tmp_path):
    hub.add(REPO, {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    with pytest.raises(errors.Unsupported, match=r"safetensors.*pickle"):
        fetch(hub, tmp_path / "s")


@pytest.mark.parametrize("name", ["../evil.json", "/etc/x.json", "a/../../b.json", "C:\\x.json"])
def test_pull_refuses_a_name_that_leaves_the_folder(hub, tmp_path, name):
    hub.extra_names = [name]
    with pytest.raises(errors.HubError, match="refused"):
        fetch(hub, tmp_path / "s")
    assert not list(tmp_path.iterdir())


def test_check_head_sees_a_new_commit(hub, tmp_path):
    assert check_head(spec(hub, tmp_path)) == hub.commit
    new = hub.add(REPO, {**FILES, "config.json": b'{"new": 1}'})
    assert check_head(spec(hub, tmp_path)) == new
    assert check_head(spec(hub, tmp_path, revision=hub.commit)) == hub.commit


def test_read_file_gives_the_config_before_a_pull(hub, tmp_path):
    found = read_file(spec(hub, tmp_path), "config.json")
    assert found == (hub.commit, '{"architectures": ["X"]}')
    with pytest.raises(errors.HubError, match="more than the 10 bytes"):
        read_file(spec(hub, tmp_path), "config.json", limit=10)


# -- resuming -------------------------------------------------------------------------------


def test_cut_lines_resume_where_they_broke(hub, tmp_path):
    draw = random.Random(7)
    hub.cuts = [draw.randrange(1, 60_000) for _ in range(20)]
    fetch(hub, tmp_path / "s")
    assert (tmp_path / "s" / "model.safetensors").read_bytes() == WEIGHTS
    bodies = [r for r in hub.bodies("model.safetensors") if r.sent]
    assert len(bodies) == 21
    assert sum(sum(r.sent) for r in bodies) == len(WEIGHTS)


def test_killed_child_resumes_without_fetching_twice(hub, tmp_path):
    hub.pace = (400_000, threading.Event())
    cancelled = threading.Event()
    failure = []

    def first():
        try:
            pull(spec(hub, tmp_path / "s"), on_event=lambda event: None, cancelled=cancelled)
        except errors.TollamaError as error:
            failure.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    parts = tmp_path / "s" / ".parts"
    wait_for(lambda: any(p.stat().st_size > 300_000 for p in parts.glob("*.part")))
    cancelled.set()
    thread.join(20)
    hub.pace[1].set()
    assert [type(e) for e in failure] == [errors.Cancelled]
    assert not (tmp_path / "s" / "model.safetensors").exists()
    kept = max(p.stat().st_size for p in parts.glob("*.part"))
    hub.requests.clear()
    fetch(hub, tmp_path / "s")
    assert tree(tmp_path / "s") == TAKEN
    assert (tmp_path / "s" / "model.safetensors").read_bytes() == WEIGHTS
    body = [r for r in hub.bodies("model.safetensors") if r.sent]
    assert [(r.start, sum(r.sent)) for r in body] == [(kept, len(WEIGHTS) - kept)]


def test_random_kills_end_byte_identical(hub, tmp_path):
    draw = random.Random(3)
    for attempt in range(6):
        hub.cuts = [draw.randrange(1, 200_000) for _ in range(3)]
        cancelled = threading.Event()
        timer = threading.Timer(draw.uniform(0.25, 0.6), cancelled.set)
        timer.start()
        try:
            fetch_until(hub, tmp_path / "s", cancelled)
            break
        except errors.Cancelled:
            assert attempt < 6
        finally:
            timer.cancel()
    fetch(hub, tmp_path / "s")
    assert (tmp_path / "s" / "model.safetensors").read_bytes() == WEIGHTS


def fetch_until(hub, dest, cancelled):
    pull(spec(hub, dest), on_event=lambda event: None, cancelled=cancelled)


def test_hub_that_ignores_ranges_restarts_the_file(hub, tmp_path):
    hub.ignore_range = True
    hub.cuts = [100_000, 700_000]
    fetch(hub, tmp_path / "s")
    assert (tmp_path / "s" / "model.safetensors").read_bytes() == WEIGHTS
    assert len([r for r in hub.bodies("model.safetensors") if r.sent]) == 3


def test_changed_etag_restarts_the_file(hub, tmp_path):
    hub.cuts = [500_000]
    real = hub._file

    def changing(request, record, data, path, headers=None):
        real(request, record, data, path, headers)
        if path.endswith("model.safetensors"):
            hub.etag_suffix = "-new"

    hub._file = changing
    fetch(hub, tmp_path / "s")
    bodies = [r for r in hub.bodies("model.safetensors") if r.sent]
    assert bodies[1].headers["If-Range"] == f'"{sha256(WEIGHTS)}"'
    assert sum(bodies[1].sent) == len(WEIGHTS)
    assert (tmp_path / "s" / "model.safetensors").read_bytes() == WEIGHTS


def test_part_of_another_version_is_not_continued(hub, tmp_path):
    hub.cuts = [500_000] + [0] * 3
    with pytest.raises(errors.HubError):
        fetch(hub, tmp_path / "s")
    other = random.Random(2).randbytes(len(WEIGHTS))
    hub.cuts = []
    hub.add(REPO, {**FILES, "model.safetensors": other})
    fetch(hub, tmp_path / "s")
    assert (tmp_path / "s" / "model.safetensors").read_bytes() == other
    assert tree(tmp_path / "s") == TAKEN


def test_finished_files_are_kept_and_not_fetched_again(hub, tmp_path):
    fetch(hub, tmp_path / "s")
    new = hub.add(REPO, {**FILES, "config.json": b'{"new": 1}'})
    hub.requests.clear()
    pulled, _ = fetch(hub, tmp_path / "s")
    assert pulled.commit_sha == new
    assert not hub.bodies("model.safetensors")
    assert len(hub.bodies("config.json")) == 1


def test_failed_update_leaves_the_old_snapshot_whole(hub, tmp_path):
    fetch(hub, tmp_path / "s")
    hub.add(REPO, {"config.json": b"{}", "model.safetensors": WEIGHTS[::-1]})
    hub.cuts = [1000, 0, 0, 0]
    with pytest.raises(errors.HubError):
        fetch(hub, tmp_path / "s")
    for path in TAKEN:
        assert (tmp_path / "s" / path).read_bytes() == FILES[path]
    hub.cuts = []
    fetch(hub, tmp_path / "s")
    assert tree(tmp_path / "s") == ["config.json", "model.safetensors"]


def test_two_pulls_into_one_folder_take_turns(hub, tmp_path):
    hub.pace = (100_000, threading.Event())
    events, results = [], []
    threads = [
        threading.Thread(
            target=lambda: results.append(pull(spec(hub, tmp_path / "s"), on_event=events.append))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: any("another process" in e.get("message", "") for e in events))
    hub.pace[1].set()
    for thread in threads:
        thread.join(30)
    assert len(results) == 2 and results[0] == results[1]
    assert len([r for r in hub.bodies("model.safetensors") if r.sent]) == 1


# -- verifying ------------------------------------------------------------------------------


def test_wrong_bytes_of_the_right_size_are_fetched_again_alone(hub, tmp_path):
    hub.corrupt = {"model.safetensors": 1}
    _, events = fetch(hub, tmp_path / "s")
    assert (tmp_path / "s" / "model.safetensors").read_bytes() == WEIGHTS
    assert any("again" in e.get("message", "") for e in events)
    assert len(hub.bodies("config.json")) == 1


@pytest.mark.parametrize("path", ["model.safetensors", "config.json"])
def test_wrong_bytes_twice_are_refused(hub, tmp_path, path):
    hub.corrupt = {path: 2}
    with pytest.raises(errors.CorruptDownload, match=path):
        fetch(hub, tmp_path / "s")
    assert not (tmp_path / "s" / path).exists()


def test_damaged_part_is_found_by_its_hash(hub, tmp_path):
    hub.cuts = [500_000] + [0] * 3
    with pytest.raises(errors.HubError):
        fetch(hub, tmp_path / "s")
    (part,) = (p for p in (tmp_path / "s" / ".parts").glob("*.part") if p.stat().st_size == 500_000)
    part.write_bytes(b"\0" * 500_000)
    hub.cuts = []
    fetch(hub, tmp_path / "s")
    assert (tmp_path / "s" / "model.safetensors").read_bytes() == WEIGHTS


def test_verify_names_what_is_wrong_on_disk(hub, tmp_path):
    pulled, _ = fetch(hub, tmp_path / "s")
    assert verify(pulled.snapshot_path, pulled.files, lambda event: None) == []
    (tmp_path / "s" / "config.json").unlink()
    damaged = tmp_path / "s" / "model.safetensors"
    damaged.write_bytes(WEIGHTS[:-1] + b"x")
    (tmp_path / "s" / "generation_config.json").write_bytes(b"{ }")
    problems = {p["path"]: p["problem"] for p in verify(pulled.snapshot_path, pulled.files, print)}
    assert problems["config.json"] == "missing"
    assert problems["generation_config.json"] == "3 bytes, expected 2"
    assert problems["model.safetensors"].startswith("sha256 is ")


def test_size_that_differs_from_the_listing_is_refused(hub, tmp_path):
    hub.listed_size = {"model.safetensors": len(WEIGHTS) - 1}
    with pytest.raises(errors.CorruptDownload, match="lists"):
        fetch(hub, tmp_path / "s")


# -- the disk -------------------------------------------------------------------------------


def test_full_disk_is_seen_before_anything_is_fetched(hub, tmp_path):
    hub.listed_size = {"model.safetensors": 10**18}
    with pytest.raises(errors.DiskFull, match=r"1000.0 PB.*free"):
        fetch(hub, tmp_path / "s")
    assert not hub.bodies("model.safetensors")


def test_disk_that_fills_keeps_what_was_fetched(hub, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(errors.DiskFull, match="kept"):
            fetch(hub, tmp_path / "s")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    hub.requests.clear()
    fetch(hub, tmp_path / "s")
    (body,) = (r for r in hub.bodies("model.safetensors") if r.sent)
    assert body.start == 1_000_000
    assert (tmp_path / "s" / "model.safetensors").read_bytes() == WEIGHTS


def test_folder_that_cannot_be_made_says_what_to_do(hub, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(errors.TollamaError, match="models folder"):
        fetch(hub, tmp_path / "file" / "s")


# -- patience -------------------------------------------------------------------------------


def test_retry_after_is_honoured(hub, tmp_path):
    hub.statuses = [("/resolve/", 429, {"Retry-After": "1"})]
    begin = time.monotonic()
    _, events = fetch(hub, tmp_path / "s", max_workers=1)
    assert time.monotonic() - begin >= 1
    assert any("slow down" in e.get("message", "") for e in events)


def test_long_retry_after_is_an_error_with_the_time(hub, tmp_path):
    hub.statuses = [("/api/", 429, {"Retry-After": "4000"})]
    with pytest.raises(errors.HubError, match="429"):
        fetch(hub, tmp_path / "s")


def test_server_errors_are_tried_again(hub, tmp_path):
    hub.statuses = [("/api/", 503, {}), ("model.safetensors", 500, {}), ("/cdn/", 502, {})]
    fetch(hub, tmp_path / "s")
    assert tree(tmp_path / "s") == TAKEN


def test_a_hub_in_trouble_is_given_time_to_list(hub, tmp_path):
    hub.statuses = [("/api/", 503, {"Retry-After": "0"})] * 4
    fetch(hub, tmp_path / "s")
    assert tree(tmp_path / "s") == TAKEN


@pytest.mark.parametrize("scheme", ["socks4", "socks5", "socks5h"])
def test_socks_proxies_are_refused_with_what_to_do(hub, tmp_path, scheme):
    with pytest.raises(errors.HubUnreachable, match="a socks proxy, which is not supported"):
        fetch(hub, tmp_path / "s", http_proxy=f"{scheme}://127.0.0.1:9")
    fetch(hub, tmp_path / "s", http_proxy=f"{scheme}://127.0.0.1:9", no_proxy="127.0.0.1,localhost")


def test_dead_hub_is_unreachable_not_missing(hub, tmp_path):
    with pytest.raises(errors.HubUnreachable, match="refused"):
        fetch(hub, tmp_path / "s", endpoint="http://127.0.0.1:9")


def test_line_that_stalls_is_dropped_and_continued(hub, tmp_path):
    hub.pace = (700_000, threading.Event())
    fetch(hub, tmp_path / "s", stall_timeout=0.5)
    hub.pace[1].set()
    bodies = [r for r in hub.bodies("model.safetensors") if r.sent]
    assert len(bodies) > 1 and sum(sum(r.sent) for r in bodies) == len(WEIGHTS)


def test_line_that_drips_is_dropped_and_continued(hub, tmp_path):
    hub.drips = 1
    fetch(hub, tmp_path / "s", stall_timeout=1.0)
    _, second = (r for r in hub.bodies("model.safetensors") if r.sent)
    assert 0 < second.start < 200
    assert (tmp_path / "s" / "model.safetensors").read_bytes() == WEIGHTS


def test_hub_that_gives_nothing_is_given_up(hub, tmp_path):
    hub.pace = (0, threading.Event())
    with pytest.raises(errors.HubUnreachable, match=r"no answer for 0.3 s"):
        fetch(hub, tmp_path / "s", stall_timeout=0.3, tries=2)
    hub.pace[1].set()


def test_limit_rate_slows_a_pull(hub, tmp_path):
    begin = time.monotonic()
    fetch(hub, tmp_path / "s", limit_rate=1_500_000)
    assert time.monotonic() - begin >= 0.8


# -- the child ------------------------------------------------------------------------------


def test_child_ends_when_its_parent_goes(hub, tmp_path):
    hub.pace = (0, threading.Event())
    params = {**spec(hub, tmp_path / "s")._asdict()}
    child = hub_module._start()
    child.stdin.write(protocol.encode({"id": "1", "method": "pull", "params": params}))
    child.stdin.flush()
    wait_for(lambda: hub.bodies("model.safetensors"))
    assert child.poll() is None
    child.stdin.close()
    child.wait(20)
    hub.pace[1].set()
    child.stdout.close()
    child.stderr.close()


def test_child_that_dies_is_an_error_that_says_go_on(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_module, "_BOOT", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(errors.HubError, match=r"signal 9.*pull again"):
        fetch(hub, tmp_path / "s")


def test_missing_hub_client_says_how_to_get_it(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_module, "_BOOT", "import sys; sys.path[:] = []\nimport huggingface_hub")
    with pytest.raises(errors.HubError, match=r"tollama\.pyz.*pip install huggingface_hub"):
        fetch(hub, tmp_path / "s")
