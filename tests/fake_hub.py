"""A model hub for tests: the Hugging Face wire on loopback, with faults to inject.

    with FakeHub() as hub:
        hub.add("org/tiny", {"config.json": b"{}", "model.safetensors": weights})
        hub.cuts = [1000, 5000]           # the next file bodies end after that many bytes

Every request is kept in `hub.requests`. Large files redirect to a second origin (`localhost`
instead of 127.0.0.1), as the real hub sends them to its CDN.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import re
import socket
import threading
import urllib.parse
from collections import namedtuple

Request = namedtuple("Request", ["method", "path", "host", "headers", "start", "sent"])


@functools.cache  # bytes remember their own hash(), so that a large file is read once
def sha256(data):
    return hashlib.sha256(data).hexdigest()


@functools.cache
def blob_id(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Repo:
    """One repository: revisions by name, files by commit."""

    def __init__(self):
        self.refs = {}
        self.commits = {}


class FakeHub:
    """The hub; attributes are the faults, all off at first."""

    def __init__(self, *, tls=None):
        self.repos = {}
        self.requests = []
        self.cuts = []  # each file body ends after so many bytes, one a body, then whole bodies
        self.ignore_range = False
        self.corrupt = {}  # path -> how many bodies still come with wrong bytes of the right size
        self.statuses = []  # (path part, status, headers): answered once each instead
        self.pace = None  # (bytes, event): after so many bytes of a large body wait for the event
        self.drips = 0  # how many large bodies still come 8 bytes at a time, ten times a second
        self.etag_suffix = ""  # changes the ETag of what is sent
        self.token = None  # what Authorization must be
        self.gated = False
        self.hub_headers = True  # False: as mirrors that leave out X-Repo-Commit and X-Linked-*
        self.listing_sha = True
        self.listing_hashes = True
        self.has_tree = True
        self.extra_names = []
        self.listed_size = {}  # path -> a lie
        self.redirects = True
        self.redirect_to = None  # an address for every large file
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.cdn = f"{scheme}://localhost:{self.port}"

    def __enter__(self):
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def add(self, repo_id, files, *, branch="main"):
        """A new commit of a repository; its id."""
        repo = self.repos.setdefault(repo_id, Repo())
        text = "".join(f"{path}{sha256(data)}" for path, data in sorted(files.items()))
        commit = hashlib.sha1(text.encode()).hexdigest()
        repo.commits[commit] = dict(files)
        repo.refs[branch] = commit
        return commit

    def bodies(self, path):
        """The file requests that were answered with bytes, for one path."""
        return [r for r in self.requests if r.method == "GET" and r.path.endswith("/" + path)]

    # -- answering --------------------------------------------------------------------------

    def _handler(hub):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                try:
                    hub._answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        return Handler

    def _answer(self, request):
        path, _, query = request.path.partition("?")
        path = urllib.parse.unquote(path)
        match = re.match(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(match[1]) if match else None
        record = Request(
            request.command, path, request.headers.get("Host"), dict(request.headers), start, []
        )
        self.requests.append(record)
        for fault in self.statuses:
            part, status, headers = fault
            if part in path:
                self.statuses.remove(fault)
                return self._send(request, status, b"fault", headers)
        if path.startswith("/cdn/"):
            return self._file(request, record, self._by_hash(path.split("/")[2]), path)
        if self.token is not None:
            given = request.headers.get("Authorization")
            if given is None:
                return self._refuse(request, 401, "RepoNotFound")
            if given != self.token:
                text = "Invalid credentials in Authorization header"
                return self._refuse(request, 401, None, text)
        if self.gated:
            return self._refuse(request, 403, "GatedRepo")
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/(.+)", path)
        if match:
            return self._listing(request, query, *match.groups())
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if match:
            return self._resolve(request, record, *match.groups())
        return self._send(request, 404, b"no such page")

    def _find(self, request, repo_id, revision):
        repo = self.repos.get(repo_id)
        if repo is None:
            self._refuse(request, 404, "RepoNotFound")
            return None, None
        commit = repo.refs.get(revision, revision)
        if commit not in repo.commits:
            self._refuse(request, 404, "RevisionNotFound")
            return None, None
        return commit, repo.commits[commit]

    def _listing(self, request, query, repo_id, kind, revision):
        commit, files = self._find(request, repo_id, revision)
        if files is None:
            return
        if kind == "tree":
            if not self.has_tree:
                return self._send(request, 404, b"")
            rows = [{"type": "directory", "path": "sub", "oid": "0" * 40, "size": 0}]
            for path, data in files.items():
                row = {"type": "file", "path": path, "size": len(data), "oid": blob_id(data)}
                if self.large(path):
                    row["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
                rows.append(row)
            return self._json(request, rows)
        rows = []
        for path, data in files.items():
            row = {"rfilename": path}
            if "blobs=true" in query and self.listing_hashes:
                row["size"] = self.listed_size.get(path, len(data))
                row["blobId"] = blob_id(data)
                if self.large(path):
                    row["lfs"] = {"sha256": sha256(data), "size": row["size"], "pointerSize": 134}
            rows.append(row)
        rows += [{"rfilename": n, "size": 3, "blobId": blob_id(b"abc")} for n in self.extra_names]
        info = {"id": repo_id, "siblings": rows}
        if self.listing_sha:
            info["sha"] = commit
        self._json(request, info)

    def _resolve(self, request, record, repo_id, revision, path):
        commit, files = self._find(request, repo_id, revision)
        if files is None:
            return
        if path not in files:
            return self._refuse(request, 404, "EntryNotFound")
        data = files[path]
        headers = {"X-Repo-Commit": commit} if self.hub_headers else {}
        if self.large(path) and self.redirects:
            if self.hub_headers:
                headers |= {"X-Linked-Etag": f'"{sha256(data)}"', "X-Linked-Size": str(len(data))}
            base = self.redirect_to or f"{self.cdn}/cdn/{sha256(data)}"
            headers["Location"] = f"{base}/{path}?signature=secret"
            return self._send(request, 302, b"", headers)
        self._file(request, record, data, path, headers)

    def _file(self, request, record, data, path, headers=None):
        name = path.rpartition("/")[2]
        tag = sha256(data) if self.large(name) else blob_id(data)
        etag = f'"{tag}{self.etag_suffix}"'
        headers = {**(headers or {}), "ETag": etag, "Accept-Ranges": "bytes"}
        if_range = request.headers.get("If-Range")
        status, start = 200, 0
        if record.start is not None and not self.ignore_range and if_range in (None, etag):
            start = record.start
            if start >= len(data):
                return self._send(request, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = memoryview(data)[start:]
        if self.corrupt.get(name) and request.command == "GET":
            self.corrupt[name] -= 1
            body = bytes(body[:-1]) + bytes([body[-1] ^ 1])
        cut = None
        if self.cuts and request.command == "GET" and self.large(name):
            cut = self.cuts.pop(0)
        headers["Content-Length"] = str(len(body))
        self._head(request, status, headers)
        if request.command == "HEAD":
            return
        stop = len(body) if cut is None else min(cut, len(body))
        drip = self.drips > 0 and self.large(name)
        self.drips -= drip
        step = 8 if drip else 65536
        for at in range(0, stop, step):
            piece = body[at : min(at + step, stop)]
            if drip:
                threading.Event().wait(0.1)
            if self.pace is not None and self.large(name) and at >= self.pace[0]:
                self.pace[1].wait(60)
            request.connection.sendall(piece)
            record.sent.append(len(piece))
        if stop < len(body):
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)

    def large(self, path):
        """Whether a file is kept outside git, with a sha256 and an address on the second origin."""
        return path.endswith((".safetensors", ".bin"))

    def _by_hash(self, digest):
        for repo in self.repos.values():
            for files in repo.commits.values():
                for data in files.values():
                    if sha256(data) == digest:
                        return data
        return b""

    def _refuse(self, request, status, code, text="refused"):
        headers = {"X-Error-Message": text}
        if code:
            headers["X-Error-Code"] = code
        if status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="hub"'
        self._send(request, status, json.dumps({"error": text}).encode(), headers)

    def _json(self, request, value):
        body = json.dumps(value).encode()
        self._send(request, 200, body, {"Content-Type": "application/json"})

    def _send(self, request, status, body, headers=None):
        self._head(request, status, {**(headers or {}), "Content-Length": str(len(body))})
        if request.command != "HEAD":
            request.wfile.write(body)

    def _head(self, request, status, headers):
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.flush()
