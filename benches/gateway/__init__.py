"""The W bars: AILink, nginx, a bare hyper proxy and peers under the same load, in the same rounds.

Run with `python -m benches.gateway`. In reading order:

`workloads.py`   what each W measures, and against which yardstick `rounds.py`      interleaved, shuffled
rounds; one cell = one system under one load for a few seconds `machine.py`     CPU nanoseconds of a process
family, memory, pinning, what machine this is `system.py`      what the bench needs from a system;
`yardsticks.py`, `product.py` and `benches.peers` are such systems `wrk.py`         closed loop (CPU and
throughput); `generator.py`: open loop and streams, paired with the mock's stamps `correctness.py` what must
hold before a figure counts `bars.py`        the limits; `record.py`: JSON lines and ratios

The gateway under test is pinned to one core, generator and mock provider to the other. The figure that counts
is a ratio of CPU time per request in the same round: absolute times on a shared machine mean little.
"""
