"""Daily candles of instruments are read, made into weeks and months, imported and exported here."""
