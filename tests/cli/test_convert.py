"The command `memmap_ts_convert`"
import inspect, os, signal, subprocess, time, numpy as np, pandas as pd, pytest
from functools import partial
import shell
from numpy.lib import format as npy
from memmap_ts.cli import convert as command
from memmap_ts.cli.convert import _pick, convert
from memmap_ts.collect import open_memmaps
from memmap_ts.store import create_memmap

X = np.random.default_rng(0).normal(size=(50,2,6)).astype('float32')
run = partial(shell.run, 'convert')
def ok(r): assert r.returncode==0 and not r.stderr, r.stderr; return r

def test_help():
    r = ok(shell.run_new('convert', '--help'))
    assert '--dataset' in r.stdout and '.zarr' in r.stdout

def test_options_are_single_words():
    "With one fastcore `--a_b`, with another one `--a-b` would be right"
    assert not [o for o in inspect.signature(convert).parameters if '_' in o]

def test_npy(tmp_path):
    np.save(tmp_path/'a0.npy', X[:20]); np.save(tmp_path/'a1.npy', X[20:])
    assert '(50, 2, 6)' in ok(shell.run_new('convert', 'a*.npy', 'X.npy', '--dtype', 'float16', cwd=tmp_path)).stdout
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

def test_a_warning_is_a_line(tmp_path):
    "In the words of the command, without a line of the package"
    (tmp_path/'t.csv').write_text('patient,a\n'+''.join(f'{i},0.5\n' for i in range(1,13)))
    r = run('t.csv', 'X.npy', cwd=tmp_path)
    line, = r.stderr.strip().splitlines()
    assert r.returncode==0 and line.startswith("memmap_ts_convert: column 'patient' counts the rows") and '--index 0' in line and '--data' in line and 'Warning' not in line
    assert not run('t.csv', 'Y.npy', '--index', '0', cwd=tmp_path).stderr

@pytest.mark.parametrize('lib', ['zarr','h5py'])
def test_stores(lib, tmp_path):
    m = pytest.importorskip(lib, reason=f'{lib} is optional, and not installed')
    one,two = (tmp_path/f'{n}.{"zarr" if lib=="zarr" else "h5"}' for n in ('one','two'))
    g = m.open_group(one, mode='w') if lib=='zarr' else m.File(one, 'w')
    h = m.open_group(two, mode='w') if lib=='zarr' else m.File(two, 'w')
    for group,names in ((g,['X']), (h,['X','more/y'])):
        for n in names:
            make = group.create_array if hasattr(group, 'create_array') else group.create_dataset # of HDF5, and of zarr 2
            a = make(n, shape=X.shape, dtype='f4')
            a[:] = X
    if lib=='h5py': g.close(); h.close()
    ok(run(one, tmp_path/'1.npy')); ok(run(two, tmp_path/'2.npy', '--dataset', 'more/y'))
    for f in '12': np.testing.assert_array_equal(np.load(tmp_path/f'{f}.npy'), X)
    r = run(two, tmp_path/'3.npy')
    assert r.returncode==1 and 'more/y' in r.stderr and '--dataset' in r.stderr

def test_bad_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path/'a.npy', X)
    (tmp_path/'t.txt').write_text('x'); (tmp_path/'t.csv').write_text('a,b\n1,2\n1,2,3,4\n'); (tmp_path/'t.npy').write_text('x'); (tmp_path/'t.zarr').mkdir(); (tmp_path/'t.h5').write_text('x'); (tmp_path/'t.parquet').write_text('x'); (tmp_path/'empty.csv').write_text('')
    before = sorted(p.name for p in tmp_path.iterdir())
    for args in (['none.npy','X.npy'], ['none*.npy','X.npy'], ['a.npy','a.npy'], ['t.txt','X.npy'], ['t.csv','X.npy'], ['empty.csv','X.npy'], ['t.npy','X.npy'], ['t.zarr','X.npy'], ['t.h5','X.npy'], ['t.parquet','X.npy'],
                 ['a.npy','no/folder/X.npy'], ['a.npy','X.npy','--dtype','foo'], ['a.npy','X.npy','--dtype','int8'], ['a.npy','X.npy','--sample','id'], ['t.csv','X.npy','--target','a'], ['t.csv','X.npy','--data','q'], ['a.npy','X.npy','--rows','0']):
        r = run(*args)
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
    assert p.returncode==130 and err.strip()=='interrupted: nothing was written', err
    assert sorted(o.name for o in tmp_path.iterdir())==['a.npy']

def made(*args, **kwargs): convert(*map(str, args), **kwargs)

def fails(*args, **kwargs):
    "What the command says, in the process itself"
    with pytest.raises(SystemExit) as e: made(*args, **kwargs)
    return e.value.code

