"What is read is never what is replaced"
import os, numpy as np, pandas as pd, pytest
from memmap_ts.cli.convert import convert
from memmap_ts.collect import open_memmaps, ragged
from memmap_ts.ragged import to_ragged
from memmap_ts.store import open_memmap
from memmap_ts.windows import windows
from memmap_ts.write import to_memmap
from writers import X, need, to

is_read = pytest.raises(ValueError, match="is read.*can't be the destination.*Choose another name")

@pytest.fixture
def there(tmp_path, monkeypatch):
    "Files to read, which are as they were at the end, with nothing beside them"
    monkeypatch.chdir(tmp_path)
    np.save('X.npy', X)
    np.save('Y.npy', X)
    pd.DataFrame(dict(a=[1.,2.], label=['u','v'])).to_csv('t.csv', index=False)
    before = {f.name:f.read_bytes() for f in tmp_path.iterdir()}
    yield tmp_path
    assert {f.name:f.read_bytes() for f in tmp_path.iterdir()}==before

sources = {
    'path': lambda: 'X.npy', 'absolute': lambda: os.path.abspath('X.npy'), 'mapped': lambda: open_memmap('X.npy'), 'view': lambda: open_memmap('X.npy')[3:9,:,::2],
    'paths': lambda: ['Y.npy','X.npy'], 'tuple': lambda: ('Y.npy','X.npy'), 'generator of paths': lambda: (f for f in ('Y.npy','X.npy')), 'arrays': lambda: [X,open_memmap('X.npy')],
    'generator': lambda: (open_memmap('X.npy')[i:i+10] for i in range(0, 103, 10)), 'many files': lambda: open_memmaps(['Y.npy','X.npy']),
    'windows': lambda: windows(open_memmap('X.npy')[:,0], 4),
}

@pytest.mark.parametrize('fn', ['X.npy','./X.npy'])
@pytest.mark.parametrize('name', list(sources))
def test_arrays(name, fn, there):
    with is_read: to_memmap(sources[name](), fn, overwrite=True, stack=False if 'path' in name or name=='tuple' else None, progress=False)

def test_windows_of_many_files(tmp_path):
    for i in range(2): np.save(tmp_path/f'{i}.npy', X[:,0])
    with is_read: to(windows(open_memmaps(f'{tmp_path}/?.npy'), 4), tmp_path, '1.npy', overwrite=True)
    np.testing.assert_array_equal(np.load(tmp_path/'1.npy'), X[:,0])

@pytest.mark.parametrize('src', ['t.csv',['t.csv'],'generator'])
@pytest.mark.parametrize('fn,kw', [('t.csv',{}), ('z.npy',dict(y_fn='t.csv', target_col='label')), ('t.csv',dict(y_fn='z.npy', target_col='label'))])
def test_tables(src, fn, kw, there):
    if src=='generator': src = iter(['t.csv'])
    with is_read: to_memmap(src, fn, overwrite=True, progress=False, **kw)

def test_series(there):
    with is_read: to_memmap('t.csv', 'z.npy', groups_fn='t.csv', overwrite=True, progress=False, sample_col='label', sort_by='a')

@pytest.mark.skipif(os.name=='nt', reason='links need rights on Windows')
@pytest.mark.parametrize('link', [os.link,os.symlink])
def test_links(link, tmp_path):
    np.save(tmp_path/'X.npy', X)
    link(tmp_path/'X.npy', tmp_path/'link.npy')
    for src,fn in (('X.npy','link.npy'), ('link.npy','X.npy')):
        with is_read: to(tmp_path/src, tmp_path, fn, overwrite=True)
    np.testing.assert_array_equal(np.load(tmp_path/'X.npy'), X)

@pytest.mark.parametrize('samples', [['t.csv'],'t*.csv','[Xt].*','ragged'])
@pytest.mark.parametrize('fns', [('X.npy','t.csv'),('t.csv','X.npy')])
def test_ragged(samples, fns, there):
    if samples=='[Xt].*': samples = ['X.npy','t.csv']
    if samples=='ragged': samples = ragged(open_memmap('X.npy').reshape(-1), [2000,163])
    with is_read: to_ragged(samples, *fns, overwrite=True, progress=False)

def test_hdf5(tmp_path):
    with need('h5py').File(tmp_path/'X.npy', 'w') as f:
        f['a'] = X
        with is_read: to(f['a'], tmp_path, 'X.npy', overwrite=True)

@pytest.mark.skipif(os.name=='nt', reason='links need rights on Windows')
def test_command(there):
    for src,kw in (('X.npy',{}), ('?.npy',dict(join=True))):
        with pytest.raises(SystemExit) as e: convert(src, 'X.npy', overwrite=True, **kw)
        assert 'X.npy' in str(e.value) and ('destination' in str(e.value) or 'itself' in str(e.value))
    os.symlink('t.csv', 'l.npy')
    with pytest.raises(SystemExit, match="destination"): convert('t.csv', 'Z.npy', y='l.npy', target='label', overwrite=True)
    os.remove('l.npy')

def test_what_is_made_of_something_else(tmp_path):
    "Labels are no paths, and what is in RAM is nowhere"
    np.save(tmp_path/'X.npy', X)
    assert to([['X.npy','b']], tmp_path, 'X.npy', overwrite=True).tolist()==['X.npy','b']
    df = pd.DataFrame(dict(files=[1.,2.], file=[1.,2.], base=[1.,2.]))
    for src in (X, df, [df], iter([X[:4]]), iter([df])): assert len(to(src, tmp_path, 'X.npy', overwrite=True))==len(np.load(tmp_path/'X.npy'))

def test_nothing_to_read(there):
    for src,error,said in (([],ValueError,'list of files is empty'),
                           ('t?.csv',FileNotFoundError,r"patterns are not taken here.*sorted\(glob\('t\?.csv'\)\)")):
        with pytest.raises(error, match=said): to_memmap(src, 'z.npy', progress=False)
