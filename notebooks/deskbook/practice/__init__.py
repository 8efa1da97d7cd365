"""Exercises: the learner's answer runs in a warm worker process, and the page says what is right and wrong.

    exercise.py    what an exercise is and what its folder holds
    answers.py     what counts as an answer: code, or fields such as a line or a schedule
    client.py      hands an answer to the worker and takes back what happened
    worker.py      the warm process: one forked child a check, killed when its time is up
    child.py       the child: limits, the answer, pytest over `checks.py`
    verdict.py     from what happened to one of five states
    feedback.py    the states as HTML and as text
    progress.py    what the learner has done, in `my-work/.progress.json`
    magics.py      `%%exercise`, `%hint`, `%solution`, `%reset`, `%progress`
    commands.py    `deskbook exercise ...`, the same on files
    verify.py      the gate: an exercise is tested against right and wrong answers
    verify_all.py  the gate over many exercises, two at a time
    database.py    the database of one check
    blocked.py     for checks: whether somebody waits for a lock in it

All this protects from accidents: an endless loop, a fork, four gigabytes. It is no sandbox. An answer runs
with the rights of the learner and can do what any program of theirs can do, so never check the answers of
strangers with it.
"""
