"Chunks of mapped files: read by calls, and what the process has mapped is not gone through for each"
import os, numpy as np, pytest
from memmap_ts.io import linux
from memmap_ts.io.system import system
from memmap_ts.store import open_memmap
from memmap_ts.write import MemmapWriter
from writers import X, rng, same, to

@pytest.fixture
def looks(monkeypatch):
    "The list of what is mapped, gone through so often"
    res,mappings = [],linux.mappings
    def counted(*args): return res.append(args) or mappings(*args)
    monkeypatch.setattr(linux, 'mappings', counted)
    return res

def saved(tmp_path, arrays):
    fns = [tmp_path/f's{i}.npy' for i in range(len(arrays))]
    for fn,a in zip(fns, arrays): np.save(fn, a)
    return fns

@pytest.mark.skipif(not isinstance(system, linux.Linux), reason='is about Linux')
@pytest.mark.parametrize('stack', [True,False])
@pytest.mark.parametrize('by_numpy', [True,False])
def test_many_files(tmp_path, looks, stack, by_numpy):
    fns = saved(tmp_path, X)
    src = [np.load(fn, mmap_mode='r') for fn in fns] if by_numpy else fns
    same(to(src, tmp_path, stack=stack), X if stack else np.concatenate(X))
    assert len(looks)==(len(X) if by_numpy else 0)

@pytest.mark.skipif(not isinstance(system, linux.Linux), reason='is about Linux')
@pytest.mark.parametrize('by_numpy', [True,False])
def test_many_chunks(tmp_path, looks, by_numpy):
    fn, = saved(tmp_path, [X])
    a = np.load(fn, mmap_mode='r') if by_numpy else open_memmap(fn)
    with MemmapWriter(tmp_path/'out.npy') as w:
        for i in range(len(a)): w.append(a[i:i+1])
    same(open_memmap(tmp_path/'out.npy'), X)
    assert len(looks)==by_numpy

views = {'rows': lambda a, i: a[i:i+5], 'one': lambda a, i: a[i], 'from row 50': lambda a, i: a[50:][i:i+5], 'each second': lambda a, i: a[i:i+9:2], 'backwards': lambda a, i: a[i:i+5][::-1],
         'bits': lambda a, i: a.view('i4')[i:i+5], 'flat': lambda a, i: a.reshape(-1)[7*i+3:7*i+24], 'steps': lambda a, i: a[i:i+5,:,2:5], 'turned': lambda a, i: a[i:i+5].swapaxes(1, 2),
         'vars as rows': lambda a, i: a.reshape(-1,1,7)[i:i+5], 'none': lambda a, i: a[i:i]}

@pytest.mark.parametrize('view', list(views))
def test_views(tmp_path, view):
    "Chunks of two files in turn"
    arrays = X,rng.normal(size=X.shape).astype('f4')
    mapped = [open_memmap(fn) for fn in saved(tmp_path, arrays)]
    want = []
    with MemmapWriter(tmp_path/'out.npy') as w:
        for i in range(40):
            k = i//3%2
            w.append(views[view](mapped[k], i))
            want.append(views[view](arrays[k], i))
    same(open_memmap(tmp_path/'out.npy'), np.concatenate(want))

def test_source_that_changes(tmp_path):
    "A chunk has what its file has when it is appended; one of a file that was cut is an error"
    fn, = saved(tmp_path, [X])
    a,to_write = open_memmap(fn),open_memmap(fn, 'r+')
    with MemmapWriter(tmp_path/'out.npy') as w:
        w.append(a[:5])
        to_write[7] = 7
        w.append(a[5:10])
        del to_write
        if isinstance(system, linux.Linux):
            os.truncate(fn, 1000)
            with pytest.raises(OSError, match='s0.npy was truncated while it was read'): w.append(a[50:51])
    got = open_memmap(tmp_path/'out.npy')
    assert len(got)==10 and (got[7]==7).all()

@pytest.mark.skipif(not isinstance(system, linux.Linux), reason='is about Linux')
@pytest.mark.parametrize('by_numpy', [True,False])
def test_source_with_another_name(tmp_path, by_numpy):
    "Rows are those of the file that was mapped, whatever has its name by now"
    fn,new = saved(tmp_path, [X,X+1])
    a = np.load(fn, mmap_mode='r') if by_numpy else open_memmap(fn)
    os.rename(new, fn)
    with pytest.warns(RuntimeWarning, match='is another file now'): same(to(a, tmp_path), X)
