"""What Dask and Ray take for the tasks of the benchmark of clusters, with two worker processes on
this machine. A line for each that can be imported: name, microseconds of a round trip, trivial
tasks a second, tasks of a millisecond a second. Those that cannot are named with the reason.
"""

import sys
import time


def trivial(n):
    return n


def compute(n):
    end = time.perf_counter() + 0.001
    while time.perf_counter() < end:
        n = (n * 31 + 7) % 1000003
    return n


def median(call, count):
    times = []
    for _ in range(count):
        since = time.perf_counter()
        call()
        times.append(time.perf_counter() - since)
    return sorted(times)[count // 2] * 1e6


def rate(run, count):
    since = time.perf_counter()
    run(count)
    return count / (time.perf_counter() - since)


def dask(scale):
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            def run(task):
                # Not pure: the same inputs again are computed again.
                return lambda count: client.gather(client.map(task, range(count), pure=False))

            run(trivial)(100)
            trip = median(lambda: client.submit(trivial, 1, pure=False).result(), scale // 20)
            return trip, rate(run(trivial), scale), rate(run(compute), scale)


def ray(scale):
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        far_trivial, far_compute = ray.remote(trivial), ray.remote(compute)

        def run(task):
            return lambda count: ray.get([task.remote(n) for n in range(count)])

        run(far_trivial)(100)
        trip = median(lambda: ray.get(far_trivial.remote(1)), scale // 20)
        return trip, rate(run(far_trivial), scale), rate(run(far_compute), scale)
    finally:
        ray.shutdown()


def main():
    scale = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    for name, measure in [("Dask distributed", dask), ("Ray", ray)]:
        try:
            trip, trivial_rate, compute_rate = measure(scale)
            print(f"{name}\t{trip:.0f}\t{trivial_rate:.0f}\t{compute_rate:.0f}", flush=True)
        except Exception as why:
            print(f"{name}\tnot measured: {type(why).__name__}: {why}", flush=True)


if __name__ == "__main__":
    main()
