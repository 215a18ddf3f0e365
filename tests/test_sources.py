"`to_memmap` makes the same file of every source of rows, in bounded memory"
import subprocess, sys, textwrap, numpy as np, pandas as pd, pytest, torch
from tsai.data.preparation import df2xy
from memmap_ts.store import create_memmap, on_disk, open_memmap
from memmap_ts.write import to_memmap

rng = np.random.default_rng(0)
X = rng.normal(size=(103,3,7)).astype('float32')
labels = np.array(['cat','dog','caterpillar'])[np.arange(103)%3]
def need(name): return pytest.importorskip(name, reason=f'{name} is optional, and not installed')

def to(src, tmp_path, name='out.npy', **kw): return to_memmap(src, tmp_path/name, progress=False, **kw)
def same(got, a):
    a = np.asarray(a)
    assert on_disk(got) and got.mode=='r' and got.dtype==a.dtype
    np.testing.assert_array_equal(got, a)

def saved(tmp_path, a, name='src.npy'):
    np.save(tmp_path/name, a)
    return tmp_path/name

def zarr_array(a, chunks, **kw):
    zarr = need('zarr')
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

# ---- dask

@pytest.mark.parametrize('scheduler', ['threads','processes','synchronous'])
def test_dask_schedulers(scheduler, tmp_path):
    da,dask = need('dask.array'),need('dask')
    x = da.from_array(X, (20,-1,3))*2
    with dask.config.set(scheduler=scheduler): same(to(x, tmp_path), X*2)

def test_dask_distributed(tmp_path):
    da,distributed = need('dask.array'),need('distributed')
    def where(block): # which process made it
        import os; return np.full_like(block, os.getpid(), dtype='i8')
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, distributed.Client(cluster):
        same(to(da.from_array(X, (10,-1,-1))+1, tmp_path), X+1)
        pids = to(da.from_array(X, (1,-1,-1)).map_blocks(where, dtype='i8'), tmp_path, 'pids.npy')
        with pytest.raises(ValueError, match='does not fit'): to(da.from_array(X, (10,-1,-1)), tmp_path, 'no.npy', dtype='i1')
    import os
    assert os.getpid() not in pids and len(set(pids[:,0,0]))==2
    assert sorted(p.name for p in tmp_path.iterdir())==['out.npy','pids.npy']

def test_dask_unknown_rows(tmp_path):
    da = need('dask.array')
    x = da.from_array(X, (10,-1,-1))
    x = x[x[:,0,0]>0]
    with pytest.raises(ValueError, match='compute_chunk_sizes'): to(x, tmp_path)
    same(to(x.compute_chunk_sizes(), tmp_path), X[X[:,0,0]>0])
    with pytest.raises(TypeError, match='object'): to(da.from_array(np.array([None]*3), 3), tmp_path, 'o.npy')
    with pytest.raises(ValueError, match='does not fit'): to(da.from_array(labels, 10).map_blocks(lambda b: b, dtype='<U3'), tmp_path, 'o.npy')
    assert sorted(p.name for p in tmp_path.iterdir())==['out.npy']

# ---- tables

n,steps = 41,6
def long_steps(): return pd.DataFrame({'id':np.repeat(np.arange(n)*3, steps), 't':np.tile(np.arange(steps), n), 'a':rng.normal(size=n*steps), 'b':rng.integers(0,9,n*steps), 'y':np.repeat(labels[:n], steps), 'z':np.repeat(rng.normal(size=n), steps)})
def long_feats(): return pd.DataFrame(rng.normal(size=(n*3,steps)), columns=[f's{i}' for i in range(steps)]).assign(id=np.repeat([f'id{i:03}' for i in range(n)], 3), var=['u','v','w']*n, y=np.repeat(np.arange(n), 3))
first = lambda o: o[:,:1]
tables = {
    'wide': (lambda: pd.DataFrame(rng.normal(size=(n,9))).rename(columns=str).assign(y=labels[:n]), dict(target_col='y')),
    'wide, columns': (lambda: pd.DataFrame(rng.normal(size=(n,9))).rename(columns=str).assign(y=1.5, z=2.), dict(data_cols=['3','1'], target_col=['y','z'])),
    'wide, id': (lambda: pd.DataFrame(rng.normal(size=(n,9))).rename(columns=str).assign(id=np.arange(n), y=labels[:n]), dict(sample_col='id', target_col='y')),
    'steps': (long_steps, dict(sample_col='id', data_cols=['a','b'], target_col='y', steps_in_rows=True, sort_by='t', y_func=first)),
    'steps, one': (long_steps, dict(sample_col='id', data_cols=['a'], target_col=['z'], steps_in_rows=True, y_func=first)),
    'steps, y of each': (long_steps, dict(sample_col='id', data_cols=['a'], target_col='b', steps_in_rows=True)),
    'steps, several y': (long_steps, dict(sample_col='id', data_cols=['a'], target_col=['z','b'], steps_in_rows=True, y_func=lambda o: o[:,-1:])),
    'steps, several y of all rows': (long_steps, dict(sample_col='id', data_cols=['a'], target_col=['z','b'], steps_in_rows=True, y_func=lambda o: o)),
    'feats': (long_feats, dict(sample_col='id', feat_col='var', target_col='y', y_func=first)),
    'feats, columns': (long_feats, dict(sample_col='id', feat_col='var', data_cols=['s1','s2'], target_col='y', y_func=lambda o: o.mean(1, keepdims=True))),
    'flat': (long_steps, dict(sample_col='id', data_cols=['a'], target_col='z', sort_by=['t'], y_func=first)),
    'no y': (long_steps, dict(sample_col='id', data_cols=['b','a'], steps_in_rows=True)),
}

