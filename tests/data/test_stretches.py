"The engine that reads windows: which pieces of a file they need, and odd choices of variables and steps"
import numpy as np, pytest
from numpy.testing import assert_array_equal as equal
from memmap_ts.data.series import Series, Stretch, as_steps
from memmap_ts.data.stretches import StretchReader

def reader(a, seq_first, vars, steps):
    stretch = Stretch(vars, steps)
    n = (len(a) if seq_first else a.shape[1])-max(steps)
    return StretchReader(Series(as_steps(a, seq_first)), stretch, lambda rows: rows.astype('int64'), (n,len(vars),len(steps)))

@pytest.mark.parametrize('shape,first,vars,steps,offsets,n_bytes', [
    ((1000,3), True, range(3), range(10), [0], 120),
    ((3,250_000), False, range(3), range(10), [0,10**6,2*10**6], 40),
    ((20,250_000), True, [0], [0,1], [0,10**6], 4)], ids=['steps first','vars first','steps far apart'])
def test_pieces(shape, first, vars, steps, offsets, n_bytes):
    "Values that are less than a page apart are one piece"
    r = reader(np.zeros(shape, 'f4'), first, vars, steps)
    equal(r.piece_offsets, offsets)
    assert r.piece_bytes==n_bytes and r.row_bytes==n_bytes*len(offsets)

@pytest.mark.parametrize('first', [True,False])
def test_odd_stretch(first, saved):
    "Unevenly spaced variables and steps, of files of both layouts"
    a,rows = np.arange(20_000).reshape(5000,4).astype('f4'),np.array([7,4899,0,8])
    odd = Stretch([3,0,2], [60,1,0])
    r = reader(np.load(saved(a if first else a.T.copy()), mmap_mode='r'), first, [3,0,2], [60,1,0])
    equal(r.read(rows), odd.pick(odd.view(a))[rows])
