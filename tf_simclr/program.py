"""How this command is started where it runs."""

import os
import pathlib
import shlex
import shutil
import sys

NAME = "tf-simclr"


def name():
    """For a shell: tf-simclr where that is what it finds, else the script's path, or the module where there is no script."""
    script, found = pathlib.Path(sys.executable).with_name(NAME), shutil.which(NAME)
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m tf_simclr"
    if found and os.path.samefile(found, script):
        return NAME
    near = os.path.relpath(script)
    return shlex.quote(str(script) if near.startswith(os.pardir) else near)