@pytest.mark.parametrize('old', [True,False])
def test_ctrl_c_in_the_last_moment(old, tmp_path, monkeypatch, capsys):
    "The file has its name: it is not said that nothing was written"
    np.save(tmp_path/'a.npy', X)
    if old: np.save(tmp_path/'X.npy', X[:1])
    def interrupted(*args, **kwargs):
        to_memmap(*args, **kwargs)
        raise KeyboardInterrupt
    to_memmap = command.to_memmap
    monkeypatch.setattr(command, 'to_memmap', interrupted)
    assert fails(tmp_path/'a.npy', tmp_path/'X.npy', overwrite=True)==130
    assert capsys.readouterr().err.strip()==f"interrupted, after writing {tmp_path/'X.npy'}"
    assert np.load(tmp_path/'X.npy').shape==X.shape

def test_ctrl_c_before(tmp_path, monkeypatch, capsys):
    np.save(tmp_path/'a.npy', X); np.save(tmp_path/'X.npy', X[:1])
    def interrupted(*args, **kwargs): raise KeyboardInterrupt
    monkeypatch.setattr(command, 'to_memmap', interrupted)
    assert fails(tmp_path/'a.npy', tmp_path/'X.npy', overwrite=True)==130
    assert capsys.readouterr().err.strip()=='interrupted: nothing was written'

def test_a_label_in_each_row(tmp_path):
    df = pd.DataFrame(X.swapaxes(1,2).reshape(-1,2), columns=['a','b']).assign(id=np.repeat(range(50), 6), y=np.repeat(['x','y']*25, 6), t=[*range(6)]*50)
    df.to_csv(tmp_path/'t.csv', index=False)
    args,table = (tmp_path/'t.csv',tmp_path/'X.npy'),dict(sample='id', data='a,b', steps=True, y=str(tmp_path/'y.npy'), overwrite=True)
    made(*args, target='y', **table)
    assert np.load(tmp_path/'y.npy').tolist()==['x','y']*25 and np.load(tmp_path/'X.npy').shape==X.shape
    assert "--take 'last'" in fails(*args, target='t', **table)
    made(*args, target='t', take='last', ydtype='int64', **table)
    assert np.load(tmp_path/'y.npy').tolist()==[5]*50

def test_a_file_for_each_sample(tmp_path):
    for i in range(12): np.save(tmp_path/f's{i:02}.npy', X[i])
    said = fails(tmp_path/'s*.npy', tmp_path/'X.npy')
    assert '--stack for an array of shape (12, 2, 6)' in said and '--join joins' in said
    for how,shape in ((dict(stack=True),(12,2,6)), (dict(join=True),(24,6)), (dict(stack=True, transpose=True),(12,6,2))):
        made(f'{tmp_path}/s*.npy', tmp_path/'X.npy', overwrite=True, **how)
        assert np.load(tmp_path/'X.npy').shape==shape
    made(f'{tmp_path}/s00*.npy', tmp_path/'one.npy', stack=True)
    assert np.load(tmp_path/'one.npy').shape==(1,2,6)
    assert '--stack and --join' in fails(tmp_path/'s*.npy', tmp_path/'Z.npy', stack=True, join=True)

def test_files_in_the_order_in_which_people_count(tmp_path):
    "As `open_memmaps` and `to_ragged` have them: labels are in that order, too"
    for i in (9,10,11): np.save(tmp_path/f'part{i}.npy', np.full((2,1,3), i))
    convert(f'{tmp_path}/part*.npy', f'{tmp_path}/all.npy', join=True)
    many = open_memmaps(f'{tmp_path}/part*.npy')
    assert np.load(tmp_path/'all.npy')[:,0,0].tolist()==[many[i][0,0] for i in range(6)]==[9,9,10,10,11,11]

def test_labels_of_hdf5_are_text(tmp_path, recwarn):
    h5py = pytest.importorskip('h5py', reason='h5py is optional, and not installed')
    words = ['run','läuft']*20
    with h5py.File(tmp_path/'a.h5', 'w') as f:
        f['variable'],f['bytes'],f['X'] = words,np.array([o.encode() for o in words]),np.zeros((40,6,2))
        f.create_dataset('fixed', (40,), h5py.string_dtype('utf-8', 6))[:] = words
    for name in ('variable','bytes','fixed'):
        made(f'{tmp_path}/a.h5', tmp_path/'y.npy', dataset=name, overwrite=True)
        assert np.load(tmp_path/'y.npy').tolist()==words
    made(f'{tmp_path}/a.h5', tmp_path/'X.npy', dataset='X', transpose=True)
    assert np.load(tmp_path/'X.npy').shape==(40,2,6) and not recwarn.list

def old_header(fn, a):
    "Save `a` as NumPy once did with numbers of its own as shape"
    header = repr(dict(descr=npy.dtype_to_descr(a.dtype), fortran_order=False, shape=a.shape)).replace(str(a.shape), f"({', '.join(f'np.int64({n})' for n in a.shape)},)")
    header = header.ljust(246)+'\n'
    fn.write_bytes(b'\x93NUMPY\x01\x00'+len(header).to_bytes(2, 'little')+header.encode()+a.tobytes())

