"""The APIs that other clients speak: nixtla, SageMaker's runtime, KServe.

Each dialect is two pure functions at the edge, from its JSON to requests of our own and from our
answers to its JSON. They go through the same service as every request; none knows the scheduler.

Not covered: Ollama's API. That one is native (routes.py).
"""
