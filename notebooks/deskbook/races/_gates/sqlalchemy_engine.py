"""The gate for a SQLAlchemy engine: that of the driver which it uses."""

from __future__ import annotations

from typing import Any

from deskbook.races._gates.base import Gate
from deskbook.races._gates.postgres import AsyncpgGate
from deskbook.races._gates.psycopg_statements import PsycopgGate
from deskbook.races._gates.several import SeveralGates

_GATES = {"postgresql+asyncpg": AsyncpgGate, "postgresql+psycopg": PsycopgGate}


class SQLAlchemyGate(SeveralGates):
    """Makes every statement of a SQLAlchemy engine a step.

    Args:
        engine: An engine of `create_async_engine("postgresql+asyncpg://...")`, or one of psycopg, async or
            sync.

    Raises:
        ValueError: For an engine with another driver.
    """

    def __init__(self, engine: Any) -> None:
        driver = f"{engine.dialect.name}+{engine.dialect.driver}"
        gate = _GATES.get(driver.removesuffix("_async"))
        if gate is None:
            raise ValueError(
                f"SQLAlchemyGate explores {' and '.join(_GATES)}, this engine is {driver}: no other has a "
                f"seam to stop at, and what is not stopped would be a race that is not seen"
            )
        gates: list[Gate] = [gate(engine.url.render_as_string(hide_password=False))]
        super().__init__(gates)
