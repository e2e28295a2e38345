"""What fault tests would miss: the line that defends the product, and how to switch it off.

`mutations.py` proves it on a copy: with the line switched off, the named test turns red. A test
keeps it true: every text stands exactly once in its file, and every fault test has a defence here
or a reason in `undefended`. Not every defence of the product is here.
"""

from __future__ import annotations

from typing import Final

from tests.faults.defences_of_cycles import OF_CYCLES
from tests.faults.defences_of_ends import OF_ENDS
from tests.faults.defences_of_lessons import OF_LESSONS
from tests.faults.defences_of_time import OF_TIME
from tests.faults.defences_of_work import OF_WORK

DEFENCES: Final = (*OF_WORK, *OF_ENDS, *OF_CYCLES, *OF_TIME, *OF_LESSONS)
