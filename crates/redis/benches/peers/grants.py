"""How many permits a second two Python limiters hand out of one Redis: grants.py REDIS_URL SECONDS. One JSON line each.

The limits are far above what can be reached, so that what is measured is the cost of a grant and nothing waits.
"""
import asyncio
import json
import sys
import time

import redis
import redis.asyncio
from limiters import AsyncTokenBucket
from throttled import RateLimiterType
from throttled.asyncio import RedisStore, Throttled, per_sec

URL, SECONDS, CALLERS = sys.argv[1], float(sys.argv[2]), 16


async def hammer(grant):
    """Grants in a row by each of 16 callers, until the time is over: grants a second."""
    await grant()
    end = time.monotonic() + SECONDS

    async def caller():
        grants = 0
        while time.monotonic() < end:
            await grant()
            grants += 1
        return grants

    started = time.monotonic()
    grants = sum(await asyncio.gather(*[caller() for _ in range(CALLERS)]))
    return grants / (time.monotonic() - started)


def script_cost(connection):
    """Microseconds of Redis a script call took, since the figures were reset."""
    stats = connection.info("commandstats")
    return max((stats[name]["usec_per_call"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats), default=0.0)


async def main():
    plain = redis.Redis.from_url(URL)
    connection = redis.asyncio.Redis.from_url(URL, max_connections=CALLERS)
    bucket = AsyncTokenBucket(connection, name="bench", capacity=10**6, refill_frequency=1.0, refill_amount=10**6, max_sleep=0)

    async def one_of_bucket():
        async with bucket:
            pass

    throttle = Throttled(using=RateLimiterType.GCRA.value, quota=per_sec(10**9, burst=10**9), store=RedisStore(server=URL))

    async def one_of_throttle():
        assert not (await throttle.limit("bench")).limited

    async def ping():
        await connection.ping()

    for name, grant in [("redis-py PING", ping), ("redis-rate-limiters 0.5.0", one_of_bucket), ("throttled-py 3.5.0", one_of_throttle)]:
        plain.config_resetstat()
        rate = await hammer(grant)
        print(json.dumps({"name": name, "per_second": rate, "redis_us": script_cost(plain)}), flush=True)


asyncio.run(main())
