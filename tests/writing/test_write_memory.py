"`to_memmap` takes bounded memory, however many rows there are"
import subprocess, sys, textwrap, numpy as np, pytest
from memmap_ts.store import create_memmap
from writers import need
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system

code = '''
    import os, sys, numpy as np
    from memmap_ts.testing import watch_memory
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

@pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells anonymous memory (RssAnon)')
@pytest.mark.parametrize('what', ['generator','memmap','zarr','h5py'])
def test_memory(what, tmp_path):
    shape = (10_000,50,512)
    if what=='memmap': create_memmap(tmp_path/'src.npy', shape)
    if what=='zarr': need('zarr').open(str(tmp_path/'z'), mode='w', shape=shape, dtype='f4', chunks=(64,50,512))
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

@pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells anonymous memory (RssAnon)')
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
