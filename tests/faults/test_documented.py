"""docs/odd-inputs.md lists every odd input that a test holds, and nothing that none does."""

from __future__ import annotations

import re

from tests.conftest import ROOT
from tests.export import test_adopt
from tests.faults import test_cases, test_losses, test_models, test_warnings

DICOM = "tests/files/dicom/test_reading.py"
Row = tuple[str, str, str, str]  # kind, input, what happens, the test

CASES, LOSSES, MODELS, WARNINGS = (
    f"tests/faults/test_{name}.py" for name in ("cases", "losses", "models", "warnings")
)  # fmt: skip
RUNS, RESUME, FILES, VOLUME, META, LAYOUTS, SCORING, MATCHING, GEOMETRY = (
    "tests/faults/test_runs.py", "tests/faults/test_resume.py", "tests/files/test_cases.py",
    "tests/files/test_volume.py", "tests/files/test_metaimage.py", "tests/files/test_layouts.py",
    "tests/evaluation/test_cli.py", "tests/evaluation/masks/test_matching.py",
    "tests/evaluation/masks/test_geometry.py",
)  # fmt: skip

BY_HAND: list[Row] = [
    ("file", "a gzip cut at any byte", "fails alone (4): damaged", f"{VOLUME}::test_a_gzip_cut_anywhere"),
    ("file", "one flipped bit", "fails alone (4): damaged", f"{VOLUME}::test_one_flipped_bit"),
    ("file", "2,000 mutated files (`make fuzz`: 20,000)", "each segmented or told in one line",
     "tests/faults/test_mutations.py::test_mutated_files_are_segmented_or_told"),
    ("DICOM", "200 exports with a mutated file: image, Segmentation, Structure Set (`make fuzz`: 2,000)",
     "each read or told in one line", "tests/faults/test_mutated_dicom.py::test_a_mutated_export_is_read_or_told"),
    ("DICOM", "a file whose header cannot be read", "counted and named in a note",
     f"{DICOM}::test_a_file_of_a_damaged_header_is_counted_and_named"),
    ("DICOM", "a slice missing", "fails alone (5): how many are missing and where",
     f"{DICOM}::test_missing_slice_is_told"),
    ("DICOM", "an instance twice; two at one place", "counts once; fails alone (5)",
     f"{DICOM}::test_doubled_file_is_one_slice_and_doubled_place_is_refused"),
    ("DICOM", "a file cut off in the middle of a series", "fails alone (4) with the slice's place and number",
     f"{DICOM}::test_truncated_file_in_the_middle"),
    ("DICOM", "MR, one slice, a localiser, an encapsulated PDF, mixed sizes or directions, no pixel data",
     "refused or left out in one line", f"{DICOM}::test_what_is_no_volume_is_told_in_one_line"),
    ("DICOM", "a private transfer syntax", "fails alone (4)", f"{DICOM}::test_private_transfer_syntax"),
    ("DICOM", "a transfer syntax without a decoder here", "fails alone (4) with what to install",
     f"{DICOM}::test_missing_decoder_says_what_to_install"),
    ("process", "200 mutated run.json, scores.json for `report` (`make fuzz`: 2,000)", "a page, or refused in one line",
     "tests/faults/test_mutated_dicom.py::test_a_page_of_mutated_records_is_made_or_refused"),
    ("file", "big-endian, NIfTI-2, trailing axes of length one", "read and written in the same form",
     f"{VOLUME}::test_nifti_2_and_trailing_axes_keep_their_form"),
    ("file", "an .mha of a header over 64 KiB", "read", f"{WARNINGS}::test_a_long_header_is_read"),
    ("file", "a big-endian .mha", "read", f"{META}::test_a_big_endian_file_is_read"),
    ("header", "vox_offset that cannot be", "fails alone (4)", f"{VOLUME}::test_an_impossible_offset_is_told"),
    ("header", "text that may name a patient", "never copied to the mask",
     f"{META}::test_no_text_of_the_image_reaches_the_mask"),
    ("header", "scl_slope and scl_inter", "applied", f"{VOLUME}::test_slope_and_intercept_are_applied"),
    ("geometry", "any of 48 orientations", "the mask on the input's exact grid",
     f"{VOLUME}::test_any_orientation_is_turned_to_ipl_and_back"),
    ("geometry", "sheared axes", "a voxel's volume is the determinant of its affine",
     f"{WARNINGS}::test_a_voxels_volume_is_the_determinant"),
    ("geometry", "axes over 15 degrees from the patient's", "the network is given it upright, the mask is brought back",
     "tests/inference/test_oblique.py::test_a_phantom_on_oblique_grids_scores_as_its_straight_twin"),
    ("geometry", "a label map on another grid than its image", "the label map is told (5), the mask stands",
     f"{CASES}::test_each_fault_is_told_by_one_line_and_its_code"),
    ("geometry", "a prediction on another grid than the truth", "told with its probable cause (5)",
     f"{GEOMETRY}::test_a_mismatch_says_what_probably_happened"),
    ("intensity", "stored +1024, `--hu-offset -1024`", "the mask of the HU",
     f"{WARNINGS}::test_an_offset_makes_hu_of_stored_values"),
    ("intensity", "real scans cropped, windowed to -79..304, clipped to -125..275", "no note",
     f"{WARNINGS}::test_no_real_scan_trips_however_it_is_cut_and_each_of_them_does_out_of_hu"),
    ("intensity", "phantoms", "no note", f"{WARNINGS}::test_no_phantom_trips"),
    ("intensity", "a mask without a kidney", "a note of the case, and all such cases named last",
     f"{WARNINGS}::test_cases_without_a_kidney_are_named_last"),
    ("name", "an image called as its mask would be", "refused before anything is written (9)",
     f"{LOSSES}::test_no_input_is_written_over"),
    ("name", "a link in OUTPUT to an image, under its mask's name", "refused (9)",
     f"{LOSSES}::test_no_input_is_written_over"),
    ("name", "`1234567890.nii.gz` beside `case_1234567890.nii.gz`", "refused: one mask file (3)",
     f"{LOSSES}::test_two_cases_of_one_mask_are_refused_before_anything_is_computed"),
    ("name", "a name too long for its mask's", "fails alone (9) before anything is computed",
     f"{LOSSES}::test_a_name_too_long_for_its_mask_fails_alone_and_the_longest_does_not"),
    ("name", "bytes that no encoding knows", "segmented; shown as an escape",
     f"{LOSSES}::test_undecodable_bytes_in_a_name"),
    ("name", "`case_1` and `case_00001`", "refused (3), with both folders",
     f"{LAYOUTS}::test_two_of_one_case_are_named_with_their_folders"),
    ("name", "scan_0000, scan_0001, scan_0002", "three cases",
     f"{LAYOUTS}::test_a_numbered_series_is_no_set_of_channels"),
    ("name", "case_00001_seg, -label, _mask, nnU-Net's _0001, beside their image", "no cases, named in a note",
     f"{LOSSES}::test_what_belongs_to_an_image_is_no_case"),
    ("folder", "no case", "refused (3), with what is expected", f"{RUNS}::test_no_case"),
    ("folder", "cases nested deeper", "refused (3), with where images are",
     f"{LAYOUTS}::test_images_that_lie_deeper_are_named"),
    ("folder", "several folders under Grand Challenge's `images`", "refused (3), with their names",
     f"{LAYOUTS}::test_several_folders_of_a_challenge_are_named"),
    ("folder", ".nrrd, .mhd, .hdr, a file called as a case folder, a folder called .nii.gz, a link to nowhere",
     "counted and named in a note", f"{LOSSES}::test_what_is_taken_for_no_case_is_counted_and_named"),
    ("folder", ".Trash, ._case_00002", "never looked at",
     f"{LOSSES}::test_hidden_folders_and_the_outputs_own_are_no_cases"),
    ("folder", "OUTPUT inside INPUT, a second time", "no case",
     f"{LOSSES}::test_hidden_folders_and_the_outputs_own_are_no_cases"),
    ("folder", "OUTPUT holds an earlier run's mask of a case that fails now", "the mask goes",
     f"{LOSSES}::test_no_mask_of_an_earlier_run_stands_for_a_case_that_fails"),
    ("folder", "OUTPUT holds a mask that no run wrote, of a case that fails", "it stays",
     f"{LOSSES}::test_a_mask_that_no_run_of_ours_wrote_is_not_removed"),
    ("folder", "OUTPUT holds somebody's scores.csv, scores.json, run.json, predictions.zip", "refused (9)",
     f"{LOSSES}::test_a_file_of_somebody_elses_is_never_replaced"),
    ("folder", "OUTPUT holds a scores.csv that this run would not write", "it stays",
     f"{LOSSES}::test_scores_that_a_run_did_not_write_stay"),
    ("folder", 'INPUT or OUTPUT is ""', "usage error (2)", f"{LOSSES}::test_an_empty_argument_is_no_folder"),
    ("folder", "OUTPUT is read-only", "refused (9)", f"{RUNS}::test_a_read_only_output"),
    ("folder", "OUTPUT's disk is full", "the case fails alone (9), no half file", f"{RUNS}::test_a_full_disk"),
    ("folder", "half-written files of a killed run", "they go", f"{LOSSES}::test_what_a_killed_run_left_beside_goes"),
    ("folder", "predictions and labels the same folder", "refused (3)",
     f"{MATCHING}::test_folders_that_cannot_be_matched"),
    ("folder", "a zip with broken entries", "those cases fail alone",
     f"{MATCHING}::test_entries_that_cannot_be_unpacked_fail_alone"),
    ("process", "SIGTERM, SIGKILL in the middle", "143, 137; run again, what was done is kept",
     f"{RESUME}::test_a_stopped_batch_is_resumed_where_it_stopped"),
    ("process", "a run.json that is none of ours, or damaged", "the cases are done again",
     f"{RESUME}::test_a_manifest_that_is_not_ours_is_no_ledger"),
    ("process", "another run into the same folder", "refused (9)",
     f"{RUNS}::test_a_second_run_into_the_same_folder_is_refused"),
    ("process", "`ulimit -v` below what a case needs", "the case fails alone (11) before anything is computed",
     f"{RUNS}::test_a_case_that_memory_cannot_hold_is_told_before_anything_is_computed"),
    ("process", "no memory to load the model", "11",
     f"{MODELS}::test_no_memory_for_the_model_is_no_fault_of_the_model"),
    ("process", "thousands of cases that fail at once", "recorded in linear time",
     f"{LOSSES}::test_a_thousand_cases_are_recorded_in_linear_time"),
    ("process", "one CPU of several, by affinity or quota", "as many threads",
     "tests/machine/test_processors.py::test_a_v2_quota"),
    ("process", "a terminal of 40, 60, 80 columns", "the least important columns are left off",
     "tests/report/test_tables.py::test_a_narrow_terminal_drops_the_least_important_columns"),
    ("process", "`--device cuda` without a GPU", "8", f"{RUNS}::test_cuda_without_a_gpu"),
]  # fmt: skip


