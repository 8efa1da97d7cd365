"""The instruments of candles are checked once a statement, and no longer once a row.

A foreign key is a trigger for each row: more than half of what PostgreSQL did for an import. These triggers
hold the same rule over all rows of a statement at once. What is lost: tools that draw tables and their keys
do not see it.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# FOR KEY SHARE, as a foreign key has it: without it, somebody could delete the instrument between this look
# and our commit. The functions name their schema, see 0002.
INSTRUMENTS_EXIST = """
CREATE FUNCTION candles_check_instruments() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM instruments WHERE id IN (SELECT instrument_id FROM written) ORDER BY id FOR KEY SHARE;
    IF EXISTS (SELECT instrument_id FROM written EXCEPT SELECT id FROM instruments) THEN
        RAISE EXCEPTION 'a candle is of an instrument that does not exist'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'candles_instrument_exists';
    END IF;
    RETURN NULL;
END $$
"""

# PostgreSQL has locked the row by then: whoever writes candles of it waits, or was waited for.
NO_CANDLES_LEFT = """
CREATE FUNCTION instruments_check_candles() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM candles WHERE instrument_id = OLD.id) THEN
        RAISE EXCEPTION 'instrument % has candles', OLD.id
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'candles_instrument_exists';
    END IF;
    RETURN OLD;
END $$
"""


def upgrade() -> None:
    op.drop_constraint("candles_instrument_id_fkey", "candles")
    op.execute(INSTRUMENTS_EXIST)
    op.execute(NO_CANDLES_LEFT)
    for event in ("INSERT", "UPDATE"):
        op.execute(
            f"CREATE TRIGGER instruments_exist_{event.lower()} AFTER {event} ON candles "
            "REFERENCING NEW TABLE AS written "
            "FOR EACH STATEMENT EXECUTE FUNCTION candles_check_instruments()"
        )
    # The key of an instrument is GENERATED ALWAYS and never updated; so only its deletion can break the rule.
    op.execute(
        "CREATE TRIGGER no_candles_left BEFORE DELETE ON instruments "
        "FOR EACH ROW EXECUTE FUNCTION instruments_check_candles()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER no_candles_left ON instruments")
    for event in ("insert", "update"):
        op.execute(f"DROP TRIGGER instruments_exist_{event} ON candles")
    op.execute("DROP FUNCTION instruments_check_candles()")
    op.execute("DROP FUNCTION candles_check_instruments()")
    op.create_foreign_key("candles_instrument_id_fkey", "candles", "instruments", ["instrument_id"], ["id"])
