# rejected by test_no_order_pays_both: between the second look and the write is a gap like the first one
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
        await session.refresh(account)
        if account.balance < amount:
            return False
        account.balance -= amount
        await session.commit()
        return True
