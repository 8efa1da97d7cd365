"""Give an executed notebook the one form in which it is committed.

Two runs with the same outputs give the same bytes: no time stamps, no versions, no paths of a machine.
"""

from __future__ import annotations

import re
import site
import sys
import sysconfig
from pathlib import Path
from typing import Any

from deskbook.authoring.sanitize import sanitize

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE_INFO = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}

#: The metadata that a committed notebook and its cells may carry; everything else is a front end's state.
NOTEBOOK_METADATA = ("deskbook",)
CELL_METADATA = ("deskbook", "tags", "slideshow", "jupyter", "editable", "deletable")

#: What a terminal is told to colour; a reader does not see it.
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
_TEXT_TYPES = ("text/", "image/svg+xml")


def normalise(notebook: Any) -> None:
    """Bring notebook, cells and outputs into the committed form, in place."""
    metadata = {key: notebook["metadata"][key] for key in NOTEBOOK_METADATA if key in notebook["metadata"]}
    notebook["metadata"] = metadata | {"kernelspec": KERNELSPEC, "language_info": LANGUAGE_INFO}
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    for cell in notebook["cells"]:
        kept = {key: cell["metadata"][key] for key in CELL_METADATA if cell["metadata"].get(key)}
        cell["metadata"] = kept
        if cell["cell_type"] == "code":
            cell["outputs"] = merge_streams([normalise_output(output) for output in cell["outputs"]])


def normalise_output(output: Any) -> dict[str, Any]:
    """Return the output without paths of this machine and without colours in tracebacks."""
    kind = output["output_type"]
    if kind == "stream":
        return {"output_type": kind, "name": output["name"], "text": sanitize(output["text"])}
    if kind == "error":
        tidied = sanitize(without_machine_paths(COLOURS.sub("", "\n".join(output["traceback"]))))
        return {
            "output_type": kind,
            "ename": output["ename"],
            "evalue": sanitize(output["evalue"]),
            "traceback": _ADDRESS.sub("0x...", tidied).split("\n"),
        }
    data = {
        mime: sanitize(value) if mime.startswith(_TEXT_TYPES) else value
        for mime, value in output["data"].items()
    }
    result = {"output_type": kind, "data": data, "metadata": dict(output.get("metadata", {}))}
    if kind == "execute_result":
        result["execution_count"] = output["execution_count"]
    return result


def merge_streams(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join neighbouring pieces of a stream; where a kernel cuts them depends on timing.

    Within a run of stream pieces stdout comes first, because the two arrive in no fixed order.
    """
    merged: list[dict[str, Any]] = []
    run: dict[str, str] = {}
    for output in [*outputs, {"output_type": "end"}]:
        if output["output_type"] == "stream":
            run[output["name"]] = run.get(output["name"], "") + output["text"]
            continue
        for name in sorted(run, key=lambda stream: stream != "stdout"):
            merged.append({"output_type": "stream", "name": name, "text": run[name]})
        run = {}
        merged.append(output)
    return merged[:-1]


def without_machine_paths(text: str) -> str:
    """Shorten the paths of installed packages, the standard library, this repository and the home folder."""
    folders = [(folder, "site-packages") for folder in site.getsitepackages()]
    folders += [
        (sysconfig.get_path("stdlib"), "lib/python"),
        (sys.prefix, "env"),
        (sys.base_prefix, "python"),
    ]
    folders += [(str(Path(__file__).parents[3]), "."), (str(Path.cwd()), "."), (str(Path.home()), "~")]
    for folder, replacement in sorted(folders, key=lambda pair: -len(pair[0])):
        text = text.replace(f"{folder}/", f"{replacement}/")
    return text
