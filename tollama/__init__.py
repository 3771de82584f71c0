"""tollama: Ollama for time series forecasting, in one file.

`tollama.Client` is the Python client; it is imported when it is first used, because this module is
imported inside every runner and by every short command, and old syntax for __main__.py.
"""

__version__ = "0.1.0"

__all__ = ["AsyncClient", "Client", "TollamaForecaster", "__version__"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tollama.client import AsyncClient, Client, TollamaForecaster


def __getattr__(name):
    if name in __all__:
        from tollama import client

        return getattr(client, name)
    raise AttributeError("module 'tollama' has no attribute %r" % (name,))
