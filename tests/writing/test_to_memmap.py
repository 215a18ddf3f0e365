"`to_memmap` makes the same file of every source of rows"
import numpy as np, pandas as pd, pytest, torch
from fastcore.foundation import L
from memmap_ts.data.source import Source
from memmap_ts.store import open_memmap
from memmap_ts.windows import windows
from memmap_ts.write import to_memmap
from writers import X, labels, names, need, same, to

def saved(tmp_path, a, name='src.npy'):
    np.save(tmp_path/name, a)
    return tmp_path/name

def zarr_array(a, chunks, **kw):
    zarr = need('zarr')
    if not hasattr(zarr, 'create_array'): # zarr 2, the last one for Python 3.10
        if kw: pytest.skip('zarr 2 has no shards')
        return zarr.array(a, chunks=chunks)
    z = zarr.create_array(zarr.storage.MemoryStore(), shape=a.shape, dtype=a.dtype, chunks=chunks, **kw)
    z[:] = a
    return z

def h5_array(tmp_path, a, **kw): return need('h5py').File(tmp_path/'a.h5', 'w').create_dataset('a', data=a, **kw)

sources = {
    'numpy': lambda d: X, 'fortran': lambda d: np.asfortranarray(X), 'view': lambda d: np.repeat(X, 2, 0)[::2], 'memmap': lambda d: open_memmap(saved(d, X)),
    'fortran memmap': lambda d: open_memmap(saved(d, np.asfortranarray(X))), 'path': lambda d: saved(d, X), 'str': lambda d: str(saved(d, X)),
    'torch': lambda d: torch.from_numpy(X), 'torch with grad': lambda d: torch.from_numpy(X).requires_grad_(), 'torch view': lambda d: torch.from_numpy(X.swapaxes(1,2).copy()).transpose(1,2),
    'zarr': lambda d: zarr_array(X, (10,2,7)), 'zarr shards': lambda d: zarr_array(X, (5,3,7), shards=(20,3,7)), 'h5py': lambda d: h5_array(d, X), 'h5py chunks': lambda d: h5_array(d, X, chunks=(9,3,7), compression='gzip'),
    'generator': lambda d: (X[i:i+10] for i in range(0,103,10)), 'list': lambda d: [X[:50],X[50:]], 'map': lambda d: map(torch.from_numpy, [X[:1],X[1:]]),
    'files': lambda d: [saved(d, X[:40], 'a.npy'), saved(d, np.asfortranarray(X[40:]), 'b.npy')], 'empty file': lambda d: [saved(d, X[:0], 'a.npy'), saved(d, X, 'b.npy')],
    'dask': lambda d: need('dask.array').from_array(X, (10,2,4)), 'dask rows': lambda d: need('dask.array').from_array(X, (10,-1,-1)), 'dask columns': lambda d: need('dask.array').from_array(X, (-1,-1,3)),
}

@pytest.mark.parametrize('chunk_rows', [None,1,10,1000])
@pytest.mark.parametrize('name', list(sources))
def test_source(name, chunk_rows, tmp_path): same(to(sources[name](tmp_path), tmp_path, chunk_rows=chunk_rows), X)

@pytest.mark.parametrize('name', list(sources))
def test_dtype(name, tmp_path): same(to(sources[name](tmp_path), tmp_path, dtype='f2'), X.astype('f2'))

@pytest.mark.parametrize('name', ['numpy','h5py','dask','generator'])
def test_does_not_fit(name, tmp_path):
    with pytest.raises(ValueError, match='does not fit'): to(sources[name](tmp_path), tmp_path, dtype='i1')
    assert not list(tmp_path.glob('out*'))
    same(to(sources[name](tmp_path), tmp_path, dtype='i1', casting='unsafe'), X.astype('i1'))

@pytest.mark.parametrize('wrap', [lambda a: a, list, lambda a: a.astype(object), lambda a: pd.Series(a), lambda a: [a[:1],a[1:]], lambda a: a.astype('T')], ids='array list object series chunks stringdtype'.split())
def test_labels(wrap, tmp_path): same(to(wrap(labels) if wrap is not list else [list(labels)], tmp_path), labels)

