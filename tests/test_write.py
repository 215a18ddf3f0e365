"What is written is what was given, whole or not at all"
import errno, os, random, signal, stat, subprocess, sys, textwrap, time, warnings, numpy as np, pandas as pd, pytest, torch
from decimal import Decimal
from pathlib import Path
from fastcore.foundation import L
from memmap_ts.writing.part import _locked, note_path, Part, Region, _sync_folder
from memmap_ts.store import on_disk, open_memmap
from memmap_ts import write as write_mod
from memmap_ts.write import MemmapWriter, to_memmap

posix = pytest.mark.skipif(os.name!='posix', reason='needs POSIX signals')
rng = np.random.default_rng(0)
X = rng.normal(size=(103,3,7)).astype('float32')

def names(path): return sorted(p.name for p in path.iterdir())
def python(code, *args, **kw):
    return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)

# ---- values

@pytest.mark.parametrize('dtype', ['f2','f4','f8','>f4','>i2','i1','u8','?','c8','M8[s]','<U3','S4','V3', [('a','f4'),('b','i2',(2,))]])
def test_dtypes(dtype, tmp_path):
    a = rng.integers(0, 2, (10,4)).astype('i8')
    a = np.zeros((10,4), dtype) if np.dtype(dtype).kind=='V' else a.astype(dtype)
    with MemmapWriter(tmp_path/'a.npy') as w:
        for i in (0,3,4): w.append(a[i:{0:3,3:4,4:10}[i]])
    b = np.load(tmp_path/'a.npy')
    assert b.dtype==a.dtype and b.tobytes()==a.tobytes()
    assert names(tmp_path)==['a.npy']

@pytest.mark.parametrize('view', [np.asfortranarray, lambda a: a[::2], lambda a: a[::-1], lambda a: a.swapaxes(1,2), lambda a: a[...,1:4], lambda a: a.view(np.recarray), np.ndarray.tolist])
def test_views(view, tmp_path):
    a = view(X)
    with MemmapWriter(tmp_path/'a.npy') as w: w.append(a)
    np.testing.assert_array_equal(np.load(tmp_path/'a.npy'), np.asarray(a))

def test_blocks(tmp_path, monkeypatch):
    "Conversion in blocks, small writes, rows larger than a block"
    monkeypatch.setattr('memmap_ts.writing.part._block', 100)
    with MemmapWriter(tmp_path/'a.npy', dtype='f2') as w: w.append(X); w.append(X[:,:,::-1].astype('f8'))
    np.testing.assert_array_equal(np.load(tmp_path/'a.npy'), np.concatenate([X,X[:,:,::-1]]).astype('f2'))

@pytest.mark.parametrize('first,then,ok', [
    ([1,2],[3.],True), ([1,2],[3.5],False), ([1,2],[np.nan],False), ([1.],[2**53+1],False), ([1.],[7],True), (np.float32([1]),[.1],False), (np.float32([1]),[.5],True),
    (np.int8([1]),[127],True), (np.int8([1]),[128],False), (np.uint8([1]),[-1],False), ([True],[2],False), ([True],[1],True), (['a'],[1],None), ([1],['a'],None), ([1],[1j],None)])
def test_later_chunks(first, then, ok, tmp_path):
    w = MemmapWriter(tmp_path/'a.npy')
    w.append(first)
    if ok: w.append(then)
    else:
        with pytest.raises(TypeError if ok is None else ValueError, match='casting='): w.append(then)
    w.append(first) # a refused chunk leaves nothing behind
    w.close()
    assert np.load(tmp_path/'a.npy').tolist()==[*first, *(then if ok else []), *first]

def test_unsafe(tmp_path):
    with MemmapWriter(tmp_path/'a.npy', dtype='i1', casting='unsafe') as w: w.append([300, -1])
    assert np.load(tmp_path/'a.npy').tolist()==[44,-1]

def test_named_float_rounds(tmp_path):
    with MemmapWriter(tmp_path/'a.npy', dtype='f2') as w:
        w.append([.1, np.nan, np.inf, 1])
        with pytest.raises(ValueError, match='does not fit'): w.append([1e6])
    np.testing.assert_array_equal(np.load(tmp_path/'a.npy'), np.float16([.1,np.nan,np.inf,1]))

