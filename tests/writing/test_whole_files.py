"Whole files or none: names, locks, errors, and going on"
import errno, os, stat, numpy as np, pytest
from memmap_ts.disk.files import open_locked, sync_folder
from memmap_ts.store import open_memmap
from memmap_ts.write import MemmapWriter, to_memmap
from memmap_ts.writing.publish import FileGroup
from forked import forked
from writers import X, names, posix

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
        with pytest.raises(OSError): sync_folder(tmp_path/'X.npy')
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
            with pytest.raises(BlockingIOError): open_locked(b)
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

def test_two_writers(tmp_path):
    code = "import sys; from memmap_ts.write import MemmapWriter; MemmapWriter(sys.argv[1], resume=True)"
    with MemmapWriter(tmp_path/'a.npy', resume=True) as w:
        w.append([1])
        with pytest.raises(BlockingIOError, match='another writer'): MemmapWriter(tmp_path/'a.npy')
        with pytest.raises(BlockingIOError, match='another writer'): MemmapWriter({'a':tmp_path/'a2.npy', 'b':tmp_path/'a.npy'})
        err = forked(code, tmp_path/'a.npy').communicate()[1]
        assert 'another writer' in err
        w.append([2])
    assert np.load(tmp_path/'a.npy').tolist()==[1,2] and names(tmp_path)==['a.npy']

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
    def fails(group):
        for p in group.parts.values(): p.file.close()
        raise PermissionError('mapped by somebody')
    w = MemmapWriter(tmp_path/'X.npy')
    w.append([1,2])
    with monkeypatch.context() as m:
        m.setattr(FileGroup, 'publish', fails)
        with pytest.raises(PermissionError, match='mapped by somebody'): w.close()
    MemmapWriter(tmp_path/'X.npy', resume=True).close()
    assert open_memmap(tmp_path/'X.npy').tolist()==[1,2]
