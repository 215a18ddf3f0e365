"Writers that were not closed, could not be, or had nothing to do; and the sentences about it"
import errno, os, threading, warnings, numpy as np, pytest
from functools import partial
from memmap_ts.ragged import RaggedWriter
from memmap_ts.store import open_memmap
from memmap_ts.write import MemmapWriter, to_memmap
from memmap_ts.writing import sync
from memmap_ts.writing.sync import BackgroundSync
from forked import forked
from writers import names, posix, python

def pair(path): return {f:path/f'{f}.npy' for f in 'Xy'}

# A writer whose cell failed

def test_close_does_not_publish_half_an_array(tmp_path):
    w = MemmapWriter(tmp_path/'X.npy')
    for i in range(37): w.append(np.full((100,2), i))
    with pytest.raises(ValueError, match='one shape'): w.append(np.zeros((100,3)))
    with pytest.raises(ValueError, match=r'X.npy could not be written \(ValueError: .*3,700 rows before it.*abort'): w.close()
    assert names(tmp_path)==['X.npy.part']
    w.append(np.full((100,2), 37)) # the chunk again, mended
    w.close()
    assert open_memmap(tmp_path/'X.npy')[::100,0].tolist()==list(range(38))

def test_rows_before_a_failed_chunk_alone(tmp_path):
    w = MemmapWriter(pair(tmp_path))
    w.append(X=[1,2], y=['a','b'])
    with pytest.raises(ValueError, match='one shape'): w.append(X=[3], y=[['c','d']]) # X has its row already
    with pytest.raises(ValueError, match='2 rows'): w.close()
    w.append(X=np.empty(0, int), y=np.empty(0, '<U1'))
    w.close()
    assert [np.load(f).tolist() for f in pair(tmp_path).values()]==[[1,2],['a','b']]

@pytest.mark.parametrize('resume', [False, True])
def test_the_cell_is_run_again(resume, tmp_path):
    "The writer of the first run is still there: who has the file, how many rows, and both ways out"
    def cell(): return MemmapWriter(tmp_path/'X.npy', resume=resume)
    w = cell()
    w.append(range(5))
    with pytest.raises(BlockingIOError, match='X.npy: another writer of this process is at it, with 5 rows so far.*`abort.*`close') as e: cell()
    assert ('keeps them for `resume=True`' in str(e.value))==resume
    w.abort()
    with cell() as w: assert w.rows==5*resume; w.append(range(w.rows, 9))
    assert open_memmap(tmp_path/'X.npy').tolist()==list(range(9))

def test_a_chunk_that_is_caught_inside_with(tmp_path):
    with MemmapWriter(tmp_path/'X.npy') as w:
        w.append([1])
        with pytest.raises(ValueError): w.append([[2]])
    assert open_memmap(tmp_path/'X.npy').tolist()==[1]

def test_interrupted_just_after_strings_have_grown(tmp_path, monkeypatch):
    "The wider file has its place already: rows that come later go into that one"
    replace = os.replace
    def interrupted(a, b): replace(a, b); raise KeyboardInterrupt
    w = MemmapWriter(tmp_path/'y.npy')
    w.append(['a','b'])
    with monkeypatch.context() as m:
        m.setattr(os, 'replace', interrupted)
        with pytest.raises(KeyboardInterrupt): w.append(['ccc'])
    for c in ('ccc','d'): w.append([c])
    w.close()
    assert np.load(tmp_path/'y.npy').tolist()==['a','b','ccc','d'] and names(tmp_path)==['y.npy']

def test_a_failed_flush_is_final(tmp_path, monkeypatch):
    "The system reports the next flush as done, and the rows may be gone"
    w = MemmapWriter(tmp_path/'X.npy')
    w.append([1])
    def fails(f): raise OSError(errno.EIO, 'Input/output error', str(f.name))
    with monkeypatch.context() as m:
        m.setattr(sync, 'sync_file', fails)
        m.setattr(BackgroundSync, 'every_bytes', 1)
        w.append([2]) # begins a flush
        with pytest.raises(OSError, match='Input/output.*X.npy.part'): w.append([3])
    with pytest.raises(OSError, match='Input/output'): w.append([3])
    with pytest.raises(OSError, match='Input/output'): w.close()
    assert names(tmp_path)==[]

