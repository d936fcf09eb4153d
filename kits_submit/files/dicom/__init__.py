"""A PACS export <-> series on grids, and masks as DICOM objects.

In: folders, zips and DICOMDIRs of DICOM files under any names. Out: series told apart by their UIDs, planes streamed as
`kits_submit.files.nifti` streams them; DICOM Segmentations on the source's slices, read back as labels.
Knows no network, no batch and no case; pydicom and highdicom are imported inside functions (extra `dicom`).
"""
