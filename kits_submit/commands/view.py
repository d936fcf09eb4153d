"""`kits-submit view`: one case at full resolution, in the browser."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from kits_submit.errors import InputError, OutputError


def view_command(
    case: Annotated[Path, typer.Argument(metavar="CASE", help="An image, or a case's folder.")],
    masks: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[MASK]...", help="A prediction, the label to hold it against, and others."),
    ] = None,
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the address in a browser, where there is one.")] = True,
) -> None:
    """Look at one case at full resolution: a viewer in the browser, served to this machine alone until Ctrl-C.

    The label beside the image is shown where no other is given.
    """
    from kits_submit.console import say
    from kits_submit.files.cases import find_cases
    from kits_submit.labels import KITS23
    from kits_submit.report.viewer.server import LocalServer
    from kits_submit.report.viewer.viewing import viewer_contents

    found = find_cases(case)
    if len(found) != 1:
        raise InputError(f"{len(found)} cases", fix="give one of them", path=case)
    (chosen,) = found
    if chosen.image is None:
        raise InputError("no image in it", fix="give a folder with an imaging.nii.gz", path=case)
    shown = list(masks or ())
    if len(shown) < 2 and chosen.label is not None:
        shown.append(chosen.label)
    contents = viewer_contents(chosen.case_id, chosen.image, shown, KITS23)
    try:
        server = LocalServer(contents, port)
    except OSError as error:
        raise OutputError(f"port {port}: {error.strerror}", fix="give another --port, or 0 for any") from None
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say(f"view: {server.address} (Ctrl-C ends it)")
    if browser:
        _open(server.address)
    ended.wait()
    server.shutdown()


def _open(address: str) -> None:
    """Where there is a browser; the address has been printed."""
    import webbrowser

    try:
        webbrowser.get()
    except webbrowser.Error:
        return
    webbrowser.open(address)
