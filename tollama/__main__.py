"""Entry of `python -m tollama`, of the scripts and of the .pyz; old syntax, down to Python 2.7."""

import sys


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
    from tollama.cli.main import main as run

    return run(argv)


def daemon():
    """The script `tollamad`: the same as `tollama serve`."""
    return main(["serve"] + sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
