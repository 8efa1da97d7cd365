import asyncio

from deskbook.practice.for_checks import until_done_or_blocked
from deskbook.races import SQLAlchemyGate, explore

#: Three free jobs, put there in the order 3, 2, 1.
ROWS = "INSERT INTO jobs VALUES (3), (2), (1);"
TABLES = f"CREATE TABLE jobs (id int PRIMARY KEY, worker text); {ROWS}"


async def workers_of(desk):
    rows = await desk.own.fetch("SELECT id, worker FROM jobs ORDER BY id")
    return {f"job {id}": worker for id, worker in rows}


async def test_the_oldest_is_taken(answer, evidence, desk):
    """A worker gets the job with the lowest number, and its name stands in the row."""
    evidence.given("three free jobs, put in the order 3, 2, 1, and one worker, Ann")
    async with desk.sessions.begin() as session:
        job = await answer.claim(session, "ann")
    rows = await workers_of(desk)
    evidence.got(f"job {job}, and {rows}")
    assert job == 1, "That is not the oldest job."
    assert rows == {"job 1": "ann", "job 2": None, "job 3": None}, "The table is not what it should be."


async def test_no_job_is_left(answer, evidence, desk):
    """When every job is taken, a worker gets None and changes nothing."""
    evidence.given("three jobs that Ben has, and one worker, Ann")
    await desk.own.execute("UPDATE jobs SET worker = 'ben'")
    async with desk.sessions.begin() as session:
        job = await answer.claim(session, "ann")
    rows = await workers_of(desk)
    evidence.got(f"{job}, and {rows}")
    assert job is None, "There is no job, and the answer is not None."
    assert set(rows.values()) == {"ben"}, "Ann has taken a job of Ben."


async def test_each_gets_another(answer, evidence, desk):
    """In every order of the statements, two workers get two different jobs."""
    evidence.given("two workers at once, and three free jobs")

    def worker(name):
        async def work(desk):
            async with desk.sessions() as session:
                job = await answer.claim(session, name)
                await session.commit()
            return job

        return work

    async def fresh_desk():
        await desk.own.execute(f"DELETE FROM jobs; {ROWS}")
        return desk

    def each_another(desk, jobs):
        numbers = {name: job for name, job in jobs.items() if isinstance(job, int)}
        for name in jobs.keys() - numbers.keys():
            raise AssertionError(f"{name} got no job, although one is free: {type(jobs[name]).__name__}")
        assert len(set(numbers.values())) == 2, f"both have job {numbers['A']}"

    report = await explore(
        fresh_desk,
        {"A": worker("A"), "B": worker("B")},
        invariant=each_another,
        gate=SQLAlchemyGate(desk.engine),
        max_schedules=1_000,
        max_seconds=60,
    )
    evidence.proves(report)


async def test_nobody_waits(answer, evidence, desk):
    """While one worker is at its job and has not committed, another one gets the next job."""
    evidence.given("Ann, who is at work on job 1, and Ben, who asks for a job")
    async with desk.sessions() as ann, desk.sessions() as ben:
        await answer.claim(ann, "ann")
        claiming = asyncio.create_task(answer.claim(ben, "ben"))
        await until_done_or_blocked(desk.own, claiming)
        is_done = claiming.done()
        evidence.got(f"job {claiming.result()} for Ben" if is_done else "Ben waits until Ann commits")
        await ann.commit()
        job = await claiming
        await ben.commit()
        assert is_done, "Ben had to wait for Ann."
        assert job == 2, "Ben did not get the next job."


async def test_a_job_comes_back(answer, evidence, desk):
    """A worker that dies before its commit gives its job back."""
    evidence.given("Ann, who dies at work on job 1, and Ben, who asks for a job afterwards")
    async with desk.sessions() as session:
        await answer.claim(session, "ann")
        await session.rollback()
    async with desk.sessions.begin() as session:
        job = await answer.claim(session, "ben")
    evidence.got(f"job {job} for Ben")
    assert job == 1, "Nobody will do job 1."
