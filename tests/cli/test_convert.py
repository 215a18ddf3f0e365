"The command `memmap_ts_convert`"
import os, signal, subprocess, time, numpy as np, pandas as pd, pytest
from functools import partial
import shell
from memmap_ts.cli.convert import _pick, convert
from memmap_ts.store import create_memmap

X = np.random.default_rng(0).normal(size=(50,2,6)).astype('float32')
run = partial(shell.run, 'convert', timeout=300)
def ok(r): assert r.returncode==0 and not r.stderr, r.stderr; return r

def test_help():
    r = ok(run('--help'))
    assert '--dataset' in r.stdout and '.zarr' in r.stdout

def test_npy(tmp_path):
    np.save(tmp_path/'a0.npy', X[:20]); np.save(tmp_path/'a1.npy', X[20:])
    assert '(50, 2, 6)' in ok(run('a*.npy', 'X.npy', '--dtype', 'float16', cwd=tmp_path)).stdout
    np.testing.assert_array_equal(np.load(tmp_path/'X.npy'), X.astype('float16'))

@pytest.mark.parametrize('kind', ['csv','parquet'])
def test_table(kind, tmp_path):
    df = pd.DataFrame(X.swapaxes(1,2).reshape(-1,2), columns=['a','b']).assign(id=np.repeat(range(50), 6), y='c')
    if kind=='parquet': pytest.importorskip('pyarrow', reason='pyarrow is optional, and not installed')
    getattr(df, f'to_{kind}')(tmp_path/f't.{kind}', index=False)
    ok(run(f't.{kind}', 'X.npy', '--sample', 'id', '--data', 'a,b', '--steps', '--dtype', 'float32', '--rows', '7', cwd=tmp_path))
    np.testing.assert_array_equal(np.load(tmp_path/'X.npy'), X)
    ok(run(f't.{kind}', 'W.npy', '--y', 'y.npy', '--target', 'y', cwd=tmp_path))
    assert np.load(tmp_path/'W.npy').shape==(300,1,3) and set(np.load(tmp_path/'y.npy'))=={'c'}

@pytest.mark.parametrize('lib', ['zarr','h5py'])
def test_stores(lib, tmp_path):
    m = pytest.importorskip(lib, reason=f'{lib} is optional, and not installed')
    one,two = (tmp_path/f'{n}.{"zarr" if lib=="zarr" else "h5"}' for n in ('one','two'))
    g = m.open_group(one, mode='w') if lib=='zarr' else m.File(one, 'w')
    h = m.open_group(two, mode='w') if lib=='zarr' else m.File(two, 'w')
    for group,names in ((g,['X']), (h,['X','more/y'])):
        for n in names:
            a = group.create_array(n, shape=X.shape, dtype='f4') if lib=='zarr' else group.create_dataset(n, X.shape, 'f4')
            a[:] = X
    if lib=='h5py': g.close(); h.close()
    ok(run(one, tmp_path/'1.npy')); ok(run(two, tmp_path/'2.npy', '--dataset', 'more/y'))
    for f in '12': np.testing.assert_array_equal(np.load(tmp_path/f'{f}.npy'), X)
    r = run(two, tmp_path/'3.npy')
    assert r.returncode==1 and 'more/y' in r.stderr and '--dataset' in r.stderr