def rows() -> list[Row]:
    one_line = f"{CASES}::test_each_fault_is_told_by_one_line_and_its_code"
    found = [
        ("file", name, f"fails alone ({code}): {told}", one_line) for name, (_, code, told) in test_cases.FAULTY.items()
    ]
    unusual = f"{CASES}::test_each_unusual_case_is_segmented_on_its_own_grid"
    found += [("file", name, "segmented on its own grid", unusual) for name in test_cases.UNUSUAL]
    odd = f"{WARNINGS}::test_what_is_odd_is_said_and_recorded"
    found += [("note", name, f"segmented, with a note: {told}", odd) for name, (_, told) in test_warnings.NOTED.items()]
    none = f"{WARNINGS}::test_what_is_no_volume_is_told_what_it_is"
    found += [("file", name, f"fails alone (4): {told}", none) for name, (_, told) in test_warnings.REFUSED.items()]
    model = f"{MODELS}::test_a_model_of_another_kind"
    found += [("model", name, f"refused (7): {told}", model) for name, (_, told) in test_models.WRONG.items()]
    adopt = "tests/export/test_adopt.py::test_what_cannot_be_adopted_is_told_by_name_with_code_7"
    found += [("adopt", name, f"refused (7): {told}", adopt) for name, (_, told) in test_adopt.BAD.items()]
    option = f"{MODELS}::test_a_wrong_option_is_a_usage_error"
    found += [("option", " ".join(words), f"2: {told}", option) for words, told in test_models.OPTIONS.items()]
    reads = f"{LOSSES}::test_every_case_is_done_whoever_reads"
    found += [("process", f"`{how}`", "every case is done", reads) for how in test_losses.STREAMS]
    named = f"{LOSSES}::test_a_name_is_told_and_never_interpreted"
    found += [("name", ascii(name), "shown, never interpreted", named) for name in test_losses.NAMES]
    lacks = f"{LOSSES}::test_an_entry_that_lacks_something_is_done_again"
    found += [("process", f"an entry of run.json: {entry}", "done again", lacks) for entry in test_losses.ENTRIES]
    return found + BY_HAND


def lines() -> list[str]:
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows()]


def test_the_documents_table_has_each_odd_input():
    held = (ROOT / "docs" / "odd-inputs.md").read_text().splitlines()
    assert [line for line in held if line.startswith("| ")][1:] == lines()
    assert len(lines()) >= 150


def test_each_test_that_it_names_is_there():
    for _, _, _, test in rows():
        path, name = test.split("::")
        assert re.search(rf"^ *def {name}\(", (ROOT / path).read_text(), re.MULTILINE), test
