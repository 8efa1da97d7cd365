"""`deskbook lab`: the lessons in JupyterLab, on copies that are the learner's, services running."""
