# rejected by test_the_schedule_spends_the_cash_twice: at the first await nothing has been checked yet
line = 3
schedule = "A B A3 B3"
