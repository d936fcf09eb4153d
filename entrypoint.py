"""Container entry, nothing but wiring: `kits_submit.container` says what each call means.

entrypoint.py                      /input -> /output
entrypoint.py INPUT OUTPUT ...     the same with other folders and any option of `kits-submit run`
entrypoint.py predict|evaluate|doctor|rehearse ...
"""

from __future__ import annotations

from pathlib import Path

from kits_submit.cli import main


def arguments(given: list[str]) -> list[str]:
    """Of `kits-submit`, for the container's own."""
    from kits_submit.container import Mounts, kits_submit_arguments, set_model

    mounts = Mounts(baked_model=Path(__file__).resolve().parent / "models" / "kits.onnx")
    set_model(mounts)
    return kits_submit_arguments(given, mounts)


if __name__ == "__main__":
    main(translate=arguments)
