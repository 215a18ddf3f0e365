"The package's commands, as they are installed"
import os, shutil, subprocess, sysconfig
from contextlib import suppress

def command(name, *args):
    "The command `memmap_ts_{name}`, by its path, and its arguments"
    return [shutil.which(f'memmap_ts_{name}', path=sysconfig.get_path('scripts')), *map(str, args)]

def run(name, *args, timeout=900, **kwargs):
    "Run it; what it printed is text"
    return subprocess.run(command(name, *args), capture_output=True, text=True, timeout=timeout, **kwargs)

def run_in_terminal(name, *args):
    "Run it in a terminal of 100 columns: its exit status, and all that it printed"
    ours,its = os.openpty()
    p = subprocess.Popen(command(name, *args), stdin=subprocess.DEVNULL, stdout=its, stderr=its, env={**os.environ, 'COLUMNS':'100'})
    os.close(its)
    out = b''
    with suppress(OSError): # Linux says so where it ends
        while more := os.read(ours, 2**16): out += more
    os.close(ours)
    return p.wait(),out.decode().replace('\r\n', '\n')
