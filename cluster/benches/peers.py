"""What Dask, Ray and Celery take for the tasks of the benchmark of clusters, with two worker processes on
this machine. A line for each that can be imported: name, microseconds of a round trip, trivial
tasks a second, tasks of a millisecond a second. Those that cannot are named with the reason.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time

# Where Celery's broker is: set for its workers, which import this file to find the tasks.
REDIS = "PEERS_REDIS"


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


def application():
    """Celery's application, and its two tasks."""
    import celery

    url = os.environ[REDIS]
    app = celery.Celery("peers", broker=url, backend=url)
    # As many at a time as there are workers, and one more for each.
    app.conf.update(worker_prefetch_multiplier=2, task_ignore_result=False)
    return app, app.task(name="trivial")(trivial), app.task(name="compute")(compute)


if REDIS in os.environ:
    app, far_trivial, far_compute = application()


def celery(scale):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ[REDIS] = f"redis://127.0.0.1:{port}/0"
    children = []
    with tempfile.TemporaryDirectory() as folder:
        server = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
        try:
            children.append(subprocess.Popen(server, cwd=folder, stdout=subprocess.DEVNULL))
            here = os.path.dirname(os.path.abspath(__file__))
            path = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
            worker = [sys.executable, "-m", "celery", "-A", "peers", "worker", "-c", "2"]
            children.append(
                subprocess.Popen(
                    worker + ["-l", "ERROR"],
                    cwd=folder,
                    env={**os.environ, "PYTHONPATH": path, "C_FORCE_ROOT": "1"},
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            _, trivial_task, compute_task = application()

            def run(task):
                def all_of(count):
                    for result in [task.delay(n) for n in range(count)]:
                        result.get(timeout=120)

                return all_of

            run(trivial_task)(100)
            trip = median(lambda: trivial_task.delay(1).get(timeout=60), scale // 20)
            return trip, rate(run(trivial_task), scale), rate(run(compute_task), scale)
        finally:
            for child in reversed(children):
                child.terminate()
            for child in children:
                child.wait()


def main():
    scale = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    for name, measure in [("Dask distributed", dask), ("Ray", ray), ("Celery", celery)]:
        try:
            trip, trivial_rate, compute_rate = measure(scale)
            print(f"{name}\t{trip:.0f}\t{trivial_rate:.0f}\t{compute_rate:.0f}", flush=True)
        except Exception as why:
            print(f"{name}\tnot measured: {type(why).__name__}: {why}", flush=True)


if __name__ == "__main__":
    main()
