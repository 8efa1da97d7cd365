"""Write, run and check the notebooks of the course.

The `.ipynb` file is the only source. It is committed executed by a clean headless run, never saved from
a browser. With NB for `notebooks/11_keep_the_event_loop_free.ipynb`:

    deskbook notebook new NB       # a lesson with the whole grammar, that runs and breaks no rule
    deskbook notebook edit NB      # writes the text of NB to ....myst.md beside it, for your editor
    deskbook notebook sync NB      # brings the text back, re-runs every cell, cleans
    deskbook notebook run NB       # fresh kernel, outputs stored, counts 1 to n
    deskbook notebook lint NB      # the rules; `--explain RULE` says why a rule exists and what to do
    deskbook notebook mutate NB    # would the comparison see a changed output?
    deskbook notebook repeat NB    # ten fresh runs, some with every core busy: how many are green?
    pytest notebooks --notebooks   # strict nbval over all lessons, as `make test` runs it

`edit` starts a new lesson as well: for a notebook that does not exist, its text holds the whole grammar.

What a lesson needs (the linter says which part is missing):

* The first code cell starts with `%load_ext deskbook`. It turns on the checks of `deskbook.authoring.hook`
  in every kernel, the learner's too: a cell that leaves a task pending, or loses its failure, fails.
* Metadata of the notebook, key `deskbook`: `{"minutes": 40, "part": "1 Async", "goals": [three strings],
  "needs": ["postgres"], "topics": ["event loop"], "patterns": ["loop_lag"], "exercises": ["11_unblock"]}`.
* Metadata of a cell, key `deskbook`, where they help the person who teaches:
  `{"minutes": 5, "note": {"ask": "...", "demo": "...", "expect": "...", "if_it_breaks": "..."}}`.
  Where any cell states minutes, they add up to the minutes of the lesson.
* The minutes that it states are those that `deskbook.authoring.reading_time` computes, within a sixth.
* At most 100 cells, a question before each picture, and in its limits a table of MVP, growth, enterprise.
* A cell that fails on purpose carries the cell tag `raises-exception`: JupyterLab's "Run All" goes on, and
  nbclient and nbval expect the failure. With the comment NBVAL_RAISES_EXCEPTION "Run All" would stop there.
* An output that cannot be compared carries the line `# NBVAL_IGNORE_OUTPUT` and, on the next line,
  `# reason: ...`. nbval only knows the marker when it is alone on its line.
* A rule that a cell breaks on purpose is allowed in the metadata of that cell, with the reason:
  `{"deskbook": {"allow": {"dropped-task": "shown before it is fixed"}}}`. An allowance that nothing needs
  any more is an error itself.
* A task that outlives its cell on purpose is created inside
  `deskbook.authoring.hook.long_lived("who ends it")`.
"""