def test_wide_strings(tmp_path):
    words = [''.join(random.Random(i).choices('aäß中😀', k=i%37)) for i in range(500)]
    with MemmapWriter({'X':tmp_path/'X.npy', 'y':tmp_path/'y.npy'}) as w:
        for i in range(0, 500, 10): w.append(X=np.arange(10), y=words[i:i+10])
    y = np.load(tmp_path/'y.npy')
    assert y.tolist()==words and y.dtype==np.dtype('<U36')
    with MemmapWriter(tmp_path/'s.npy', dtype=str) as w: w.append(['a']); w.append(np.array(['bbb'], object))
    assert np.load(tmp_path/'s.npy').tolist()==['a','bbb']
    with pytest.raises(ValueError, match='does not fit'):
        with MemmapWriter(tmp_path/'t.npy', dtype='<U2') as w: w.append(['a']); w.append(['bbb'])
    assert names(tmp_path)==['X.npy','s.npy','y.npy']

def test_bad_chunks(tmp_path):
    with MemmapWriter(tmp_path/'a.npy') as w:
        for bad,e,say in ((3,ValueError,'row'), (np.array([None]),TypeError,'object'), (np.ma.masked_less([1,2],2),ValueError,'mask')):
            with pytest.raises(e, match=say): w.append(bad)
        w.append(np.ones((2,3)))
        with pytest.raises(ValueError, match='rows of one shape'): w.append(np.ones((2,4)))
        with pytest.raises(ValueError, match='rows of one shape'): w.append(np.ones(3))
    assert np.load(tmp_path/'a.npy').shape==(2,3)

def test_no_rows(tmp_path):
    with MemmapWriter(tmp_path/'a.npy') as w: w.append(X[:0])
    assert np.load(tmp_path/'a.npy').shape==(0,3,7)
    with MemmapWriter(tmp_path/'b.npy') as w: w.append(np.ones((4,0)))
    assert np.load(tmp_path/'b.npy').shape==(4,0)
    with pytest.raises(ValueError, match='nothing was appended'):
        with MemmapWriter(tmp_path/'c.npy'): pass
    assert names(tmp_path)==['a.npy','b.npy']

def test_generic_dtypes(tmp_path):
    "A dtype that says nothing of a value makes no file"
    for d,a in (('M8',['2020']), ('m8',[3]), ('V',[3]), (None,[np.datetime64('NaT')])):
        with pytest.raises(TypeError, match='does not say'), MemmapWriter(tmp_path/'a.npy', dtype=d) as w: w.append(a)
    assert names(tmp_path)==[]

def test_missing_label(tmp_path):
    for bad in (None, np.nan, pd.NA):
        with pytest.raises(ValueError, match='row 2 of a chunk of strings has'): to([np.array(['a','b',bad,'c'], object)], tmp_path)
    with pytest.raises(ValueError, match='row 1 of a chunk of strings has'): to_memmap(pd.DataFrame(dict(a=[1,2], y=['a',None])), tmp_path/'X.npy', y_fn=tmp_path/'y.npy', target_col='y', progress=False)
    assert names(tmp_path)==[]

def test_names(tmp_path):
    "Any name for an array, any path for a file"
    with MemmapWriter({'chunk':tmp_path/'X.npy', 'y':tmp_path/'y.npy'}) as w:
        w.append(chunk=[1,2], y=[3,4])
        with pytest.raises(ValueError, match='by its name'): w.append([1])
    assert np.load(tmp_path/'X.npy').tolist()==[1,2]
    assert to_memmap([[1,2]], os.fsencode(tmp_path/'b.npy'), progress=False).tolist()==np.load(tmp_path/'b.npy').tolist()==[1,2]

# ---- sources

def to(src, path, fn='X.npy', **kw): return to_memmap(src, path/fn, progress=False, **kw)
def dask(): return pytest.importorskip('dask.array', reason='dask is optional, and not installed')

def test_dask_block_of_another_shape(tmp_path):
    x = dask().from_array(np.arange(40.).reshape(10,4), chunks=(5,4))
    with pytest.raises(ValueError, match=r'block of shape \(5, 2\).*\(5, 4\).*map_blocks'): to(x.map_blocks(lambda b: b[:,:2]), tmp_path)
    assert to(x.map_blocks(lambda b: b[:,:2], chunks=(5,2)), tmp_path).tolist()==np.arange(40.).reshape(10,4)[:,:2].tolist()

