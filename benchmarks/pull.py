"""How fast a pull is: a file from loopback against `curl -o` and `sha256sum` in the same run.

    python benchmarks/pull.py [--size 1000] [--rounds 3]

A small HTTP server on loopback, a process of its own, plays the model hub. Each round pulls a model
of `size` MB with the built .pyz into an empty home, process start and verification included, and
then does the same by hand: curl into a file, sha256sum of the file. The ratio is the time of curl
and sha256sum together divided by the pull's, of the best of each.

Needs curl, sha256sum and dist/tollama.pyz (python build_zipapp.py).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYZ = ROOT / "dist" / "tollama.pyz"
CONFIG = '{"architectures": ["Chronos2Model"]}'
COMMIT = "1" * 40
BLOCK = 1 << 20

# One repository from a file, sent by sendfile.
SERVER = r"""
import hashlib, http.server, json, os, sys
path, digest, config = sys.argv[1:]
size = os.path.getsize(path)
config = config.encode()
blob = hashlib.sha1(b"blob %d\0" % len(config) + config).hexdigest()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if "/api/models/" in self.path:
            lfs = {"sha256": digest, "size": size, "pointerSize": 134}
            self.whole(json.dumps({"id": "a/b", "sha": "1" * 40, "siblings": [
                {"rfilename": "config.json", "size": len(config), "blobId": blob},
                {"rfilename": "model.safetensors", "size": size, "blobId": blob, "lfs": lfs},
            ]}).encode())
        elif self.path.endswith("config.json"):
            self.whole(config)
        else:
            self.head(size)
            with open(path, "rb") as stream:
                at = 0
                while at < size:
                    at += os.sendfile(self.connection.fileno(), stream.fileno(), at, size - at)

    def head(self, length):
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.flush()

    def whole(self, body):
        self.head(len(body))
        self.wfile.write(body)

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="speed of a pull against curl and sha256sum")
    parser.add_argument("--size", type=int, default=1000, help="megabytes (default 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, the best counts (default 3)")
    args = parser.parse_args()
    for tool in ("curl", "sha256sum"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is needed and not here")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "weights")
        digest = make(weights, args.size * 1_000_000)
        command = [sys.executable, "-c", SERVER, str(weights), digest, CONFIG]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
                rounds = [one_round(Path(folder), url) for _ in range(args.rounds)]
            finally:
                server.terminate()
    pulled, fetched, hashed = (min(column) for column in zip(*rounds, strict=True))
    result = {
        "megabytes": args.size,
        "pull_s": round(pulled, 3),
        "curl_s": round(fetched, 3),
        "sha256sum_s": round(hashed, 3),
        "pull_mb_per_s": round(args.size / pulled),
        "ratio": round((fetched + hashed) / pulled, 3),
    }
    print(json.dumps(result))
    return 0


def make(path: Path, size: int) -> str:
    """A file of random bytes; its sha256."""
    digest = hashlib.sha256()
    with open(path, "wb") as stream:
        while size:
            block = os.urandom(min(BLOCK, size))
            digest.update(block)
            stream.write(block)
            size -= len(block)
    return digest.hexdigest()


def one_round(folder: Path, url: str) -> tuple[float, float, float]:
    """Seconds of a pull, of curl, of sha256sum."""
    home = folder / "home"
    target = folder / "curled"
    environment = {"PATH": os.environ["PATH"], "TOLLAMA_HOME": str(home), "HF_ENDPOINT": url}
    pull = [sys.executable, "-I", "-S", str(PYZ), "pull", "hf.co/a/b"]
    curl = ["curl", "-sS", "--noproxy", "*", "-o", str(target)]
    pulled = timed(pull, environment)
    shutil.rmtree(home)
    fetched = timed([*curl, f"{url}/a/b/resolve/{COMMIT}/model.safetensors"], environment)
    hashed = timed(["sha256sum", str(target)], environment)
    target.unlink()
    return pulled, fetched, hashed


def timed(command: list[str], environment: dict[str, str]) -> float:
    """The seconds that a command takes; it must succeed."""
    begin = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())