def test_a_header_of_numpys_numbers_is_repaired(tmp_path):
    old_header(tmp_path/'a.npy', X[:20]); np.save(tmp_path/'b.npy', X[20:])
    with pytest.raises(ValueError): np.load(tmp_path/'a.npy')
    made(tmp_path/'a.npy', tmp_path/'X.npy')
    np.testing.assert_array_equal(np.load(tmp_path/'X.npy'), X[:20])
    made(f'{tmp_path}/[ab].npy', tmp_path/'both.npy')
    np.testing.assert_array_equal(np.load(tmp_path/'both.npy'), X)
    (tmp_path/'a.npy').write_bytes((tmp_path/'a.npy').read_bytes()[:-1])
    assert 'truncated' in fails(tmp_path/'a.npy', tmp_path/'Y.npy') and not (tmp_path/'Y.npy').exists()

def test_advice_can_be_followed_in_a_shell(tmp_path):
    np.save(tmp_path/'a.npy', X)
    pd.DataFrame({'a':[1.5,2.5], 'b':['x','y']}).to_csv(tmp_path/'t.csv', index=False)
    for args,kwargs,words in (
        (('a.npy','a.npy'), {}, '`--overwrite`'), (('a.npy','X.npy'), dict(dtype='int8'), "--casting 'unsafe'"), (('t.csv','X.npy'), {}, '--data'),
        (('t.csv','X.npy'), dict(target='b'), '--y and --target go together'), (('a.npy','X.npy'), dict(rows=0), '--rows 0: at least'), (('t.csv','X.npy'), dict(steps=True), '--steps needs a --sample'),
        (('a.npy','X.csv'), {}, 'a name that ends in .npy'), (('t.csv','X.npy'), dict(y='y.csv', target='b'), 'y.csv'), (('t.txt','X.npy'), {}, '.parquet')):
        said = fails(*(tmp_path/o for o in args), **kwargs)
        assert words in said and '=True' not in said and '\n' not in said, said
    assert sorted(o.name for o in tmp_path.iterdir())==['a.npy','t.csv']
    made(tmp_path/'a.npy', tmp_path/'X.npy', dtype='int8', casting='unsafe')
    np.testing.assert_array_equal(np.load(tmp_path/'X.npy'), X.astype('int8'))

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
    (tmp_path/'y=1.csv').write_text('a\n1\n')
    for args,kwargs,words in (
        ((f'{tmp_path}/part*.npy', tmp_path/'part_all.npy'), dict(overwrite=True), 'would become a part of what it is made of'),
        ((f'{tmp_path}/part0.npy', tmp_path/'part_all.npy'), {}, 'exists'),
        ((f'{tmp_path}/q*.npy', tmp_path/'Y.npy'), {}, 'No file matches'),
        ((f'{tmp_path}/q.zarr', tmp_path/'Y.npy'), {}, 'q.zarr'),
        ((f'{tmp_path}/y=1.csv', tmp_path/'Y.npy'), dict(join=True), 'memmap_ts_convert: --join: for arrays only'),
        ((f'{tmp_path}/y=2.csv', tmp_path/'Y.npy'), {}, f'No file {tmp_path}/y=2.csv'),
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

def test_how_a_csv_file_is_written(tmp_path):
    "The options of `read_csv`, by their names; what is missing is said in the words of the command"
    (tmp_path/'e.csv').write_text('x;v;l\n1;0,5;01\n2;-0,5;NA\n'); (tmp_path/'h.csv').write_text('1.5,2,a\n3,4,b\n'); (tmp_path/'u.csv').write_text(',a\n0,1.5\n1,2.5\n'); (tmp_path/'s.csv').write_bytes('by Jörg\na\tl\n-9\tläuft\n'.encode('latin-1'))
    def made(fn, **kwargs):
        if 'target' in kwargs: kwargs['y'] = str(tmp_path/'y.npy')
        convert(str(tmp_path/fn), str(tmp_path/'X.npy'), overwrite=True, **kwargs)
        return np.load(tmp_path/'X.npy').squeeze(1).tolist(), np.load(tmp_path/'y.npy').tolist() if 'target' in kwargs else None
    assert made('e.csv', sep=';', decimal=',', data='x,v', target='l')==([[1,.5],[2,-.5]],['01','NA'])
    assert made('e.csv', sep=';', decimal=',', data='x', target='v', ydtype='float32')==([[1],[2]],[.5,-.5])
    assert made('h.csv', header='none', data='0,1', target='2')==([[1.5,2],[3,4]],['a','b'])
    assert made('h.csv', header='0', data='2')==([[4]],None) and made('u.csv', index='0')==([[1.5],[2.5]],None)
    X,y = made('s.csv', sep=r'\t', skiprows=1, encoding='latin-1', na='-9,-99', target='l')
    assert np.isnan(X) and y==['läuft']
    for fn,kwargs,words in (('e.csv',{},"pass --sep ';', and --decimal ','"), ('h.csv',{},'Pass --header None'), ('u.csv',{},'--index 0'), ('u.csv',dict(ydtype='f4'),'--ydtype is the type of the target'), ('e.csv',dict(sep=';;'),'one character')):
        with pytest.raises(SystemExit) as e: convert(str(tmp_path/fn), str(tmp_path/'no.npy'), **kwargs)
        assert words in e.value.code and '\n' not in e.value.code and not (tmp_path/'no.npy').exists()