def test_zarr_strings(tmp_path):
    zarr = need('zarr')
    if not hasattr(zarr, 'create_array'): pytest.skip('zarr 2 has strings of one length only, which are as in NumPy')
    z = zarr.create_array(zarr.storage.MemoryStore(), shape=(103,), dtype=str, chunks=(7,))
    z[:] = labels
    same(to(z, tmp_path, chunk_rows=7), labels)

def test_grid(tmp_path):
    "No chunk of a store is read twice"
    class Counted:
        def __init__(self, z): self.z,self.shape,self.dtype,self.chunks,self.seen = z,z.shape,z.dtype,z.chunks,[]
        def __getitem__(self, s): self.seen.append(s); return self.z[s]
    z = Counted(zarr_array(np.zeros((1000,10_000), 'f4'), (300,10_000)))
    to(z, tmp_path)
    assert [(s.start,s.stop) for s in z.seen]==[(0,600),(600,1200)]

class Polars:
    "Has a shape, no dtype, and iterates over columns"
    shape,columns = (2,3),['a','b','c']
    def __getitem__(self, i): return np.ones(2)
    def __iter__(self): return iter([np.ones(2)]*3)

def test_frames_of_others(tmp_path):
    for kw in ({}, dict(sample_col='a')):
        with pytest.raises(TypeError, match=r'Polars.*to_pandas\(\)'): to(Polars(), tmp_path, **kw)
    assert names(tmp_path)==[]

class Lazy:
    "An array that says how much of it was read at once"
    def __init__(self, a): self.a,self.shape,self.dtype,self.read = a,a.shape,a.dtype,[]
    def __getitem__(self, i): self.read.append(len(self.a[i])); return self.a[i]
    def __array__(self, *args, **kw): return self[:]

@pytest.mark.parametrize('wrap', [list, iter, L, tuple])
def test_lazy_arrays_in_a_list(wrap, tmp_path):
    arrays = [Lazy(X[:50]), Lazy(X[50:])]
    np.testing.assert_array_equal(to(wrap(arrays), tmp_path, chunk_rows=20), X)
    assert [a.read for a in arrays]==[[20,20,10],[20,20,13]]

@pytest.mark.parametrize('wrap', [tuple, iter, L])
@pytest.mark.parametrize('kind', ['npy','csv'])
def test_paths(wrap, kind, tmp_path):
    fns = [tmp_path/f'{i}.{kind}' for i in range(2)]
    for i,f in enumerate(fns):
        if kind=='npy': np.save(f, np.full((2,1,1), i))
        else: pd.DataFrame(dict(a=[i,i])).to_csv(f, index=False)
    assert to(wrap(fns), tmp_path).ravel().tolist()==[0,0,1,1]

def test_windows(tmp_path):
    W,y = windows(np.arange(60.).reshape(30,2), 4, 3, horizon=1)
    for src,want in ((W,W[np.arange(len(W))]), ([W,W],np.concatenate([W[np.arange(len(W))]]*2)), (y,y[np.arange(len(y))])):
        for rows in (None,4): np.testing.assert_array_equal(to(src, tmp_path, chunk_rows=rows, overwrite=True), want)

def test_series_of_pandas(tmp_path):
    "Rows are taken by position, whatever the index"
    s = pd.Series([1.,2.,3.,4.], index=[-1.,5.,6.,1e10])
    assert to_memmap(s, tmp_path/'a.npy').tolist()==to_memmap([s], tmp_path/'b.npy').tolist()==[1,2,3,4]

class Squares(Source):
    "Rows computed on the fly"
    shape,dtype = (30,2,4),np.dtype('int32')
    def row(self, i): return np.full((2,4), i*i, 'int32')

@pytest.mark.parametrize('chunk_rows', [None,7])
def test_a_source_of_its_own(chunk_rows, tmp_path):
    same(to(Squares(), tmp_path, chunk_rows=chunk_rows), np.stack([Squares().row(i) for i in range(30)]))
    same(to([Squares(),Squares()], tmp_path, 'two.npy', chunk_rows=chunk_rows), np.stack([Squares().row(i) for i in range(30)]*2))
