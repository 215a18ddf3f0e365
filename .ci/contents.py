#!/usr/bin/env python3
"""`contents.py DIST`: wheel and sdist have what they need and nothing else, and name one version everywhere"""
import re, sys, tarfile, zipfile
from configparser import ConfigParser
from pathlib import Path

most_bytes = 1_000_000 # of either file
root_files = {'CHANGELOG.md','CITATION.cff','LICENSE','MANIFEST.in','PKG-INFO','README.md',
              'pyproject.toml','settings.ini','setup.cfg','setup.py'}

def modules(): return {o.as_posix() for o in Path('memmap_ts').rglob('*.py')}|{'memmap_ts/py.typed'}

def differ(what, got, want):
    "What to say if names are not those that are wanted."
    return f"{what}: too many {sorted(got-want)}, missing {sorted(want-got)}" if got!=want else ''

def in_wheel(path):
    with zipfile.ZipFile(path) as z: names = {o for o in z.namelist() if '.dist-info/' not in o}
    return differ(path.name, names, modules())

def in_sdist(path):
    with tarfile.open(path) as tar: names = {o.name.partition('/')[2] for o in tar.getmembers() if o.isfile()}
    return differ(path.name, {o for o in names if '.egg-info/' not in o}, modules()|root_files)

def versions(path):
    "The version as each file has it"
    cfg = ConfigParser(delimiters=['='])
    cfg.read('settings.ini', encoding='utf-8')
    def found(fn, pattern):
        m = re.search(pattern, Path(fn).read_text(encoding='utf-8'), flags=re.M)
        return m[1] if m else 'none'
    return {'settings.ini': cfg['DEFAULT']['version'], path.name: path.name.split('-')[1],
            'memmap_ts/__init__.py': found('memmap_ts/__init__.py', r'^__version__ = "(.*)"'),
            'CITATION.cff': found('CITATION.cff', r'^version: (.*)$'),
            'CHANGELOG.md': found('CHANGELOG.md', r'^## (\d.*)$')}

def faults(wheel, sdist):
    yield in_wheel(wheel)
    yield in_sdist(sdist)
    if len(set(versions(wheel).values()))>1: yield f"versions differ: {versions(wheel)}"
    for path in (wheel,sdist):
        if path.stat().st_size>most_bytes: yield f"{path.name}: {path.stat().st_size:,} bytes"

if __name__=='__main__':
    (wheel,),(sdist,) = (list(Path(sys.argv[1]).glob(o)) for o in ('*.whl','*.tar.gz'))
    found = [o for o in faults(wheel, sdist) if o]
    print('\n'.join(found) or f"contents ok: {wheel.stat().st_size:,} and {sdist.stat().st_size:,} bytes")
    sys.exit(bool(found))