@pytest.mark.parametrize('kind', ['frame','shuffled','csv','parquet','frames','csvs'])
@pytest.mark.parametrize('name', list(tables))
@pytest.mark.parametrize('chunk_rows', [None,7])
def test_table(name, kind, chunk_rows, tmp_path):
    make,kw = tables[name]
    df = make()
    want_X,want_y = df2xy(df.copy(), **kw)
    src,before = df,df.copy()
    if kind=='shuffled':
        if 'sample_col' not in kw: pytest.skip('without samples the order is that of the rows')
        if 'sort_by' not in kw and 'feat_col' not in kw and name!='wide, id': pytest.skip('nothing says how the steps are ordered')
        src = df.sample(frac=1, random_state=0); before = src.copy()
    if kind=='csv': df.to_csv(src := tmp_path/'t.csv', index=False)
    if kind=='parquet': need('pyarrow'); df.to_parquet(src := tmp_path/'t.parquet', index=False)
    if kind=='frames': src = (df[i:i+10] for i in range(0, len(df), 10))
    if kind=='csvs': df[:25].to_csv(tmp_path/'1.csv', index=False); df[25:].to_csv(tmp_path/'2.csv', index=False); src = [tmp_path/'1.csv',tmp_path/'2.csv']
    if want_y is None: got_X = to(src, tmp_path, chunk_rows=chunk_rows, **kw)
    else:
        got_X,got_y = to(src, tmp_path, chunk_rows=chunk_rows, y_fn=tmp_path/'y.npy', **kw)
        same(got_y, want_y.astype(str) if want_y.dtype==object or want_y.dtype.kind not in 'fiu' else want_y)
    assert got_X.shape==want_X.shape
    (np.testing.assert_allclose if 'csv' in kind else np.testing.assert_array_equal)(got_X, want_X)
    if kind in ('frame','shuffled'): pd.testing.assert_frame_equal(src, before) # `df2xy` would have sorted it in place