def test_dask_block_of_another_run(tmp_path):
    "A task that is still there when its run has failed does not write to the file of the next one"
    p = Part(tmp_path/'a.npy', None, 'safe')
    p.begin((), 'i8'); late = Region(p, (4,)); p.f.close(); os.unlink(p.path)
    with pytest.raises(OSError): late[np.s_[:4],] = np.ones(4, 'i8')
    with MemmapWriter(tmp_path/'a.npy') as w:
        w.append(np.zeros(4, 'i8'))
        with pytest.raises(OSError, match='another run'): late[np.s_[:4],] = np.ones(4, 'i8')
        w.append(np.zeros(4, 'i8'))
    assert (tmp_path/'a.npy').stat().st_size==128+8*8 and not np.load(tmp_path/'a.npy').any()

def test_dask_strings(tmp_path):
    words = np.array(['a','bbb','cc','dddd'])
    for d in (None, str, '<U9'): assert to(dask().from_array(words, chunks=2), tmp_path, overwrite=True, dtype=d).tolist()==words.tolist()
    for src in (dask().from_array(np.arange(4), chunks=2), np.arange(4), [[],np.arange(4)]):
        for casting in ('safe','unsafe'):
            with pytest.raises(TypeError, match='make strings of them'): to(src, tmp_path, 'no.npy', dtype=str, casting=casting)
    assert to([[],words], tmp_path, 'w.npy', dtype=str).tolist()==words.tolist() and names(tmp_path)==['X.npy','w.npy']

def test_digits_of_objects(tmp_path):
    "Decimals, missing numbers and numbers as strings keep their digits; other things are named"
    df = pd.DataFrame(dict(a=[Decimal('1.123456789012'),Decimal(2)], b=np.array([16777217,None], object), c=['0.1234567890123','4'], d=pd.array([16777217,None], 'Int64')))
    for d in (None, 'float64'): np.testing.assert_array_equal(to(df, tmp_path, dtype=d, overwrite=True)[:,0], [[1.123456789012,16777217,.1234567890123,16777217],[2,np.nan,4,np.nan]])
    assert to(df, tmp_path, dtype='f4', overwrite=True).dtype==np.float32
    for bad in (['x','y'], pd.to_datetime(['2020','2021']), [[1],[2,3]]):
        with pytest.raises(ValueError, match="column 'q' does not hold numbers.*data_cols"): to(df.assign(q=bad), tmp_path, 'no.npy')

def test_columns_of_tables(tmp_path):
    one = pd.DataFrame(dict(a=[1.,2.], b=[3.,4.]))
    with pytest.raises(ValueError, match="several columns are named 'b'"): to(pd.concat([one,one[['b']]], axis=1), tmp_path)
    for by in ({}, dict(sample_col='id')):
        tables = [one.assign(id=range(2)), one.assign(id=range(2,4))]
        with pytest.raises(ValueError, match="no column 'b'"): to([tables[0],tables[1].drop(columns='b')], tmp_path, 'no.npy', **by)
        with pytest.raises(ValueError, match=r"columns \['c'\] are not in the first"): to([tables[0],tables[1].assign(c=1.)], tmp_path, 'no.npy', **by)
        assert to([tables[0],tables[1][['b','id','a']].assign(c=1.)], tmp_path, data_cols=['a','b'], overwrite=True, **by).tolist()==[[[1,3]],[[2,4]]]*2

def test_columns_that_are_numbers(tmp_path):
    df = pd.DataFrame([[7,1.,2.],[8,3.,4.]])
    a,y = to(df, tmp_path, target_col=0, y_fn=tmp_path/'y.npy')
    assert a.tolist()==[[[1,2]],[[3,4]]] and y.tolist()==[7,8]
    with pytest.raises(ValueError, match='go together'): to(df, tmp_path, 'no.npy', target_col=0)
    assert to(df, tmp_path, 'X2.npy', sample_col=0, data_cols=1, sort_by=2).tolist()==[[[1]],[[3]]]

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

def test_dask_in_a_list(tmp_path):
    x = dask().from_array(X, (20,-1,-1))
    np.testing.assert_array_equal(to([x,x[x[:,0,0]>0]], tmp_path), np.concatenate([X,X[X[:,0,0]>0]]))

@pytest.mark.parametrize('wrap', [tuple, iter, L])
@pytest.mark.parametrize('kind', ['npy','csv'])
def test_paths(wrap, kind, tmp_path):
    fns = [tmp_path/f'{i}.{kind}' for i in range(2)]
    for i,f in enumerate(fns):
        if kind=='npy': np.save(f, np.full((2,1,1), i))
        else: pd.DataFrame(dict(a=[i,i])).to_csv(f, index=False)
    assert to(wrap(fns), tmp_path).ravel().tolist()==[0,0,1,1]

