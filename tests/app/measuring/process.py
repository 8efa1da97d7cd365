"""What the worker and the machine do meanwhile, by Linux; zero elsewhere."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import asyncpg
import psutil
from redis.asyncio import Redis

PACKAGES = ("fastapi", "starlette", "uvicorn", "uvloop", "pydantic", "SQLAlchemy", "asyncpg", "redis")
SAMPLE_S = 0.02


def cpu_s(pid: int) -> float:
    """Return the processor time of a process in seconds."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rsplit(")", 1)[1].split()  # the name before it may contain anything
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stolen_s() -> float:
    """Return the processor time that the host of this virtual machine has kept from it, in seconds."""
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


def resident_mb(pid: int) -> float:
    """Return the memory of a process in megabytes."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0.0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


class Growth:
    """How much a process has grown at its largest, in megabytes."""

    mb = 0.0


@asynccontextmanager
async def watching(pid: int) -> AsyncIterator[Growth]:
    """Look at the memory of a process fifty times a second, from the beginning of the block to its end."""
    growth, before = Growth(), resident_mb(pid)

    async def watch() -> None:
        while True:
            growth.mb = max(growth.mb, resident_mb(pid) - before)
            await asyncio.sleep(SAMPLE_S)

    task = asyncio.create_task(watch())
    try:
        yield growth
    finally:
        task.cancel()
        growth.mb = max(growth.mb, resident_mb(pid) - before)


async def machine(database_url: str, redis_url: str) -> dict[str, str]:
    """Return what a reader must know to compare: the hardware and the versions."""
    connection = await asyncpg.connect(database_url)
    postgres = await connection.fetchval("SHOW server_version")
    fsync = await connection.fetchval("SHOW fsync")
    await connection.close()
    redis: Redis = Redis.from_url(redis_url)
    info = await redis.info("server")
    await redis.aclose()
    busy = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "Processor": f"{os.cpu_count()} cores, {_cpu_name()}",
        "Memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1024**3:.0f} GB",
        "Load when it began": f"{busy} (above 0.5, something else was running)",
        "Python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "PostgreSQL": f"{postgres}, fsync {fsync}",
        "Valkey": str(info.get("valkey_version") or info.get("redis_version")),
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    found = [line.partition(":")[2].strip() for line in names if line.startswith("model name")]
    return found[0] if found else platform.machine()