@pytest.mark.parametrize('kind', ['frame','csv'])
@pytest.mark.parametrize('form', ['steps','feats','flat'])
def test_several_targets(form, kind, tmp_path):
    "One row of targets a sample, where tsai has one of (columns × rows)"
    df = long_feats() if form=='feats' else long_steps()
    z = np.random.default_rng(1).normal(size=n); z[3] = np.nan
    df = df.assign(z=np.repeat(z, len(df)//n), w=np.repeat(np.arange(n)%5, len(df)//n))
    kw = dict(steps=dict(data_cols=['a','b'], steps_in_rows=True), feats=dict(data_cols=['s1','s2'], feat_col='var'), flat=dict(data_cols=['a']))[form]
    if kind=='csv': df.to_csv(tmp_path/'t.csv', index=False)
    src = tmp_path/'t.csv' if kind=='csv' else df
    want_X,all_y = df2xy(df.copy(), 'id', target_col=['z','w'], **kw)
    assert all_y.shape==(n, 2*len(df)//n) # what we do not make
    got_X,got_y = to(src, tmp_path, y_fn=tmp_path/'y.npy', chunk_rows=10, sample_col='id', target_col=['z','w'], **kw)
    np.testing.assert_allclose(got_X, want_X); np.testing.assert_allclose(got_y, np.stack([z,np.arange(n)%5], 1))
    df.loc[len(df)//n-1,'w'] = 9
    if kind=='csv': df.to_csv(src, index=False)
    with pytest.raises(ValueError, match=r"'w' changes within a sample \(0, 9, …\).*y_func"): to(src, tmp_path, 'bad.npy', y_fn=tmp_path/'bad_y.npy', chunk_rows=10, sample_col='id', target_col=['z','w'], **kw)
    assert not list(tmp_path.glob('bad*'))

@pytest.mark.parametrize('kind', ['frame','csv'])
def test_sort_by_is_not_data(kind, tmp_path):
    "tsai makes a variable of it; here only if it is asked to"
    df = long_steps()[['id','t','a','b']].groupby('id', sort=False).sample(frac=1, random_state=0)
    want = df2xy(df.copy(), 'id', data_cols=['a','b'], steps_in_rows=True, sort_by='t')[0]
    if kind=='csv': df.to_csv(tmp_path/'t.csv', index=False)
    src,kw = tmp_path/'t.csv' if kind=='csv' else df, dict(sample_col='id', steps_in_rows=True, sort_by='t')
    np.testing.assert_allclose(to(src, tmp_path, '1.npy', **kw), want)
    theirs = df2xy(df.copy(), **kw)[0]; assert theirs.shape[1]==3
    np.testing.assert_allclose(to(src, tmp_path, '2.npy', data_cols=['t','a','b'], **kw), theirs)
    wide = pd.DataFrame({'when':[3,1,2], 's0':[30.,10.,20.], 's1':[31.,11.,21.]})
    assert to(wide, tmp_path, '3.npy', sort_by='when').tolist()==[[[10,11]],[[20,21]],[[30,31]]]

def test_descending(tmp_path):
    "tsai gives y in the other order than X here; these belong together"
    df = long_steps()
    X1,y1 = to(df, tmp_path, y_fn=tmp_path/'y.npy', sample_col='id', data_cols=['a'], target_col='y', steps_in_rows=True, y_func=first, ascending=False)
    assert X1[0,0].tolist()==df['a'][-steps:].tolist() and y1.tolist()==df['y'][::-steps].tolist()

def test_bad_tables(tmp_path):
    df = long_steps()
    def fails(src, say, **kw):
        with pytest.raises(ValueError, match=say): to(src, tmp_path, sample_col='id', steps_in_rows=True, data_cols=['a'], **kw)
        assert not list(tmp_path.glob('out*'))
    fails(df[:-1], 'sample 120 has 5 rows, others have 6')
    fails(df[:-1], 'sample 120 has 5 rows, others have 6', chunk_rows=7)
    fails(df.assign(id=np.nan), 'missing values')
    df.sample(frac=1, random_state=0).to_csv(tmp_path/'t.csv', index=False)
    fails(tmp_path/'t.csv', 'sort the file', chunk_rows=10)
    feats = long_feats()
    feats.loc[4,'var'] = 'u'
    with pytest.raises(ValueError, match="rows for each of"): to(feats, tmp_path, sample_col='id', feat_col='var', data_cols=['s1'])
    (tmp_path/'n.csv').write_text('\n'.join(['a', *map(str, range(100)), '0.5']))
    with pytest.raises(ValueError, match='pass another dtype'): to(tmp_path/'n.csv', tmp_path, chunk_rows=50)
    assert to(tmp_path/'n.csv', tmp_path, chunk_rows=50, dtype='f8')[-1,0,0]==.5

# ---- memory

code = '''
    import os, sys, numpy as np
    from memmap_ts.bench.reading import watch_memory
    from memmap_ts.write import to_memmap
    what,d = sys.argv[1:]
    block = np.random.default_rng(0).standard_normal((100,50,512)).astype('f4')
    n = 1_000_000_000//block.nbytes
    def generator():
        for i in range(n): yield block
    def source():
        if what=='generator': return generator()
        if what=='memmap': return np.load(d+'/src.npy', mmap_mode='r')
        if what=='zarr': import zarr; return zarr.open_array(d+'/z')
        if what=='h5py': import h5py; return h5py.File(d+'/z.h5')['a']
        return f'{d}/t.{what}' # a table
    kw = dict(sample_col='id', target_col='y', steps_in_rows=True, y_func=lambda o: o[:,:1], y_fn=d+'/y.npy', overwrite=True) if what in ('csv','parquet') else {}
    if kw: to_memmap(f'{d}/small.{what}', d+'/small.npy', progress=False, **kw)
    to_memmap([block], d+'/warm.npy', progress=False) # what is loaded once, whatever the data
    source()
    def write():
        global a
        a = to_memmap(source(), d+'/out.npy', dtype='f8' if what=='memmap' else None, progress=False, **kw)
    print(watch_memory(write, .005)[1], sum(o.nbytes for o in a) if kw else a.nbytes)
'''

@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux tells anonymous memory (RssAnon)')
@pytest.mark.parametrize('what', ['generator','memmap','zarr','h5py'])
def test_memory(what, tmp_path):
    shape = (10_000,50,512)
    if what=='memmap': create_memmap(tmp_path/'src.npy', shape)
    if what=='zarr': need('zarr').create_array(tmp_path/'z', shape=shape, dtype='f4', chunks=(64,50,512))
    if what=='h5py':
        with need('h5py').File(tmp_path/'z.h5', 'w') as f: f.create_dataset('a', shape, 'f4', chunks=(64,50,512))
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code), what, tmp_path], capture_output=True, text=True, timeout=300)
    for f in tmp_path.iterdir():
        if f.is_file(): f.unlink()
    assert r.returncode==0, r.stderr
    peak,size = map(int, r.stdout.split())
    assert size>=9e8 and peak<=150e6, f'{peak/1e6:.0f} MB for {size/1e9:.1f} GB'

def table(kind, fn, samples):
    "A table of samples of 50 steps, 6.4 kB each as float64; parquet in one row group"
    if kind=='csv':
        rows = ''.join(f'@,{t},{",".join(f"{(t*15+k)%977/7:.5f}" for k in range(15))},label\n' for t in range(50))
        with open(fn, 'w') as f:
            f.write(f'id,t,{",".join(f"v{k}" for k in range(15))},y\n')
            for i in range(samples): f.write(rows.replace('@', str(i)))
        return
    import pyarrow as pa, pyarrow.parquet as pq
    i = np.arange(samples*50)
    cols = {'id':i//50, 't':i%50, **{f'v{k}':(i*7919+k)%100_003/7 for k in range(15)}, 'y':np.full(len(i), 'label')}
    pq.write_table(pa.table(cols), fn, row_group_size=len(i))

@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux tells anonymous memory (RssAnon)')
@pytest.mark.parametrize('kind', ['csv','parquet'])
def test_table_memory(kind, tmp_path):
    if kind=='parquet': need('pyarrow')
    for name,samples in (('small',500),('t',35_000)): table(kind, tmp_path/f'{name}.{kind}', samples)
    assert kind=='parquet' or (tmp_path/'t.csv').stat().st_size>=200e6
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code), kind, tmp_path], capture_output=True, text=True, timeout=300)
    for f in tmp_path.iterdir(): f.unlink()
    assert r.returncode==0, r.stderr
    peak,size = map(int, r.stdout.split())
    assert size>=220e6 and peak<=200e6, f'{peak/1e6:.0f} MB for {size/1e6:.0f} MB'

