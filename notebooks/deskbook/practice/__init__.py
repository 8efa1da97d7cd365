"""Exercises: the learner's answer runs in a warm worker process, and the page says what is right and wrong.

    exercise/       what an exercise is: its folder, what counts as an answer, the answers that come with it
    checking/       the processes: a client hands an answer to the worker, which forks a child for each check
    learner/        what the learner meets: the verdict and its page, hints, progress, the magics
    for_checks.py   what a `checks.py` may use: fixtures, and a wait for locks
    gate.py         every exercise is tested against right and wrong answers
    commands.py     `deskbook exercise ...`, the same on files

Checking imports what an exercise is, the learner's side imports both, and the gate stands on all of them.

All this protects from accidents: an endless loop, a fork, four gigabytes. It is no sandbox. An answer runs
with the rights of the learner and can do what any program of theirs can do, so never check the answers of
strangers with it.
"""
