# rejected by test_the_schedule_can_be_followed: A has no ninth step
line = 6
schedule = "A9 B2"