# Threads

def test_threads(tmp_path):
    "Whole chunks, in some order; X and y belong together"
    n,k = 40,25
    def write(w, t):
        for i in range(n): w.append(X=np.full((k,3), t*n+i), y=['y'*(1+i//10)+str(t*n+i)]*k)
    with MemmapWriter(pair(tmp_path)) as w:
        threads = [threading.Thread(target=write, args=(w,t)) for t in range(4)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert w.rows==4*n*k
    X,y = [np.load(f) for f in pair(tmp_path).values()]
    assert sorted(X[::k,0].tolist())==list(range(4*n)) and (X.reshape(4*n,k*3)==X[::k,:1]).all()
    assert [int(o.strip('y')) for o in y.tolist()]==X[:,0].tolist()

# Full disks

@posix
@pytest.mark.parametrize('resume', [False, True])
def test_full_disk_says_how_to_go_on(resume, tmp_path):
    "The limit on the size of a file fails as a full disk does, for every user"
    code = '''
        import resource, signal, sys, numpy as np
        from memmap_ts.write import MemmapWriter
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        with MemmapWriter({f:f'{sys.argv[1]}/{f}.npy' for f in 'Xy'}, resume=bool(int(sys.argv[2]))) as w:
            for i in range(w.rows//100, 10): w.append(X=np.full((100,40), i), y=np.full(100, i))
    '''
    err = forked(code, tmp_path, int(resume)).communicate()[1].splitlines()[-1]
    assert 'X.npy.part' in err and '300 rows before are '+'not '*(not resume)+'kept; make room' in err and 'resume=True' in err
    if not resume: assert names(tmp_path)==[]; return
    with MemmapWriter(pair(tmp_path), resume=True) as w:
        assert w.rows==300
        for i in range(3, 10): w.append(X=np.full((100,40), i), y=np.full(100, i))
    X,y = [np.load(f) for f in pair(tmp_path).values()]
    assert X[:,39].tolist()==y.tolist()==[i for i in range(10) for _ in range(100)]

@pytest.mark.parametrize('step', ['write','flush','note','dask'])
def test_errors_of_the_disk_have_a_name(step, tmp_path, monkeypatch):
    w = MemmapWriter(pair(tmp_path), resume=True)
    w.append(X=[1,2], y=[3,4])
    def full(*a): raise OSError(errno.ENOSPC, 'No space left on device')
    class Full:
        name = str(tmp_path/'X.npy.part')
        def __getattr__(self, k): return getattr(file, k)
        write = full
    if step=='dask':
        pytest.importorskip('dask', reason='dask is optional')
        import dask.array as da
        w.abort()
        with monkeypatch.context() as m:
            m.setattr(os, 'fdatasync' if hasattr(os, 'fdatasync') else 'fsync', full)
            with pytest.raises(OSError, match='D.npy.part'): to_memmap(da.ones((4,2), chunks=2), tmp_path/'D.npy', progress=False)
        return
    with monkeypatch.context() as m:
        if step=='write':
            file = w.group.parts['X'].file
            m.setattr(w.group.parts['X'], 'file', Full())
            with pytest.raises(OSError, match="2 rows before are kept.*X.npy.part'"): w.append(X=[5], y=[6])
        else:
            m.setattr(os, 'fdatasync' if hasattr(os, 'fdatasync') and step=='flush' else 'fsync', full)
            with pytest.raises(OSError, match={'flush':"0 rows before are kept.*X.npy.part'", 'note':"No space"}[step]): w.close()
    w.abort()
    with MemmapWriter(pair(tmp_path), resume=True) as w: assert w.rows==2*(step!='flush'); w.append(X=[5], y=[6])

def test_rows_of_an_earlier_run_are_counted_when_a_flush_fails(tmp_path, monkeypatch):
    "And those that were given up are not"
    def full(f): raise OSError(errno.ENOSPC, 'No space left on device', str(f.name))
    def begun():
        w = MemmapWriter(tmp_path/'X.npy', resume=True)
        if not w.rows: w.append(range(100)); w.abort(); w = MemmapWriter(tmp_path/'X.npy', resume=True)
        return w
    for begin_anew,n in ((False,100),(True,0)):
        w = begun()
        assert w.rows==100
        if begin_anew: w.begin_anew()
        w.append([1])
        with monkeypatch.context() as m:
            m.setattr(sync, 'sync_file', full)
            with pytest.raises(OSError, match=f'the {n} rows before are kept'): w.close()
        w.abort()

# Never closed

def never_closed(path, code, resume):
    out,err = forked(f'''
        import sys
        from memmap_ts.write import MemmapWriter
        w = MemmapWriter(sys.argv[1], resume={resume})
        for i in range(100): w.append([i])
        {code}
    ''', path/'X.npy').communicate()
    return out

@pytest.mark.parametrize('code', ['pass','del w; print(1)','raise SystemExit','w.me = w; del w'])
@pytest.mark.parametrize('resume', [False, True])
def test_never_closed(code, resume, tmp_path):
    "Python ends, or forgets the writer"
    never_closed(tmp_path, code, resume)
    assert names(tmp_path)==['X.npy.part']*resume
    with MemmapWriter(tmp_path/'X.npy', resume=True) as w: assert w.rows==100*resume; w.append(range(w.rows, 101))
    assert open_memmap(tmp_path/'X.npy').tolist()==list(range(101))

@pytest.mark.parametrize('resume', [False, True])
def test_never_closed_is_told(resume, tmp_path):
    w = MemmapWriter(tmp_path/'X.npy', resume=resume)
    w.append([1,2])
    with pytest.warns(RuntimeWarning, match='X.npy got 2 rows and was never closed; they are '+('kept' if resume else 'lost')): del w
    assert names(tmp_path)==['X.npy.part']*resume
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        MemmapWriter(tmp_path/'Z.npy') # no rows, no word
        with pytest.raises(ValueError): MemmapWriter({})

def test_one_that_fails_at_the_end_does_not_keep_the_others(tmp_path):
    out,err = python("""
        import atexit, os, sys
        atexit.register(lambda: (sys.stderr.flush(), os._exit(0))) # the last one: before Python forgets the writers
        from memmap_ts.write import MemmapWriter
        from memmap_ts.writing import notices
        ws = [MemmapWriter(f'{sys.argv[1]}/{k}.npy', resume=True) for k in 'abc']
        def no(): raise OSError('no')
        for w in ws: w.append([1,2])
        notices.at_work = ws # in this order
        for w in ws[:2]: w.abort = no
    """, tmp_path).communicate()
    assert 'OSError: no' in err
    with MemmapWriter(tmp_path/'c.npy', resume=True) as w: assert w.rows==2

@posix
def test_a_fork_leaves_the_writer_alone(tmp_path):
    w = MemmapWriter(tmp_path/'X.npy')
    w.append([1,2])
    pid = os.fork()
    if not pid:
        try: w.__del__()
        finally: os._exit(0)
    os.waitpid(pid, 0)
    w.append([3])
    w.close()
    assert open_memmap(tmp_path/'X.npy').tolist()==[1,2,3]

def told_in_a_fork(path, f, *args):
    "Call `f` in a fork of this process: what its error says"
    pid = os.fork()
    if not pid:
        try: f(*args)
        except BaseException as e: (path/'told').write_text(f'{type(e).__name__}: {e}')
        finally: os._exit(0)
    os.waitpid(pid, 0)
    if not (path/'told').exists(): return None
    said = (path/'told').read_text()
    (path/'told').unlink()
    return said

def leave(w, error=None):
    with w:
        if error: raise error

def writers(path, **kw):
    "One of each kind, and rows for it"
    yield MemmapWriter(path/'X.npy', **kw),np.ones((3,2))
    yield RaggedWriter(path/'values.npy', path/'lengths.npy', **kw),[np.ones((2,3))]

@posix
@pytest.mark.parametrize('resume', [False, True])
def test_a_fork_does_not_end_the_writer(resume, tmp_path):
    "However it leaves the `with`: files, locks and rows are those of the process that has made the writer"
    for w,rows in writers(tmp_path, resume=resume):
        w.append(rows)
        fns,before = [*w.fns.values()],names(tmp_path)
        for end in ([w.abort],[w.close],[leave,w]): assert told_in_a_fork(tmp_path, *end) is None
        assert told_in_a_fork(tmp_path, leave, w, SystemExit()).startswith('SystemExit')
        assert 'is a fork of it. Append there' in told_in_a_fork(tmp_path, w.append, rows)
        again = partial(type(w), *(fns if len(fns)==1 else fns[::-1]), resume=resume)
        assert 'by another writer: close that' in told_in_a_fork(tmp_path, again) and names(tmp_path)==before
        with pytest.raises(BlockingIOError, match='another writer of this process'): again()
        w.append(rows)
        w.close()
    assert names(tmp_path)==['X.npy','lengths.npy','values.npy'] and [len(open_memmap(tmp_path/o)) for o in names(tmp_path)]==[6,2,6]

@posix
def test_a_fork_does_not_keep_the_lock(tmp_path):
    "Workers that read while a writer is at work have its files open"
    w = MemmapWriter(tmp_path/'X.npy', resume=True)
    w.append([1,2])
    r,go = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(go)
        os.read(r, 1)
        os._exit(0)
    w.abort()
    try:
        with MemmapWriter(tmp_path/'X.npy', resume=True) as w: assert w.rows==2
    finally:
        os.close(go)
        os.waitpid(pid, 0)

# A cell that has done its work

def fill(fns, n=10, **kw):
    with MemmapWriter(fns, resume=True, **kw) as w:
        before = w.rows
        for i in range(w.rows, n): w.append(**{k:[[i,i]] for k in fns})
    return before

def test_run_again(tmp_path):
    fns,sizes = pair(tmp_path),lambda: [f.stat().st_ino for f in fns.values()]
    assert fill(fns)==0
    was = sizes()
    assert fill(fns)==10 and sizes()==was and names(tmp_path)==['X.npy','y.npy']
    w = MemmapWriter(fns, resume=True)
    assert w.last_rows('y', 2).tolist()==[[8,8],[9,9]] and w.last_rows('y', 0).shape==(0,2)
    with pytest.raises(FileExistsError, match='finished by an earlier run, with 10 rows.*overwrite=True'): w.append(X=[[1,1]], y=[[1,1]])
    w.abort(); w.close()
    with pytest.raises(FileExistsError, match='finished'): fill(fns, 11)
    assert np.load(fns['X'])[:,0].tolist()==list(range(10)) and fill(fns, dtype={'X':'int64'})==10
    assert fill(fns, overwrite=True)==0 and sizes()!=was

def test_what_is_not_finished(tmp_path):
    "Other files than those of one writer are an error, as they are without `resume`"
    fns = pair(tmp_path)
    fill(fns)
    with pytest.raises(FileExistsError, match='dtype int64, not float32'): fill(fns, dtype={'X':'f4'})
    with pytest.raises(FileExistsError, match='exists'): MemmapWriter(fns)
    for bad in (np.zeros((9,2)), np.array(3)):
        np.save(fns['y'], bad)
        with pytest.raises(FileExistsError, match='exists'): fill(fns)
    fns['y'].write_text('no array')
    with pytest.raises(FileExistsError, match='exists'): fill(fns)
    fns['y'].unlink()
    with pytest.raises(FileExistsError, match='X.npy exists'): fill(fns)
    with pytest.raises(KeyboardInterrupt), MemmapWriter(fns, overwrite=True, resume=True) as w: w.append(X=[1], y=[2]); raise KeyboardInterrupt
    np.save(fns['y'], np.zeros((10,2)))
    with pytest.raises(FileExistsError, match='exists'): fill(fns) # and rows of another run

def test_rows_of_another_dtype_are_lost_only_with_overwrite(tmp_path):
    with pytest.raises(KeyboardInterrupt), MemmapWriter(tmp_path/'X.npy', resume=True) as w: w.append([1,2]); raise KeyboardInterrupt
    with pytest.raises(ValueError, match='begun with dtype int64'): MemmapWriter(tmp_path/'X.npy', dtype='f4', resume=True)
    with pytest.warns(RuntimeWarning, match='2 rows in .*pass the dtype that they have'), MemmapWriter(tmp_path/'X.npy', dtype='f4', resume=True, overwrite=True) as w:
        assert w.rows==0
        w.append([.5])
    assert open_memmap(tmp_path/'X.npy').tolist()==[.5]
