"Renames that belong together: notes, and who finishes what a killed process has decided"
import json, os, threading, warnings, numpy as np, pytest
from memmap_ts.disk import renames
from memmap_ts.disk.notes import note_path
from memmap_ts.disk.renames import finish_renames, publish
from memmap_ts.store import create_memmap, open_memmap
from memmap_ts.write import MemmapWriter
from memmap_ts.writing.part import UnfinishedFile
from writers import names, posix, python

def finished(fn, first=0):
    p = UnfinishedFile(fn)
    p.begin((), 'i4')
    p.write(np.arange(first, first+3), 0)
    p.write_header(3)
    return p

@pytest.fixture
def published(tmp_path):
    publish([finished(tmp_path/'X.npy'), finished(tmp_path/'y.npy')])
    assert names(tmp_path)==['X.npy','y.npy']
    return tmp_path

def half(folder, others=()):
    "X new, y old: what a process leaves that is killed between the two renames"
    replace,done = os.replace,[]
    def killed(a, b):
        if done: raise SystemExit
        done.append(replace(a, b))
    parts = [finished(folder/'X.npy', 7), *(finished(o, 7) for o in others), finished(folder/'y.npy', 7)]
    os.replace = killed
    try: publish(parts)
    except SystemExit: pass
    finally: os.replace = replace
    for p in parts: p.file.close()

@pytest.mark.parametrize('name', ['X.npy','y.npy'])
def test_who_opens_a_file_finishes(name, published):
    half(published)
    assert [np.load(published/f'{f}.npy').tolist() for f in 'Xy']==[[7,8,9],[0,1,2]]
    assert open_memmap(published/name).tolist()==[7,8,9]
    assert [np.load(published/f'{f}.npy').tolist() for f in 'Xy']==[[7,8,9]]*2 and names(published)==['X.npy','y.npy']

def test_who_opens_a_file_that_had_no_name_yet(tmp_path):
    half(tmp_path)
    assert not (tmp_path/'y.npy').exists() and open_memmap(tmp_path/'y.npy').tolist()==[7,8,9]

def test_files_in_several_folders(published):
    "Each has a note beside it, also behind a link"
    (published/'d').mkdir()
    np.save(published/'d'/'z.npy', [0])
    half(published, [published/'d'/'z.npy'])
    fn = published/'d'/'z.npy'
    if os.name=='posix': fn = published/'link.npy'; fn.symlink_to(published/'d'/'z.npy')
    assert open_memmap(fn).tolist()==[7,8,9] and np.load(published/'y.npy').tolist()==[7,8,9]
    assert not note_path(published/'X.npy').exists() and names(published/'d')==['z.npy']

def test_a_moved_folder(published):
    half(published)
    moved = published.rename(published.with_name('moved'))
    assert open_memmap(moved/'y.npy').tolist()==[7,8,9] and names(moved)==['X.npy','y.npy']

def test_readers_wait_for_who_is_at_it(published, monkeypatch):
    "Between the two renames of a living process nobody opens one of the files"
    replace,between,go,got = os.replace,threading.Event(),threading.Event(),[]
    def slow(a, b):
        replace(a, b)
        if str(b).endswith('X.npy'): between.set(); assert go.wait(30)
    monkeypatch.setattr(os, 'replace', slow)
    parts = [finished(published/'X.npy', 7), finished(published/'y.npy', 7)]
    writer = threading.Thread(target=publish, args=[parts])
    writer.start()
    assert between.wait(30)
    reader = threading.Thread(target=lambda: got.append(open_memmap(published/'y.npy').tolist()))
    reader.start()
    reader.join(.05)
    assert reader.is_alive() and not got
    monkeypatch.setattr(renames, 'PATIENCE_SECONDS', 0)
    with pytest.raises(BlockingIOError, match='X.npy is just being replaced.*try again'): open_memmap(published/'X.npy')
    go.set()
    for t in (writer,reader): t.join(30)
    assert got==[[7,8,9]] and names(published)==['X.npy','y.npy']

@posix
def test_who_may_not_write_reads_no_mixture(published, monkeypatch):
    half(published)
    def no(a, b): raise PermissionError(13, 'no')
    with monkeypatch.context() as m:
        m.setattr(os, 'replace', no)
        for f in 'Xy':
            with pytest.raises(PermissionError, match=f'{f}.npy was being replaced.*may write in {published}'): open_memmap(published/f'{f}.npy')
    assert open_memmap(published/'X.npy').tolist()==open_memmap(published/'y.npy').tolist()==[7,8,9]

