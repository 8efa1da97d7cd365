"""One planted race for every feature of asyncio, anyio, Starlette and FastAPI."""