@pytest.mark.parametrize('kind', ['frame','csv'])
def test_large_integers_stay(kind, tmp_path):
    "Columns of several types are not made float32 on the way"
    df = pd.DataFrame(dict(a=[16777217,3], b=[True,False], c=[.1,.2]))
    if kind=='csv': df.to_csv(tmp_path/'t.csv', index=False)
    got = to(df if kind=='frame' else tmp_path/'t.csv', tmp_path, dtype='f8')
    assert got.ravel().tolist()==[16777217,1,.1, 3,0,.2]
    nullable = pd.DataFrame(dict(a=pd.array([16777217,3], 'Int64'), b=pd.array([1,2], 'Int64')))
    assert to(nullable, tmp_path, 'n.npy', dtype='int64').ravel().tolist()==[16777217,1,3,2]
    words = pd.DataFrame(dict(a=['1.5','2'], b=[1,2]))
    assert to(words, tmp_path, 'w.npy').ravel().tolist()==[1.5,1,2,2]
    with pytest.raises(ValueError): to(words.replace('2', 'two'), tmp_path, 'x.npy')

@pytest.mark.parametrize('rows', [4,6,12])
def test_same_variables_in_all_parts(rows, tmp_path):
    d = pd.DataFrame(dict(id=np.repeat(np.arange(6),2), f=['a','b']*3+['a','c']*3, x=np.arange(12.)))
    with pytest.raises(ValueError, match='not every sample has rows for each of'): to(d, tmp_path, chunk_rows=rows, sample_col='id', feat_col='f')

def test_categories_and_descending_variables(tmp_path):
    d = pd.DataFrame(dict(id=np.repeat(np.arange(6),2), f=['z','a']*6, x=np.arange(12.)))
    want = d.x.to_numpy().reshape(6,2,1)
    same(to(d.assign(id=d.id.astype('category')), tmp_path, 'a.npy', chunk_rows=4, sample_col='id', feat_col='f', data_cols='x'), want[:,::-1])
    same(to(d.assign(f=pd.Categorical(d.f, ['z','a'])), tmp_path, 'b.npy', chunk_rows=4, sample_col='id', feat_col='f', data_cols='x'), want)
    same(to(d, tmp_path, 'c.npy', chunk_rows=4, sample_col='id', feat_col='f', data_cols='x', ascending=False), want[::-1])
    same(to(d.sample(frac=1, random_state=0).assign(t=d.index), tmp_path, 'd.npy', sample_col='id', sort_by=['id','f'], data_cols='x')[:,0], want[:,::-1,0])
