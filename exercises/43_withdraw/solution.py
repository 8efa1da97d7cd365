"""The account is in the session already, so a lock alone guards the old balance.

A query does not overwrite an object that the session has loaded. `refresh` with `with_for_update=True` locks
the row and reads it anew in one statement, so what is checked is what is there. The lock ends with the
commit.

While it is held, other withdrawals from this account wait. Where SQL can say it all, one `UPDATE` with the
condition in its `WHERE` waits less.
"""

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "accounts"
    name: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    balance: Mapped[int]


async def withdraw(sessions, name, amount):
    """Pay if the account covers it; return whether it was paid."""
    async with sessions() as session:
        account = await session.get(Account, name)
        if account is None:
            raise LookupError(f"there is no account {name}")
        await session.refresh(account, with_for_update=True)
        if account.balance < amount:
            return False
        account.balance -= amount
        await session.commit()
        return True
