"""The apps that are measured, a module for each framework; `benchmarks.variants` has their names.

All of them answer any path with the stream that the query string asks for (`plan`), with the same 24 bytes an event
where the package does not write CR LF, and with every setting at its default but the one that `BENCH_PING` gives.
"""
