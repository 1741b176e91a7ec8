"""What the package costs, next to bare ASGI apps and to its peers: `python -m benchmarks`."""