def test_windows(tmp_path):
    from memmap_ts.windows import windows
    W,y = windows(np.arange(60.).reshape(30,2), 4, 3, horizon=1)
    for src,want in ((W,W[np.arange(len(W))]), ([W,W],np.concatenate([W[np.arange(len(W))]]*2)), (y,y[np.arange(len(y))])):
        for rows in (None,4): np.testing.assert_array_equal(to(src, tmp_path, chunk_rows=rows, overwrite=True), want)

# ---- whole or not at all

def test_other_folder(tmp_path, monkeypatch):
    "A file is made where its path was when the writer was made"
    a,b = tmp_path/'a',tmp_path/'b'
    for d in (a,b): d.mkdir()
    np.save(b/'X.npy', [7])
    def chunks(): yield [1]; monkeypatch.chdir(b); yield [2]
    monkeypatch.chdir(a)
    with MemmapWriter({'X':'X.npy', 'y':'y.npy'}) as w:
        for c in chunks(): w.append(X=c, y=c)
    assert names(a)==['X.npy','y.npy'] and names(b)==['X.npy'] and np.load(b/'X.npy').tolist()==[7]
    monkeypatch.chdir(a)
    assert to_memmap(chunks(), 'Z.npy', progress=False).tolist()==np.load(a/'Z.npy').tolist()==[1,2]

@posix
def test_link(tmp_path):
    "A link is followed, as `np.save` does"
    (tmp_path/'there').mkdir()
    for f in 'Xy': np.save(tmp_path/f'there/{f}.npy', [0]); (tmp_path/f'{f}.npy').symlink_to(tmp_path/f'there/{f}.npy')
    with MemmapWriter(tmp_path/'X.npy', overwrite=True) as w:
        with pytest.raises(BlockingIOError): MemmapWriter(tmp_path/'there'/'X.npy', overwrite=True)
        w.append([1])
    with pytest.raises(ValueError, match='of its own'): MemmapWriter({'a':tmp_path/'X.npy', 'b':tmp_path/'there'/'X.npy'})
    with MemmapWriter({f:tmp_path/f'{f}.npy' for f in 'Xy'}, overwrite=True) as w: w.append(X=[2], y=[3])
    assert (tmp_path/'X.npy').is_symlink() and names(tmp_path/'there')==['X.npy','y.npy'] and names(tmp_path)==['X.npy','there','y.npy']
    assert np.load(tmp_path/'there'/'X.npy').tolist()==[2]

@posix
def test_permissions_stay(tmp_path):
    for mode in (0o600, 0o664, 0o444):
        for f in 'Xy': np.save(tmp_path/f'{f}.npy', [0]); (tmp_path/f'{f}.npy').chmod(mode)
        with MemmapWriter({f:tmp_path/f'{f}.npy' for f in 'Xy'}, overwrite=True) as w: w.append(X=[2], y=[3])
        assert [stat.S_IMODE((tmp_path/f'{f}.npy').stat().st_mode) for f in 'Xy']==[mode]*2

def test_folder(tmp_path):
    (tmp_path/'d').mkdir()
    for kw in ({}, dict(overwrite=True)):
        with pytest.raises(IsADirectoryError, match='path of a file'): MemmapWriter(tmp_path/'d', **kw)
    assert names(tmp_path)==['d']

@pytest.mark.parametrize('resume', [False, True])
def test_rename_fails(resume, tmp_path, monkeypatch):
    "X is published, y can't be: the next writer finishes"
    fns,replace = {f:tmp_path/f'{f}.npy' for f in 'Xy'},os.replace
    def fails(a, b):
        if str(b).endswith('y.npy'): raise OSError('no')
        replace(a, b)
    for f in fns.values(): np.save(f, [0]); f.chmod(0o444)
    w = MemmapWriter(fns, overwrite=True, resume=resume)
    w.append(X=[1,2], y=[3,4])
    with monkeypatch.context() as m:
        m.setattr(os, 'replace', fails)
        with pytest.raises(OSError, match='no'): w.close()
    assert [np.load(f).tolist() for f in fns.values()]==[[1,2],[0]]
    assert os.stat(tmp_path/'y.npy.part').st_mode&stat.S_IWUSR # the next writer may be somebody whom a read-only file would stop
    with pytest.raises(FileExistsError): MemmapWriter(fns)
    assert [np.load(f).tolist() for f in fns.values()]==[[1,2],[3,4]] and names(tmp_path)==['X.npy','y.npy']

