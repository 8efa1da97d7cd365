# rejected by test_the_schedule_spends_the_cash_twice: B checks when A has paid
line = 6
schedule = "B4 A2"