@posix
def test_another_user(published):
    "A user who may only read: root can take the part of one"
    if os.getuid(): pytest.skip('needs root to become another user')
    code = '''
        import mmap, os, sys
        from memmap_ts.store import open_memmap
        os.setuid(65534)
        try: print(open_memmap(sys.argv[1]).tolist())
        except PermissionError as e: print(e)
    '''
    for folder in (published,*published.parents[:-2]): folder.chmod(0o755)
    def other(name): out,err = python(code, published/name).communicate(); assert not err, err; return out
    assert '[0, 1, 2]' in other('X.npy')
    half(published)
    for f in ('X.npy','y.npy'): assert 'was being replaced' in other(f)
    open_memmap(published/'y.npy')
    assert '[7, 8, 9]' in other('y.npy')

def test_nothing_can_be_renamed(published, monkeypatch):
    "The decision is taken back: the old pair stays, and can be opened"
    def no(a, b): raise PermissionError(13, 'mapped by somebody')
    parts = [finished(published/'X.npy', 7), finished(published/'y.npy', 7)]
    with monkeypatch.context() as m:
        m.setattr(os, 'replace', no)
        with pytest.raises(PermissionError, match='mapped'): publish(parts)
    for p in parts: p.file.close()
    assert open_memmap(published/'X.npy').tolist()==open_memmap(published/'y.npy').tolist()==[0,1,2]
    assert names(published)==['X.npy','X.npy.part','y.npy','y.npy.part']

def test_renamed_by_somebody_else(published, monkeypatch):
    "Without locks, a reader may have taken our note for that of a dead process"
    replace = os.replace
    def twice(a, b): replace(a, b); raise FileNotFoundError(a)
    monkeypatch.setattr(os, 'replace', twice)
    publish([finished(published/'X.npy', 7), finished(published/'y.npy', 7)])
    assert open_memmap(published/'X.npy').tolist()==[7,8,9] and names(published)==['X.npy','y.npy']
    p = finished(published/'X.npy')
    os.unlink(p.path)
    monkeypatch.setattr(os, 'replace', replace)
    with pytest.raises(FileNotFoundError): publish([p]) # removed, which is not the same
    p.file.close()

def note(what): return '{"renames of memmap_ts": '+what+'}'

@pytest.mark.parametrize('what', ['[["X.np', '{"a":1}', '[1,2]', '[[1,2,3,4]]', '7', 'null', '\xff', '[["a",null,1]]', '[[3,[1,1],null]]', '[["X.npy",3,"a"]]', r'[["\u0000",[1,1],null]]', '"gone.publish"', '"."', r'"\u0000"'])
def test_notes_that_decide_nothing(what, published):
    (published/'X.npy.publish').write_bytes(note(what).encode('latin1'))
    assert open_memmap(published/'X.npy').tolist()==[0,1,2]
    assert names(published)==['X.npy','y.npy']
    with MemmapWriter({f:published/f'{f}.npy' for f in 'Xy'}, overwrite=True) as w: w.append(X=[1], y=[2])
    assert names(published)==['X.npy','y.npy']

@pytest.mark.parametrize('text', ['', 'ready', '{}', '[["X.npy.part","X.npy",1,1]]'])
def test_files_of_others_that_have_the_name_of_a_note(text, published):
    "Who reads leaves them, whatever they hold; who replaces several files is told before any row"
    for f in 'Xy': (published/f'{f}.npy.publish').write_text(text)
    assert [open_memmap(published/f'{f}.npy').tolist() for f in 'Xy']==[[0,1,2]]*2
    with MemmapWriter(published/'y.npy', overwrite=True) as w: w.append([1])
    assert [(published/f'{f}.npy.publish').read_text() for f in 'Xy']==[text]*2
    fns = {f:published/f'{f}.npy' for f in 'Xy'}
    if not text: MemmapWriter(fns, overwrite=True).abort(); return
    with pytest.raises(FileExistsError, match='X.npy.publish is in the way.*Rename'): MemmapWriter(fns, overwrite=True)

@pytest.mark.parametrize('by_way_of', ['decision','pointer','link'])
def test_a_note_reaches_only_files_that_name_it(by_way_of, published):
    "A folder of somebody else, with a note about files outside"
    home,ds = published/'home',published/'ds'
    for d in (home,ds): d.mkdir()
    mine = home/'mine.npy'
    for fn,v in ((mine,5), (ds/'X.npy',1), (ds/'mine.npy.part',6), (home/'mine.npy.part',6)):
        with open(fn, 'wb') as f: np.save(f, [v])
    if by_way_of=='link' and os.name=='posix': (ds/'mine.npy').symlink_to(mine)
    was,part = mine.stat(),ds/'mine.npy.part'
    def stamp(s): return [s.st_size,s.st_mtime_ns]
    found = [[str(fn),stamp(p.stat()),stamp(was)] for fn,p in [(mine,home/'mine.npy.part'), ('../home/mine.npy',home/'mine.npy.part'), ('mine.npy',part)]]
    old = [[str(part),str(mine),*stamp(part.stat())]] # as notes were before they had a mark
    decides = ds/('z.npy.publish' if by_way_of=='pointer' else 'X.npy.publish')
    if by_way_of=='pointer': (ds/'X.npy.publish').write_text(note('"z.npy.publish"'))
    for text in (json.dumps(old),note(json.dumps(found))):
        decides.write_text(text)
        assert open_memmap(ds/'X.npy').tolist()==[1] and np.load(mine).tolist()==[5]
        assert names(home)==['mine.npy','mine.npy.part'] and part.exists()

