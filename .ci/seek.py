#!/usr/bin/env python3
"""Writes small files of every type to a folder with pyarrow, for TestSeekFiles, which
opens each file at every row: SEEK_FILES=DIR go test ./cmd/cpcds2fhir -run TestSeekFiles"""
import os
import subprocess
import sys

sys.dont_write_bytecode = True
import formats

installation = formats.Installation()
python, _ = installation.interpreter("main")
if python is None:
    sys.exit("pyarrow cannot be installed: " + installation.failed["main"])
os.makedirs(sys.argv[1], exist_ok=True)
subprocess.run([*python, os.path.join(formats.HERE, "formats", "write_seek.py"), sys.argv[1]], check=True)
