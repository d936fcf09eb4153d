from __future__ import annotations

import pickle
import re

import pytest

from kits_submit import errors
from kits_submit.errors import KitsError, LabelError, VolumeError, batch_exit_code


def kinds() -> list[type[KitsError]]:
    return KitsError.__subclasses__()


def test_each_kind_has_an_exit_code_of_its_own_that_the_table_states():
    table = {name: int(code) for code, name in re.findall(r"^\s+(\d+)  (\w+Error)", errors.__doc__, re.MULTILINE)}
    assert {kind.__name__: kind.exit_code for kind in kinds()} == table
    assert len(set(table.values())) == len(table)


def test_a_message_is_one_line_of_file_fault_and_remedy():
    error = VolumeError("the voxels\nend early", fix="get it\n again", path="case_00001/imaging.nii.gz")
    assert str(error) == "case_00001/imaging.nii.gz: the voxels end early; get it again"


def test_an_error_survives_the_way_between_processes():
    error = LabelError("7 is no label", fix="use 0, 1, 2", path="a.nii.gz")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (LabelError, str(error))


@pytest.mark.parametrize(("codes", "expected"), [([], 0), ([4, 4], 4), ([4, 6], 10), ([7], 7)])
def test_a_batch_exits_with_the_kind_that_its_failures_share(codes, expected):
    assert batch_exit_code(codes) == expected
