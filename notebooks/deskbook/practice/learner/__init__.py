"""What the learner meets.

submission.py     hand in an answer
verdict.py        from what happened to one of five states
page.py           a page that says the same as HTML and as text
verdict_page.py   the page about an answer
help_pages.py     the pages of `hint`, `solution` and `progress`
progress.py       what the learner has done, in `my-work/.progress.json`
magics.py         `%%exercise`, `%hint`, `%solution`, `%reset`, `%progress`
"""
