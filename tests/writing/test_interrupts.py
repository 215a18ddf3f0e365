"""
Interrupted anywhere, and killed at random moments: the old files or the new ones, nothing locked, nothing left.

All of it, for about an hour: `MEMMAP_TS_LONG=1 pytest tests/writing/test_interrupts.py`
"""
import json, subprocess, sys, pytest
from pathlib import Path
from harness import long_or
from writers import posix

def interrupted(*args):
    "What was found by a process of `interrupted.py`"
    script = Path(__file__).with_name('interrupted.py')
    r = subprocess.run([sys.executable, script, *map(str, args)], capture_output=True, text=True)
    assert r.returncode==0 and 'FAULT' not in r.stdout, r.stdout+r.stderr
    return json.loads(r.stdout.splitlines()[-1])

def test_interrupted_everywhere(tmp_path):
    "A Ctrl-C at each place where CPython looks for one (in short: at a few dozens of them)"
    found = interrupted(tmp_path, 'everywhere', 5, long_or(397, 1))
    assert found['runs']>20 and found.get('not interrupted', 0)<.2*found['runs']
    assert found.get('told of an open writer', 0)<=2+.005*found['runs'] # two instructions

def test_interrupted_with_samples_of_any_length(tmp_path):
    "The same, of two files with different numbers of rows"
    found = interrupted(tmp_path, 'everywhere', 7, long_or(997, 1), 'ragged')
    assert found['runs']>12 and found.get('not interrupted', 0)<.2*found['runs']

@posix
@pytest.mark.parametrize('seed', range(long_or(1, 20)))
def test_interrupted_sometime(seed, tmp_path):
    "A signal at a random moment: while the system is at work, too"
    found = interrupted(tmp_path, 'sometime', seed, long_or(30, 600))
    assert found.get('not interrupted', 0)<.9*found['runs']
