"""`python -m deskbook.lab.jupyterlab_process`: JupyterLab, without the second that one import costs it."""

from deskbook.authoring.quick_start import skip_slow_import

skip_slow_import()

from jupyterlab.labapp import main  # noqa: E402 - after the imports that must not happen

if __name__ == "__main__":
    main()