def test_bad_input(tmp_path):
    np.save(tmp_path/'a.npy', X)
    (tmp_path/'t.txt').write_text('x'); (tmp_path/'t.csv').write_text('a,b\n1,2\n1,2,3,4\n'); (tmp_path/'t.npy').write_text('x'); (tmp_path/'t.zarr').mkdir(); (tmp_path/'t.h5').write_text('x'); (tmp_path/'t.parquet').write_text('x'); (tmp_path/'empty.csv').write_text('')
    before = sorted(p.name for p in tmp_path.iterdir())
    for args in (['none.npy','X.npy'], ['none*.npy','X.npy'], ['a.npy','a.npy'], ['t.txt','X.npy'], ['t.csv','X.npy'], ['empty.csv','X.npy'], ['t.npy','X.npy'], ['t.zarr','X.npy'], ['t.h5','X.npy'], ['t.parquet','X.npy'],
                 ['a.npy','no/folder/X.npy'], ['a.npy','X.npy','--dtype','foo'], ['a.npy','X.npy','--dtype','int8'], ['a.npy','X.npy','--sample','id'], ['t.csv','X.npy','--target','a'], ['t.csv','X.npy','--data','q'], ['a.npy','X.npy','--rows','0']):
        r = run(*args, cwd=tmp_path)
        assert r.returncode==1 and len(r.stderr.strip().splitlines())==1 and 'Traceback' not in r.stderr, (args, r.returncode, r.stderr)
        assert sorted(p.name for p in tmp_path.iterdir())==before, args

@pytest.mark.skipif(os.name!='posix', reason='needs POSIX signals')
def test_ctrl_c(tmp_path):
    create_memmap(tmp_path/'a.npy', (2_000_000,100), 'f4')
    p = subprocess.Popen(shell.command('convert', tmp_path/'a.npy', tmp_path/'X.npy', '--dtype', 'f8', '--rows', '1000'), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path/'X.npy.part').exists() and p.poll() is None: time.sleep(.01)
    time.sleep(.1)
    p.send_signal(signal.SIGINT)
    err = p.communicate()[1]
    assert p.returncode==1 and 'interrupted' in err and 'Traceback' not in err, err
    assert sorted(o.name for o in tmp_path.iterdir())==['a.npy']

def test_links_in_a_store(tmp_path):
    h5py = pytest.importorskip('h5py', reason='h5py is optional, and not installed')
    with h5py.File(tmp_path/'a.h5', 'w') as f:
        f['more/X'] = X
        f['gone'],f['more/up'],f['type'] = h5py.SoftLink('/nothing'),h5py.SoftLink('/'),np.dtype('f4')
    for i,more in enumerate([(), ('--dataset','more/X'), ('--dataset','/more/X')]):
        ok(run('a.h5', f'{i}.npy', *more, cwd=tmp_path))
        np.testing.assert_array_equal(np.load(tmp_path/f'{i}.npy'), X)

def test_says_what_is_wrong(tmp_path):
    "In the process itself: the message, in one line"
    for i in range(2): np.save(tmp_path/f'part{i}.npy', X)
    convert(str(tmp_path/'part0.npy'), str(tmp_path/'part_all.npy'))
    for args,kwargs,words in (
        ((f'{tmp_path}/part*.npy', tmp_path/'part_all.npy'), dict(overwrite=True), 'would become a part of what it is made of'),
        ((f'{tmp_path}/part0.npy', tmp_path/'part_all.npy'), {}, 'exists'),
        ((f'{tmp_path}/q*.npy', tmp_path/'Y.npy'), {}, 'No file matches'),
        ((f'{tmp_path}/q.zarr', tmp_path/'Y.npy'), {}, 'q.zarr'),
        ((f'{tmp_path}/part0.npy', tmp_path/'Y.npy'), dict(dataset='a'), 'leave out --dataset'),
        ((f'{tmp_path}/part0.npy', tmp_path/'Y.npy'), dict(sample='a'), 'for tables only')):
        with pytest.raises(SystemExit) as e: convert(*map(str, args), **kwargs)
        assert words in e.value.code and '\n' not in e.value.code

def test_which_array_of_a_store():
    "The only one, or the one that is named, by its path; else the error lists them"
    group = {'a':np.ones(3), 'more':{'b':np.zeros(2)}}
    assert _pick(group, 'f.h5', 'more/b').tolist()==[0,0] and _pick({'a':np.ones(3)}, 'f.h5', None).tolist()==[1,1,1]
    for name,words in ((None,'more than one array'), ('c',"no array 'c'")):
        with pytest.raises(ValueError, match=rf"{words}: name one of \['a', 'more/b'\] with --dataset"): _pick(group, 'f.h5', name)
