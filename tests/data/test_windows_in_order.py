"What of a series an epoch of windows wants read in order"
import os, numpy as np, pytest
from memmap_ts.all import *
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system
from memmap_ts.testing import evict

pytestmark = pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells what is in memory')
rng = np.random.default_rng(0)

def part(reader, rows, batch):
    "The part of the file that `reader` wants read in order for an epoch of `rows`, `batch` of them together"
    return reader.epoch(len(rows), rng.choice(rows, 256), batch).sweep_part

@pytest.mark.parametrize('length,stride,want', [(200,1,True), (2000,1,True), (2000,None,False)])
def test_windows(saved, length, stride, want):
    "Large windows that overlap want each part of the file many times; X and y of one series are read by one engine"
    fn = saved(rng.normal(size=(50_000,16)).astype('f4'))
    X,y = [o.reader() for o in windows(fn, length, stride, horizon=5)]
    evict(fn)
    every = np.arange(X.n_rows)
    found = part(X, every, rng.choice(every, 64))
    assert bool(found)==want
    if want: assert found.residency is part(y, every, rng.choice(every, 64)).residency

def test_windows_of_one_part(saved):
    "Those of the first part of the series; and what is in memory counts where the windows are"
    fn = saved(rng.normal(size=(50_000,16)).astype('f4'))
    X = windows(fn, 200, 1)[0].reader()
    evict(fn)
    found = part(X, np.arange(30_000), rng.choice(30_000, 64))
    assert found.first_byte<64*2000 and 28_000*64<found.n_bytes<=30_200*64
    evict(fn) # asking brings pages there
    with open(fn, 'rb', 0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        f.read(30_300*64)
    for rows,want in ((np.arange(30_000),True), (np.arange(35_000,49_000),False)):
        assert X.epoch(X.n_rows, rows).only_copies==want

@pytest.mark.parametrize('vars,want', [(None,400), ([200,201,202],3), ([100,300],None)],
    ids=['all','some','two far apart'])
def test_windows_of_variables(saved, vars, want):
    "Variables that lie far apart are not worth all that lies between"
    fn = saved(rng.normal(size=(400,20_000)).astype('f4'))
    X = windows(fn, 100, 1, get_x=vars, seq_first=False)[0].reader()
    evict(fn)
    every = np.arange(X.n_rows)
    found = part(X, every, rng.choice(every, 64))
    if want is None: assert found is None
    else:
        assert (want-1)*80_000<found.n_bytes<=want*80_000
        assert found.first_byte//80_000==(vars[0] if vars else 0)
