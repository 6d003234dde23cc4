"""Dramatiq end to end: dramatiq_queue.py REDIS_URL TASKS. One process with 8 threads drains what was queued before. One JSON line."""
import json
import sys
import threading
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker

URL, TASKS = sys.argv[1], int(sys.argv[2])
broker = RedisBroker(url=URL)
dramatiq.set_broker(broker)
done, all_done, count = threading.Lock(), threading.Event(), 0


@dramatiq.actor(max_retries=0)
def answer(_prompt):
    global count
    with done:
        count += 1
        if count == TASKS:
            all_done.set()


started = time.monotonic()
for _ in range(TASKS):
    answer.send("p" * 300)
queued = time.monotonic()
worker = dramatiq.Worker(broker, worker_threads=8)
worker.start()
all_done.wait()
finished = time.monotonic()
worker.stop()
print(json.dumps({"name": "Dramatiq 2.2.1", "enqueue": TASKS / (queued - started), "drain": TASKS / (finished - queued)}))
