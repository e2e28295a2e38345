"""Within the measured installation: one thing done by the product's own code, in its own process.

`python -m benchmarks.inside VERB JSON` prints one JSON document. The harness itself never sees the
installation that it measures through Django.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    verbs = import_module("benchmarks.verbs").VERBS  # needs the models, which are ready only now
    print(json.dumps(verbs[sys.argv[1]](**json.loads(sys.argv[2]))))
