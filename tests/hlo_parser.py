"""XLA's own parser must read ribosome's HLO text as the very module that ribosome's protocol messages hold.

    python tests/hlo_parser.py NAME.hlo.pb ...      reads NAME.hlo.txt beside each

The text goes through XLA's parser and the bytes through XLA's loader; both modules are then printed by XLA's own
printer, which must give the same lines. Needs jaxlib (0.10.2 is what this was written with); no device, no plugin.
Exit status: 0 all the same, 4 a difference, which is shown.
"""

import difflib
import re
import sys

from jaxlib import _hlo


def options():
    """Everything a module can show, under the names it has."""
    shown = _hlo.HloPrintOptions()
    shown.print_large_constants = True
    shown.print_metadata = True
    shown.print_backend_config = True
    shown.print_extra_attributes = True
    shown.print_control_dependencies = True
    shown.canonicalize_computations = True  # their order is no part of the program
    return shown


def lines(module):
    """The module in XLA's words, without source positions, which ribosome's text leaves out on purpose."""
    text = module.to_string(options())
    text = re.sub(r"(?ms)^FileNames$.*?(?=^%|^ENTRY)", "", text)
    text = re.sub(r" ?stack_frame_id=\d+", "", text)
    text = re.sub(r" ?(source_end_line|source_column|source_end_column)=\d+", "", text)
    return text.replace(", metadata={}", "").splitlines()


def check(path):
    """Prints the first differences between the two forms of one module; says whether they are the same."""
    stem = path.removesuffix(".pb")
    with open(path, "rb") as file:
        loaded = _hlo.HloModule.from_serialized_hlo_module_proto(file.read())
    with open(stem + ".txt", encoding="utf-8") as file:
        text = file.read()
    try:
        parsed = _hlo.hlo_module_from_text(text)
    except Exception as error:  # jaxlib's own error type has moved between versions
        print(f"{stem}.txt: XLA's parser refuses it\n{error}")
        return False
    difference = list(
        difflib.unified_diff(lines(loaded), lines(parsed), path, stem + ".txt", lineterm="", n=0)
    )
    for line in difference[:40]:
        print(line[:2000])
    count = sum(1 for line in text.splitlines() if " = " in line)
    print(f"{stem}: {count} instructions, {'DIFFERENT' if difference else 'the same'}")
    return not difference


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(0 if all([check(path) for path in sys.argv[1:]]) else 4)
