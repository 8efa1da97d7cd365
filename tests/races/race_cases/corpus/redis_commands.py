"""Cases on real Redis: the subject is a client."""

import redis.asyncio as redis_client

from race_cases.corpus.cases import RIGHT, WRONG, Case

CASES = []


async def reset_redis(client):
    await client.flushdb()
    await client.set("balance", 100)


async def redis_money_is_kept(client, results):
    paid = sum(result is True for result in results.values())
    balance = int(await client.get("balance"))
    assert balance == 100 - 60 * paid, f"{paid} of 60 paid out of 100, but the balance is {balance}"


def redis_case(truth, reason, check=redis_money_is_kept):
    def register(function):
        CASES.append(Case(function.__name__, truth, reason, None, {"A": function, "B": function}, check))
        return function

    return register


@redis_case(WRONG, "both GET 100")
async def get_then_set(client):
    balance = int(await client.get("balance"))
    if balance < 60:
        return False
    await client.set("balance", balance - 60)
    return True


@redis_case(RIGHT, "WATCH makes EXEC fail when the key has changed")
async def watch_and_multi(client):
    async with client.pipeline(transaction=True) as pipe:
        while True:
            try:
                await pipe.watch("balance")
                balance = int(await pipe.get("balance"))
                if balance < 60:
                    return False
                pipe.multi()
                pipe.set("balance", balance - 60)
                await pipe.execute()
                return True
            except redis_client.WatchError:
                continue


@redis_case(WRONG, "MULTI alone does not notice that the key has changed")
async def multi_without_watch(client):
    balance = int(await client.get("balance"))
    if balance < 60:
        return False
    async with client.pipeline(transaction=True) as pipe:
        pipe.set("balance", balance - 60)
        await pipe.execute()
    return True


_TAKE = """
if tonumber(redis.call('GET', KEYS[1])) < 60 then return 0 end
redis.call('DECRBY', KEYS[1], 60)
return 1
"""


@redis_case(RIGHT, "a script runs alone")
async def lua_script(client):
    return bool(await client.eval(_TAKE, 1, "balance"))


@redis_case(WRONG, "the counter is looked at before it is counted up", lambda client, r: sum(r.values()) == 1)
async def limit_looked_at_first(client):
    if int(await client.get("hits") or 0) >= 1:
        return False
    await client.incr("hits")
    return True


@redis_case(RIGHT, "INCR counts and answers at once", lambda client, r: sum(r.values()) == 1)
async def limit_by_incr(client):
    return await client.incr("hits") <= 1


@redis_case(WRONG, "both find the key free", lambda client, r: sum(r.values()) == 1)
async def claim_by_exists(client):
    if await client.exists("claim"):
        return False
    await client.set("claim", "me")
    return True


@redis_case(RIGHT, "SET NX claims at once", lambda client, r: sum(r.values()) == 1)
async def claim_by_set_nx(client):
    return bool(await client.set("claim", "me", nx=True))
