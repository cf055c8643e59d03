"""Sends messages with CPython's multiprocessing, for the benchmark beside us.

Reads lines `WHAT SIZE COUNT CPU` and answers each with the seconds per message (or round trip).
"""

import multiprocessing
import os
import sys
import time

QUIT = b"q"


def echo(connection, cpu):
    os.sched_setaffinity(0, {cpu})
    while (message := connection.recv_bytes()) != QUIT:
        connection.send_bytes(message)


def sink(source, get, done, cpu):
    os.sched_setaffinity(0, {cpu})
    while True:
        count = done.recv()
        if count == 0:
            return
        for _ in range(count):
            get(source)
        done.send(count)


def get_queue(queue):
    return queue.get()


def get_pipe(reader):
    return reader.recv_bytes()


def put_many(queue, message, count):
    for _ in range(count):
        queue.put(message)


def get_many(queue, count):
    for _ in range(count):
        queue.get()


def many(context, message, count):
    """Two put and two get."""
    os.sched_setaffinity(0, range(os.cpu_count()))
    queue = context.Queue(1000)
    children = [context.Process(target=put_many, args=(queue, message, count)) for _ in range(2)]
    children += [context.Process(target=get_many, args=(queue, count)) for _ in range(2)]
    begin = time.perf_counter()
    for child in children:
        child.start()
    for child in children:
        child.join()
    return (time.perf_counter() - begin) / (2 * count)


def main():
    context = multiprocessing.get_context("fork")
    for line in sys.stdin:
        what, size, count, cpu = line.split()
        size, count, cpu = int(size), int(count), int(cpu)
        message = b"x" * size
        if what == "many":
            print(many(context, message, count), flush=True)
            continue
        near, far = context.Pipe()
        if what == "trip":
            child = context.Process(target=echo, args=(far, cpu))
            child.start()
            os.sched_setaffinity(0, {0})
            near.send_bytes(message)
            near.recv_bytes()
            begin = time.perf_counter()
            for _ in range(count):
                near.send_bytes(message)
                near.recv_bytes()
            taken = time.perf_counter() - begin
            near.send_bytes(QUIT)
        else:
            if what == "queue":
                source = context.Queue()
                put, get = source.put, get_queue
            else:
                source, writer = context.Pipe(duplex=False)
                put, get = writer.send_bytes, get_pipe
            child = context.Process(target=sink, args=(source, get, far, cpu))
            child.start()
            os.sched_setaffinity(0, {0})
            for total in (1, count):
                near.send(total)
                begin = time.perf_counter()
                for _ in range(total):
                    put(message)
                near.recv()
                taken = time.perf_counter() - begin
            near.send(0)
        child.join()
        print(taken / count, flush=True)


if __name__ == "__main__":
    main()
