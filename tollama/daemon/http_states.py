"""The states of a connection, and what the loop waits for in each.

SHAKE     the TLS handshake
HEAD      a request's first bytes, or its head so far
BODY      the rest of its body
RUNNING   nothing: a thread has the request
WAITING   another thread, to say that the answer (a Later) is there; or the client, to leave
FLUSH     room to send the rest of an answer
LINGER    the client's end of file, after an answer that came before the request was read to its
          end: closing with bytes unread would reset the connection and lose the answer
"""

from __future__ import annotations

import ssl

SHAKE, HEAD, BODY, RUNNING, WAITING, FLUSH, LINGER = range(7)

RECEIVE = 64 * 1024
"""Bytes read at once."""

NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket raises when it has nothing to give or take at the moment."""
