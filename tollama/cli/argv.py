"""Take a secret out of this process's own command line, so that `ps` does not show it.

Covered: Linux, where a process may write to its own memory. Elsewhere, and in the moment before
this runs, the secret can be seen: TOLLAMA_HF_TOKEN is the better place for it.
"""

from __future__ import annotations

import os


def hide(secret: str) -> bool:
    """Overwrite a secret in the arguments with stars; whether it is gone from them."""
    wanted = os.fsencode(secret)
    try:
        with open("/proc/self/stat", "rb") as stream:
            # Fields 48 and 49 of proc(5); the second one, a name, may hold spaces and brackets.
            fields = stream.read().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        if not 0 < start < end:
            return False
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            text = memory.read(end - start)
            at = text.find(wanted)
            while at >= 0:
                memory.seek(start + at)
                memory.write(b"*" * len(wanted))
                at = text.find(wanted, at + len(wanted))
        with open("/proc/self/cmdline", "rb") as stream:
            return wanted not in stream.read()
    except (OSError, ValueError, IndexError, OverflowError):
        return False
