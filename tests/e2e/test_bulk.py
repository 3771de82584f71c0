"""Streams of series: order, errors in their place, one queue place, unloading meanwhile."""

import http.client
import json

import pytest

HEAD = {"model": "naive", "horizon": 1}
NDJSON = "application/x-ndjson"


def send(daemon, *lines, status=200):
    data = b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines)
    found, _, answer = daemon.request("POST", "/api/forecast", data, Content_Type=NDJSON)
    assert found == status, answer[:500]
    return [json.loads(line) for line in answer.splitlines()]


def names(lines):
    return [line["forecast"]["id"] if "forecast" in line else line["id"] for line in lines[:-1]]


def test_answers_come_in_the_order_of_the_series(daemon):
    series = [{"id": f"s{i}", "target": [i]} for i in range(200)]
    series[100] = {"id": "bad", "target": ["x"]}
    found = send(daemon, HEAD, *series)
    assert names(found) == [one["id"] for one in series]
    assert found[-1] == {"done": True, "model": "naive", "series": 200, "failed": 1}
    assert found[100]["detail"][0]["loc"] == ["body", "series", 100, "target", 0]


def test_every_bad_line_has_its_error_in_its_place(daemon):
    found = send(
        daemon,
        b"",
        HEAD,
        {"id": "a", "target": [1]},
        b'{"id":"b","target":[1,]}',
        b"  ",
        b"\xff",
        [],
        {"id": "c", "target": ["x"], "zz": 1},
        {"id": "d", "target": [[1], [2]]},
        b'{"id":"\\ud800","target":[1]}',
        {"target": [5]},
    )
    assert names(found) == ["a", "series_1", "series_2", "series_3", "c", "d", "\ud800", "series_7"]
    assert found[-1] == {"done": True, "model": "naive", "series": 8, "failed": 6}
    assert found[1]["error"].startswith("series[1]: the line is not valid JSON")
    assert [d["loc"] for d in found[4]["detail"]] == [
        ["body", "series", 4, "target", 0],
        ["body", "series", 4, "zz"],
    ]
    assert found[5]["code"] == "unsupported"
    assert found[7]["forecast"]["mean"] == [5]


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"", 400, "invalid_request"),
        (b"nope", 400, "invalid_request"),
        ({"model": "nothing", "horizon": 1}, 404, "model_not_found"),
        ({**HEAD, "horizon": 0}, 400, "invalid_request"),
        ({**HEAD, "series": [{"target": [1]}]}, 400, "invalid_request"),
        ({**HEAD, "options": {"season_lenght": 2}}, 400, "invalid_request"),
    ],
)
def test_what_is_wrong_with_the_first_line_is_a_plain_error(daemon, head, status, code):
    (found,) = send(daemon, head, {"target": [1]}, {"target": [2]}, status=status)
    assert found["code"] == code


def test_a_stream_takes_one_place_in_the_queue(start):
    daemon = start(TOLLAMA_MAX_QUEUE="1")
    found = send(daemon, HEAD, *({"target": [i]} for i in range(2000)))
    assert found[-1] == {"done": True, "model": "naive", "series": 2000, "failed": 0}


def test_a_stream_survives_the_unloading_of_its_model(start):
    daemon = start()
    series = [b'{"target":[%d]}\n' % i for i in range(400)]

    def body():
        yield json.dumps(HEAD).encode() + b"\n"
        yield from series[:200]
        daemon.json("POST", "/api/generate", {"model": "naive", "keep_alive": 0})
        yield from series[200:]

    connection = http.client.HTTPConnection(daemon.host, daemon.port, timeout=60)
    connection.request(
        "POST", "/api/forecast", body(), {"Content-Type": NDJSON}, encode_chunked=True
    )
    found = [json.loads(line) for line in connection.getresponse().read().splitlines()]
    connection.close()
    assert found[-1] == {"done": True, "model": "naive", "series": 400, "failed": 0}
    assert [line["forecast"]["mean"] for line in found[:-1]] == [[i] for i in range(400)]


def test_a_deadline_holds_for_each_slice_of_a_stream(daemon):
    late = {**HEAD, "timeout": 1e-6}
    found = send(daemon, late, *({"target": [i]} for i in range(40)))
    assert found[-1]["series"] == 40
    assert {line["code"] for line in found[:-1] if "code" in line} <= {"deadline_exceeded"}
