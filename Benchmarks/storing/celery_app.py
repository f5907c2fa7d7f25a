"""What Celery's worker and its client share. The address of Redis comes by the environment: the worker is a process."""
import os

import celery

REDIS = "HERO_BENCH_REDIS"

app = celery.Celery("bench", broker=os.environ[REDIS], backend=os.environ[REDIS])
# Nothing that an empty task does not need.
app.conf.update(
    worker_prefetch_multiplier=64, worker_send_task_events=False, task_send_sent_event=False,
    broker_connection_retry_on_startup=True)


@app.task(name="empty")
def empty():
    pass
