"""Run the code on the page that the first argument names, in a folder of its own."""

import os
import sys
import tempfile

from tests.pages import run
from tests.processes import ROOT

if __name__ == "__main__":
    page = ROOT / sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run(page)