@pytest.mark.parametrize('opened', ['X.npy','y.npy'])
def test_a_file_newer_than_the_decision_stays(opened, published):
    half(published)
    np.save(published/'y.npy', [42.])
    with pytest.warns(RuntimeWarning, match='y.npy: written after.*stays as it is.*.part') as told: open_memmap(published/opened)
    assert told[0].filename==__file__ and names(published)==['X.npy','y.npy','y.npy.part']
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert [open_memmap(published/f'{f}.npy').tolist() for f in 'Xy']==[[7,8,9],[42.]]
    with pytest.warns(RuntimeWarning, match='safe on the disk are 3 rows in .*y.npy.part'): MemmapWriter(published/'y.npy', overwrite=True).abort()

def test_a_new_file_where_none_was(tmp_path):
    half(tmp_path)
    np.save(tmp_path/'y.npy', [42.])
    with pytest.warns(RuntimeWarning, match='y.npy'): assert open_memmap(tmp_path/'y.npy').tolist()==[42.]

def test_newer_than_a_decision_of_which_nothing_is_done(published, monkeypatch):
    "One of the two is newer: both keep what they hold"
    def killed(a, b): raise SystemExit
    parts = [finished(published/f'{f}.npy', 7) for f in 'Xy']
    with monkeypatch.context() as m:
        m.setattr(os, 'replace', killed)
        m.setattr(renames, '_remove', lambda *a: None) # a killed process takes nothing back
        with pytest.raises(SystemExit): publish(parts)
    for p in parts: p.file.close()
    np.save(published/'X.npy', [42.])
    with pytest.warns(RuntimeWarning, match='X.npy: written'): assert open_memmap(published/'y.npy').tolist()==[0,1,2]
    assert np.load(published/'X.npy').tolist()==[42.] and names(published)==['X.npy','X.npy.part','y.npy','y.npy.part']

def test_made_after_a_kill(published):
    "The array that was asked for, not the rows of the killed process"
    half(published)
    a = create_memmap(published/'y.npy', (7,2), overwrite=True)
    assert a.shape==(7,2) and a.dtype=='f4' and not a.any() and names(published)==['X.npy','y.npy']
    half(published)
    with pytest.raises(FileExistsError): create_memmap(published/'y.npy', 3)
    assert open_memmap(published/'y.npy').tolist()==[7,8,9]

@pytest.mark.parametrize('opened', ['X.npy','y.npy'])
def test_killed_before_the_decision(opened, published):
    "Pointers to nothing do not make an aborted writer keep its files"
    (published/'X.npy.publish').touch()
    (published/'y.npy.publish').write_text(note('"X.npy.publish"'))
    assert open_memmap(published/opened).tolist()==[0,1,2]
    if opened=='y.npy': assert names(published)==['X.npy','y.npy']
    w = MemmapWriter({f:published/f'{f}.npy' for f in 'Xy'}, overwrite=True)
    w.append(X=[1], y=[2])
    w.abort()
    assert not list(published.glob('*.part')) and not (published/'y.npy.publish').exists()

def test_a_folder_where_a_note_would_be(published):
    (published/'X.npy.publish').mkdir()
    assert open_memmap(published/'X.npy').tolist()==[0,1,2]

def test_note_about_a_file_that_is_being_written(published):
    "Who holds the file decides; when it is let go, and is another one than was decided on, it stays"
    p = finished(published/'y.npy')
    said = published/'y.npy.publish'
    said.write_text(note('[["y.npy",[1,1],null]]'))
    finish_renames([published/'X.npy']) # another file
    with pytest.raises(BlockingIOError): finish_renames([published/'y.npy'])
    assert said.exists()
    p.close(keep=True)
    finish_renames([published/'y.npy'])
    assert names(published)==['X.npy','y.npy','y.npy.part']

def test_looking_for_a_note_does_not_list_the_folder(published, monkeypatch):
    def no(*a): raise AssertionError('listed')
    for m in ('listdir','scandir'): monkeypatch.setattr(os, m, no)
    assert open_memmap(published/'X.npy').tolist()==[0,1,2]
    MemmapWriter(published/'z.npy').abort()
