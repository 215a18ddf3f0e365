"The package's commands, as they are installed"
import os, shutil, subprocess, sys, sysconfig
import forked
from contextlib import suppress

def command(name, *args):
    "The command `memmap_ts_{name}`, by its path, and its arguments"
    return [shutil.which(f'memmap_ts_{name}', path=sysconfig.get_path('scripts')), *map(str, args)]

_as_python_begins = """
import runpy, warnings
warnings.resetwarnings()
for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
    warnings.simplefilter('ignore', kind)
"""

def run(name, *args, cwd=None):
    "Run it in a process that has imported the package; what it printed is text"
    script,*args = command(name, *args)
    return forked.run(f'{_as_python_begins}runpy.run_path({script!r}, run_name="__main__")', *args, cwd=cwd)

def run_new(name, *args, timeout=900, **kwargs):
    "Run it as a shell does, in a process that knows nothing: this takes seconds"
    return subprocess.run(command(name, *args), capture_output=True, text=True, timeout=timeout, **kwargs)

def _after(code, line):
    "A command line that runs some Python before it runs the script"
    run_it = 'import runpy, sys\ndel sys.argv[0]\nrunpy.run_path(sys.argv[0], run_name="__main__")'
    return [sys.executable, '-W', 'ignore', '-c', f'{code}\n{run_it}', *line]

def run_in_terminal(name, *args, before=None):
    "Run it, after the code `before`, in a terminal of 100 columns: its exit status, and all that it printed"
    line = command(name, *args)
    if before: line = _after(before, line)
    ours,its = os.openpty()
    p = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=its, stderr=its, env={**os.environ, 'COLUMNS':'100'})
    os.close(its)
    out = b''
    with suppress(OSError): # Linux says so where it ends
        while more := os.read(ours, 2**16): out += more
    os.close(ours)
    return p.wait(),out.decode().replace('\r\n', '\n')
