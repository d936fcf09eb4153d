"""Bytes on disk <-> `Volume` and label maps on the canonical axes, whatever format or layout they came in.

In: folders and files. Out: cases by name, planes in Z, Y, X; masks on the image's exact grid, whole or not there.
Knows no network, no batch and no score.
"""
