"""Lesion rates from counts of lesions, of one case or of all. Knows numbers only."""

from __future__ import annotations

from collections.abc import Mapping


def lesion_rates(counts: Mapping[str, float]) -> dict[str, float | None]:
    """Sensitivity, precision, F1 (= RQ), SQ and PQ; None where there is nothing to divide by.

    - `truth`: true lesions. `found`: those that have a partner. `predicted`: predicted lesions; as many are `right` as
      are found. `iou`: the pairs' summed IoU.

    F1 = 2 TP / (2 TP + FP + FN) is the recognition quality RQ of Kirillov et al. (Panoptic Segmentation, CVPR 2019),
    SQ the mean IoU of the pairs and PQ = SQ RQ.

    Worked: 4 true, 3 found with IoUs 0.9, 0.8 and 0.7, 5 predicted: sensitivity 3 / 4, precision 3 / 5,
    F1 6 / 9 = 0.667, SQ 2.4 / 3 = 0.8, PQ 2 * 2.4 / 9 = 0.533.
    """
    truth, predicted, found = counts["truth"], counts["predicted"], counts["found"]
    both = truth + predicted
    return {
        "sensitivity": found / truth if truth else None,
        "precision": found / predicted if predicted else None,
        "f1": 2 * found / both if both else None,
        "sq": counts["iou"] / found if found else None,
        "pq": 2 * counts["iou"] / both if both else None,
    }
