"The package's commands, as they are installed"
import shutil, subprocess, sysconfig

def command(name, *args):
    "The command `memmap_ts_{name}`, by its path, and its arguments"
    return [shutil.which(f'memmap_ts_{name}', path=sysconfig.get_path('scripts')), *map(str, args)]

def run(name, *args, timeout=900, **kwargs):
    "Run it; what it printed is text"
    return subprocess.run(command(name, *args), capture_output=True, text=True, timeout=timeout, **kwargs)
