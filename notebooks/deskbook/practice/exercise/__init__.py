"""What an exercise is can be known without running it; these modules read it.

definition.py   the folder of an exercise, read
answers.py      what counts as an answer: code, or fields such as a line or a schedule
cases.py        the answers that come with it, and what must become of each
form.py         what is missing in the folder, or stray
frame.py        the lines that an answer may not change
skeleton.py     the folder of a new exercise
"""
