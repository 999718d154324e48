"""How this command is started where it runs."""

import os
import shlex
import shutil
import sys

NAME = "tf-simclr"


def name():
    """For a shell: tf-simclr where that is what it finds, else the path of this Python's script, or the module where it has none."""
    script, found = os.path.join(os.path.dirname(sys.executable or ""), NAME), shutil.which(NAME)
    if not os.path.isabs(script) or not os.path.exists(script):
        return NAME if found or not sys.executable else f"{shlex.quote(sys.executable)} -m tf_simclr"
    if found and os.path.samefile(found, script):
        return NAME
    near = os.path.relpath(script)
    if os.sep not in near:  # a shell would look for it elsewhere
        near = os.path.join(os.curdir, near)
    return shlex.quote(script if near.startswith(os.pardir) else near)
