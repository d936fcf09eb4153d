"""What a run is looked at by: a PNG a case and the report's page, made of its masks before the run is concluded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.tables.table import as_document
from kits_submit.batch.ledger import Ledger
from kits_submit.commands.report import report_of
from kits_submit.console import say
from kits_submit.engine.model import Model
from kits_submit.errors import KitsError
from kits_submit.report.page.build import CaseFiles
from kits_submit.report.page.making import command_line
from kits_submit.report.pictures import write_picture
from kits_submit.report.scene import Scene, read_scene

if TYPE_CHECKING:
    from evaluation.report import Report


@dataclass(frozen=True)
class Views:
    """Draws into `output`.

    - `images`, `truths`: by case; `hu_offset`: added to each value of the images, as the run did.
    """

    output: Path
    model: Model
    images: Mapping[str, Path | None]
    truths: Mapping[str, Path]
    hu_offset: float = 0.0

    def draw(self, ledger: Ledger, masks: Mapping[str, Path]) -> None:
        """One picture a mask, `CASE.png`; a picture that fails is told and costs nothing else."""
        for case, mask in masks.items():
            try:
                scene = read_scene(
                    case, self.images[case], mask, self.truths.get(case), labels=self.model.recipe.labels,
                    hu_offset=self.hu_offset,
                )  # fmt: skip
            except KitsError as error:
                say(f"note: no picture of {case}: {error}")
            else:
                self._picture(ledger, scene)

    def report(self, ledger: Ledger, masks: Mapping[str, Path], scores: Report | None, *, pictures: bool) -> Path:
        """Write `report.html`, and with it the pictures if asked for, so that a case is read once; the page's path.

        Raises:
            OutputError: the page cannot be written.
        """
        files = [CaseFiles(r.case, masks.get(r.case), self.images[r.case], self.truths.get(r.case))
                 for r in ledger.results]  # fmt: skip
        return report_of(
            self.output, self.output / "report.html", ledger.document(None), files, labels=self.model.recipe.labels,
            scores=None if scores is None else as_document(scores), model=self.model.path, command=command_line(),
            on_scene=(lambda scene: self._picture(ledger, scene)) if pictures else None,
        ).out  # fmt: skip

    def _picture(self, ledger: Ledger, scene: Scene) -> None:
        path = self.output / f"{scene.case}.png"
        try:
            write_picture(path, scene)
        except KitsError as error:
            say(f"note: no picture of {scene.case}: {error}")
        else:
            ledger.drew(scene.case, path.name)