def test_notes_of_others(tmp_path, monkeypatch):
    "A note may be no note, or gone before it is read"
    for i,o in enumerate(['{"a":1}', '[1,2]', '[[1,2,3,4]]', 'null', '\xff']): (tmp_path/f'{i}.publish').write_bytes(o.encode('latin1'))
    (tmp_path/'d.publish').mkdir()
    with MemmapWriter(tmp_path/'a.npy') as w: w.append([1])
    read = Path.read_text
    monkeypatch.setattr(Path, 'read_text', lambda self: (self.unlink(), read(self))[1] if self.is_file() else read(self))
    with MemmapWriter(tmp_path/'b.npy') as w: w.append([1])
    assert names(tmp_path)==['a.npy','b.npy','d.publish']

def test_folder_that_cannot_be_flushed(tmp_path, monkeypatch):
    fsync = os.fsync
    def no(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode): raise OSError(why, 'no')
        fsync(fd)
    monkeypatch.setattr(os, 'fsync', no)
    for why in (errno.EINVAL, errno.EACCES):
        with MemmapWriter({f:tmp_path/f'{f}.npy' for f in 'Xy'}, overwrite=True) as w: w.append(X=[1], y=[2])
    if os.name=='posix':
        why = errno.EIO
        with pytest.raises(OSError): _sync_folder(tmp_path/'X.npy')
    assert names(tmp_path)==['X.npy','y.npy']

def test_resume_with_one_file_more(tmp_path):
    with pytest.raises(KeyboardInterrupt), MemmapWriter(tmp_path/'X.npy', resume=True) as w: w.append(range(1000)); raise KeyboardInterrupt
    fns = {f:tmp_path/f'{f}.npy' for f in 'Xy'}
    with pytest.warns(RuntimeWarning, match='1,000 rows in .*X.npy.part, 0 rows in .*y.npy.part'), pytest.raises(KeyboardInterrupt), MemmapWriter(fns, resume=True) as w: assert w.rows==0; raise KeyboardInterrupt
    with pytest.warns(RuntimeWarning, match='1,000 rows in .* resume the files that have some'), pytest.raises(KeyboardInterrupt), MemmapWriter(fns) as w: raise KeyboardInterrupt
    with MemmapWriter(tmp_path/'X.npy', resume=True) as w: assert w.rows==1000

def test_locked_while_widened(tmp_path, monkeypatch):
    "There is no moment in which another writer could take the file"
    replace,tried = os.replace,[]
    def taken(a, b):
        replace(a, b)
        if a.endswith('.wide'):
            with pytest.raises(BlockingIOError): _locked(b)
            tried.append(b)
    if os.name!='nt': monkeypatch.setattr(os, 'replace', taken)
    with MemmapWriter(tmp_path/'y.npy') as w:
        for n in (1,3,5): w.append(['a'*n]*2)
        with pytest.raises(BlockingIOError): MemmapWriter(tmp_path/'y.npy')
    assert np.load(tmp_path/'y.npy').tolist()==['a','a','aaa','aaa','aaaaa','aaaaa'] and (len(tried)==2 or os.name=='nt')

def test_exists(tmp_path):
    np.save(tmp_path/'a.npy', X)
    with pytest.raises(FileExistsError, match='overwrite=True'): MemmapWriter(tmp_path/'a.npy')
    with pytest.raises(FileExistsError, match='overwrite=True'): # made by somebody else meanwhile
        with MemmapWriter(tmp_path/'b.npy') as w: w.append([1]); np.save(tmp_path/'b.npy', [7])
    assert np.load(tmp_path/'b.npy').tolist()==[7] and names(tmp_path)==['a.npy','b.npy','b.npy.part'] # no rows are lost by it
    MemmapWriter(tmp_path/'b.npy', resume=True, overwrite=True).close() # as the error says
    assert np.load(tmp_path/'b.npy').tolist()==[1] and names(tmp_path)==['a.npy','b.npy']
    old = open_memmap(tmp_path/'a.npy')
    with MemmapWriter(tmp_path/'a.npy', overwrite=True) as w: w.append([1])
    if os.name=='posix': np.testing.assert_array_equal(old, X)
    assert np.load(tmp_path/'a.npy').tolist()==[1] and names(tmp_path)==['a.npy','b.npy']

