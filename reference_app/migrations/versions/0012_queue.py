"""The table of the queue is called queue: jobs is the word of a noun, and the queue belongs to a pattern."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# PostgreSQL renames a table and leaves the names of what belongs to it. NOT NULL has names since version 18,
# so these constraints are looked up; that of a primary key takes its index along.
RENAME_CONSTRAINTS = """
DO $$
DECLARE before text;
BEGIN
    FOR before IN SELECT conname FROM pg_constraint
        WHERE conrelid = '{new}'::regclass AND starts_with(conname, '{old}_')
    LOOP
        EXECUTE format('ALTER TABLE {new} RENAME CONSTRAINT %I TO %I', before,
            '{new}' || substr(before, length('{old}') + 1));
    END LOOP;
END $$
"""


def _rename(old: str, new: str) -> None:
    op.rename_table(old, new)
    op.execute(f"ALTER SEQUENCE {old}_id_seq RENAME TO {new}_id_seq")
    op.execute(f"ALTER INDEX {old}_not_before_idx RENAME TO {new}_not_before_idx")
    op.execute(RENAME_CONSTRAINTS.format(old=old, new=new))


def upgrade() -> None:
    _rename("jobs", "queue")


def downgrade() -> None:
    _rename("queue", "jobs")
