"""The runner process of the embedded models."""

from tollama.core.runner_sdk import serve

from .family import Stats

if __name__ == "__main__":
    serve(Stats())
