# rejected by test_the_schedule_spends_the_cash_twice: at the last await everything is done
line = 8
schedule = "A3 B2 A"