@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize('resume', [False, True])
def test_exception(error, resume, tmp_path):
    np.save(tmp_path/'X.npy', X)
    fns = {'X':tmp_path/'X.npy', 'y':tmp_path/'y.npy'}
    with pytest.raises(error):
        with MemmapWriter(fns, overwrite=True, resume=resume) as w:
            w.append(X=X[:9]*2, y=['a']*9)
            raise error
    np.testing.assert_array_equal(np.load(tmp_path/'X.npy'), X)
    assert names(tmp_path)==['X.npy']+['X.npy.part','y.npy.part']*resume
    if not resume: return
    with MemmapWriter(fns, overwrite=True, resume=True) as w:
        assert w.rows==9
        w.append(X=X[9:]*2, y=['bb']*(len(X)-9))
    np.testing.assert_array_equal(np.load(tmp_path/'X.npy'), X*2)
    assert np.load(tmp_path/'y.npy').tolist()==['a']*9+['bb']*94

def test_resume_other(tmp_path):
    "An unfinished file that does not fit is left alone; rubbish is replaced"
    def stop(**kw):
        with pytest.raises(KeyboardInterrupt), MemmapWriter(tmp_path/'a.npy', resume=True, **kw) as w: w.append([1,2]); raise KeyboardInterrupt
    stop()
    part = (tmp_path/'a.npy.part').read_bytes()
    with pytest.raises(ValueError, match='begun with dtype int64'): MemmapWriter(tmp_path/'a.npy', dtype='f4', resume=True)
    with pytest.raises(ValueError, match='rows of one shape'):
        with MemmapWriter(tmp_path/'a.npy', resume=True) as w: w.append([[1]])
    assert (tmp_path/'a.npy.part').read_bytes()==part
    with pytest.warns(RuntimeWarning, match='2 rows'), MemmapWriter(tmp_path/'a.npy') as w: assert w.rows==0; w.append([5])
    (tmp_path/'b.npy.part').write_bytes(b'rubbish')
    with MemmapWriter(tmp_path/'b.npy', resume=True) as w: assert w.rows==0; w.append([5])
    assert np.load(tmp_path/'a.npy').tolist()==np.load(tmp_path/'b.npy').tolist()==[5]

@posix
@pytest.mark.parametrize('files', [1,2])
def test_begun_anew(files, tmp_path):
    "Who runs it again after a kill is told what there is; it is there until the first new row"
    fns = [tmp_path/'a.npy',tmp_path/'b.npy'][:files]
    p = python('''
        import os, signal, sys
        from memmap_ts.write import MemmapWriter
        w = MemmapWriter({str(i):f for i,f in enumerate(sys.argv[1:])})
        w.append(**{k:range(1234) for k in w.fns}); w._sync()
        os.kill(os.getpid(), signal.SIGKILL)
    ''', *fns)
    assert p.wait()==-signal.SIGKILL
    parts = [f'{f.name}.part' for f in fns]
    assert names(tmp_path)==parts
    new = lambda **kw: MemmapWriter({str(i):f for i,f in enumerate(fns)}, **kw)
    told = lambda: pytest.warns(RuntimeWarning, match='1,234 rows.*resume=True')
    with told(), pytest.raises(KeyboardInterrupt), new(): raise KeyboardInterrupt
    with told(), pytest.raises(ValueError, match='nothing was appended'), new(): pass
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with pytest.raises(RuntimeWarning): new()
    assert names(tmp_path)==parts
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with pytest.raises(KeyboardInterrupt), new(resume=True) as w: assert w.rows==1234; raise KeyboardInterrupt
    with told(), pytest.raises(KeyboardInterrupt), new() as w: w.append(**{k:[7.5] for k in w.fns}); raise KeyboardInterrupt
    assert names(tmp_path)==[]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with new() as w: w.append(**{k:[7.5] for k in w.fns})
    assert [np.load(f).tolist() for f in fns]==[[7.5]]*files

def test_two_writers(tmp_path):
    code = "import sys; from memmap_ts.write import MemmapWriter; MemmapWriter(sys.argv[1], resume=True)"
    with MemmapWriter(tmp_path/'a.npy', resume=True) as w:
        w.append([1])
        with pytest.raises(BlockingIOError, match='another writer'): MemmapWriter(tmp_path/'a.npy')
        with pytest.raises(BlockingIOError, match='another writer'): MemmapWriter({'a':tmp_path/'a2.npy', 'b':tmp_path/'a.npy'})
        err = python(code, tmp_path/'a.npy').communicate()[1]
        assert 'another writer' in err
        w.append([2])
    assert np.load(tmp_path/'a.npy').tolist()==[1,2] and names(tmp_path)==['a.npy']

