"""Entry of `python -m tollama`, of the scripts and of the .pyz; old syntax, down to Python 2.7."""

import sys


def quiet():
    """Let Ctrl-C end the process without a traceback until the command line catches it itself."""
    try:
        import _signal  # type: ignore[import-not-found]
    except ImportError:
        return
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def main(argv=None):
    """Run the command line; returns the exit code."""
    if sys.version_info < (3, 10):
        sys.stderr.write(
            "tollama needs Python 3.10 or newer, this is %d.%d (%s)\n"
            % (sys.version_info[0], sys.version_info[1], sys.executable)
        )
        return 2
    argv = sys.argv[1:] if argv is None else argv
    if argv in (["--version"], ["-V"], ["-v"]):
        import tollama

        sys.stdout.write("tollama %s\n" % tollama.__version__)
        return 0
    quiet()
    from tollama.cli.main import main as run

    return run(argv)


def daemon():
    """The script `tollamad`: the same as `tollama serve`."""
    return main(["serve"] + sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