writing = '''
    import sys, time, numpy as np
    from memmap_ts import write
    write._sync_every = 20_000
    d,seed = sys.argv[1],int(sys.argv[2])
    with write.MemmapWriter({'X':d+'/X.npy', 'y':d+'/y.npy'}, overwrite=True, resume=True) as w:
        print(w.rows, flush=True)
        for i in range(w.rows, 3000):
            w.append(X=np.full((1,100), i+seed, 'i4'), y=['y'*(1+i//500)])
            time.sleep(1e-4)
    print('done', flush=True)
'''
def check(d, seed):
    assert np.load(d/'X.npy')[:,7].tolist()==list(range(seed, 3000+seed))
    assert np.load(d/'y.npy').tolist()==['y'*(1+i//500) for i in range(3000)]

@posix
def test_slow_rows_are_safe_in_time(tmp_path):
    "A few rows now and then are safe after some seconds, whatever they weigh"
    code = """
        import os, signal, sys, time
        from memmap_ts import write
        write._sync_secs = .1
        w = write.MemmapWriter(sys.argv[1], resume=True)
        for i in range(20): w.append([i]); time.sleep(.05)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert python(code, tmp_path/'a.npy').wait()==-signal.SIGKILL
    with MemmapWriter(tmp_path/'a.npy', resume=True) as w:
        assert 0<w.rows<=20
        w.append(range(w.rows, 30))
    assert np.load(tmp_path/'a.npy').tolist()==list(range(30))

@posix
def test_killed(tmp_path):
    "Killed again and again, at any moment; then it finishes"
    p = python(writing, tmp_path, 0); assert p.communicate()[0].endswith('done\n'); check(tmp_path, 0)
    r,starts,t = random.Random(0),[],.15
    for k in range(12):
        p = python(writing, tmp_path, 50)
        starts.append(int(p.stdout.readline()))
        time.sleep(r.random()*t)
        p.send_signal(signal.SIGKILL)
        out = p.communicate()[0]
        if 'done' in out or (np.load(tmp_path/'X.npy')[0,0]==50 and not list(tmp_path.glob('*.publish'))): break
        if not list(tmp_path.glob('*.publish')): check(tmp_path, 0) # the old pair, whole
    if 'done' not in out: # also if the pair is there: the next run may have published it, and been killed with new rows of its own
        p = python(writing, tmp_path, 50); assert p.communicate()[0].endswith('done\n')
    check(tmp_path, 50)
    assert any(starts), 'no run went on with the rows of another'
    assert names(tmp_path)==['X.npy','y.npy']

@posix
@pytest.mark.parametrize('step', range(8))
def test_killed_while_publishing(step, tmp_path):
    "Killed before each system call that publishing is made of: the old pair, or the new one once the next writer has begun"
    for f in ('X','y'): np.save(tmp_path/f'{f}.npy', [0])
    code = '''
        import os, signal, sys
        from memmap_ts.writing import part
from memmap_ts import write
        left = int(sys.argv[2])
        def deadly(f):
            def g(*a, **k):
                global left
                if armed:
                    if not left: os.kill(os.getpid(), signal.SIGKILL)
                    left -= 1
                return f(*a, **k)
            return g
        armed = False
        for m in ('replace','fsync'): setattr(os, m, deadly(getattr(os, m)))
        part.json.dump = deadly(part.json.dump)
        w = write.MemmapWriter({k:f'{sys.argv[1]}/{k}.npy' for k in 'Xy'}, overwrite=True)
        w.append(X=[1,2], y=[3,4])
        publish = write._publish
        def armed_publish(parts):
            global armed
            armed = True; publish(parts)
        write._publish = armed_publish
        w.close()
        print('done')
    '''
    p = python(code, tmp_path, step)
    out,err = p.communicate()
    assert p.returncode==-signal.SIGKILL or step>=7 and 'done' in out, err
    now = [np.load(tmp_path/f'{f}.npy').tolist() for f in 'Xy']
    decided = step>=1 # the note is complete
    if not decided: assert now==[[0],[0]]
    fns = {k:tmp_path/f'{k}.npy' for k in 'Xy'}
    with pytest.raises(FileExistsError): MemmapWriter(tmp_path/'y.npy') # finishes what was decided, then finds the files
    assert [np.load(f).tolist() for f in fns.values()]==([[1,2],[3,4]] if decided else [[0],[0]])
    with pytest.raises(FileExistsError): MemmapWriter(fns)
    assert not note_path(fns.values()).exists()
    with MemmapWriter(fns, overwrite=True) as w: w.append(X=[5], y=[6])
    assert names(tmp_path)==['X.npy','y.npy']

@posix
def test_ctrl_c(tmp_path):
    p = python('''
        import sys, time, numpy as np
        from memmap_ts.write import to_memmap
        def slow():
            for i in range(1000): print(i, flush=True); yield np.zeros((1000,100)); time.sleep(.02)
        to_memmap(slow(), sys.argv[1]+'/a.npy', progress=False)
    ''', tmp_path)
    for _ in range(3): p.stdout.readline()
    p.send_signal(signal.SIGINT)
    assert 'KeyboardInterrupt' in p.communicate()[1]
    assert names(tmp_path)==[]

@pytest.fixture
def small_disk(tmp_path):
    "A tmpfs of 4 MB"
    d = tmp_path/'small'
    d.mkdir()
    r = subprocess.run(['mount','-t','tmpfs','-o','size=4m','tmpfs',d], capture_output=True, text=True) if sys.platform.startswith('linux') else None
    if r is None or r.returncode: pytest.skip(f"can't mount a tmpfs, which needs root on Linux: {r and r.stderr.strip()}")
    yield d
    subprocess.run(['umount',d], check=True)

def test_full_disk(small_disk):
    old = np.arange(1000)
    np.save(small_disk/'X.npy', old)
    for resume in (False, True):
        with pytest.raises(OSError) as e, MemmapWriter({'X':small_disk/'X.npy', 'y':small_disk/'y.npy'}, overwrite=True, resume=resume) as w:
            for i in range(100): w.append(X=np.full((100,100), i), y=np.full(100, i))
        assert e.value.errno==errno.ENOSPC
        np.testing.assert_array_equal(np.load(small_disk/'X.npy'), old)
        assert names(small_disk)==['X.npy']+['X.npy.part','y.npy.part']*resume
    with MemmapWriter({'X':small_disk/'X.npy', 'y':small_disk/'y.npy'}, overwrite=True, resume=True) as w:
        assert 0 < w.rows == w.rows//100*100
        n = w.rows//100
    assert np.load(small_disk/'X.npy')[:,5].tolist()==[i for i in range(n) for _ in range(100)]
    with pytest.raises(OSError), MemmapWriter(small_disk/'s.npy') as w: # while strings become wider
        w.append(['a']*100_000); w.append(['b'*20])
    assert 's.npy' not in names(small_disk) and not [n for n in names(small_disk) if 'part' in n]

def test_error_of_a_rename_is_told(tmp_path, monkeypatch):
    "Also where files are closed before, as Windows needs it"
    publish = write_mod._publish
    def fails(parts):
        for p in parts: p.f.close()
        raise PermissionError('mapped by somebody')
    monkeypatch.setattr(write_mod, '_publish', fails)
    w = MemmapWriter(tmp_path/'X.npy')
    w.append([1,2])
    with pytest.raises(PermissionError, match='mapped by somebody'): w.close()
    monkeypatch.setattr(write_mod, '_publish', publish)
    MemmapWriter(tmp_path/'X.npy', resume=True).close()
    assert open_memmap(tmp_path/'X.npy').tolist()==[1,2]

def test_series_of_pandas(tmp_path):
    "Rows are taken by position, whatever the index"
    s = pd.Series([1.,2.,3.,4.], index=[-1.,5.,6.,1e10])
    assert to_memmap(s, tmp_path/'a.npy').tolist()==to_memmap([s], tmp_path/'b.npy').tolist()==[1,2,3,4]

def test_columns_keep_their_types(tmp_path):
    df = pd.DataFrame({'a':np.float32([1,2]), 'b':np.array([3,4], object)})
    assert to_memmap(df[['a']].astype({'a':'float32'}), tmp_path/'a.npy').dtype==np.float32
    assert to_memmap(df.assign(b=df.b.astype('complex64').astype(object)), tmp_path/'c.npy').dtype.kind=='c'

def test_steps_of_which_sample(tmp_path):
    with pytest.raises(ValueError, match='needs a sample_col'): to_memmap(pd.DataFrame({'a':[1.,2.]}), tmp_path/'X.npy', steps_in_rows=True)
    with pytest.raises(TypeError, match=r"to_memmap\(\) got an unexpected keyword argument 'feat_cols'.*feat_col,"): to_memmap(pd.DataFrame({'a':[1.,2.]}), tmp_path/'X.npy', feat_cols='a')
