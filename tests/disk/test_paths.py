"What a path leads to: what is no file is told by its name, and never replaced"
import os, stat, numpy as np, pytest
from memmap_ts.all import *
from memmap_ts.write import MemmapWriter, to_memmap

posix = pytest.mark.skipif(os.name!='posix', reason='needs links and pipes')
X = np.arange(6.).reshape(3,2)

def names(path): return sorted(p.name for p in path.iterdir())

class AsTyped(os.PathLike):
    "A path that nobody has put in order"
    def __init__(self, fn, parent): self.fn,self.parent = fn,parent
    def __fspath__(self): return self.fn

@pytest.fixture
def odd(tmp_path):
    "A folder, a pipe, a socket, and links to nothing and to themselves"
    (tmp_path/'folder').mkdir()
    os.mkfifo(tmp_path/'pipe')
    os.mknod(tmp_path/'socket', stat.S_IFSOCK|0o600)
    (tmp_path/'to_pipe').symlink_to('pipe')
    (tmp_path/'gone').symlink_to('nothing.npy')
    (tmp_path/'loop').symlink_to('loop')
    return tmp_path

WRITERS = {
    'to_memmap': lambda fn, **kw: to_memmap(X, fn, progress=False, **kw),
    'create_memmap': lambda fn, **kw: create_memmap(fn, (3,2), **kw),
    'writer': lambda fn, **kw: MemmapWriter(fn, **kw),
    'resumed': lambda fn, **kw: MemmapWriter(fn, resume=True, **kw),
    'y': lambda fn, **kw: MemmapWriter({'X':fn.parent/'X.npy', 'y':fn}, **kw),
    'to_ragged': lambda fn, **kw: to_ragged([X,X], fn, fn.parent/'lengths.npy', progress=False, **kw),
    'lengths': lambda fn, **kw: RaggedWriter(fn.parent/'values.npy', fn, **kw)}

@posix
@pytest.mark.parametrize('overwrite', [False, True])
@pytest.mark.parametrize('writer', WRITERS)
def test_what_is_no_file_is_not_replaced(writer, overwrite, odd):
    before = {o:os.lstat(odd/o) for o in names(odd)}
    for name,what in (('folder','is a folder'), ('pipe',r'pipe is a pipe \(FIFO\)'), ('socket','is a socket'), ('to_pipe',r'to_pipe is a pipe'),
                      ('loop','loop: a link that leads back to itself')):
        with pytest.raises(OSError, match=what): WRITERS[writer](odd/name, overwrite=overwrite)
    assert {o:os.lstat(odd/o)[:3] for o in names(odd)}=={o:s[:3] for o,s in before.items()}

@posix
def test_a_pipe_made_meanwhile(tmp_path):
    w = MemmapWriter(tmp_path/'X.npy', overwrite=True)
    w.append(X)
    os.mkfifo(tmp_path/'X.npy')
    with pytest.raises(OSError, match='is a pipe'): w.close()
    assert stat.S_ISFIFO(os.stat(tmp_path/'X.npy').st_mode) and names(tmp_path)==['X.npy','X.npy.part'] # the rows are kept

@posix
@pytest.mark.parametrize('writer', ['to_memmap','create_memmap'])
def test_links_are_followed(writer, tmp_path):
    (tmp_path/'there').mkdir()
    np.save(tmp_path/'there'/'X.npy', [0])
    for name in ('X','new'): (tmp_path/f'{name}.npy').symlink_to(f'there/{name}.npy')
    with pytest.raises(FileExistsError, match='overwrite=True'): WRITERS[writer](tmp_path/'X.npy')
    for name in ('X','new'):
        assert WRITERS[writer](tmp_path/f'{name}.npy', overwrite=name=='X').shape==(3,2)
        assert (tmp_path/f'{name}.npy').is_symlink() and np.load(tmp_path/'there'/f'{name}.npy').shape==(3,2)
    assert names(tmp_path/'there')==['X.npy','new.npy']
    with pytest.raises(OSError): create_memmap(tmp_path/'X.npy', 10**17, overwrite=True, allocate=True)
    assert np.load(tmp_path/'X.npy').shape==(3,2) and names(tmp_path/'there')==['X.npy','new.npy']

@pytest.mark.parametrize('writer', ['to_memmap','create_memmap','writer','y','to_ragged'])
def test_a_name_that_leaves_no_room(writer, tmp_path):
    "The unfinished file has a longer one"
    for n in (242,245,251,300):
        fn = tmp_path/('x'*n+'.npy')
        with pytest.raises(OSError, match='too long.*shorter'): WRITERS[writer](fn)
    assert names(tmp_path)==[]

@pytest.mark.parametrize('writer', ['to_memmap','create_memmap','writer','y','to_ragged'])
def test_no_folder_for_it(writer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'a.csv').write_text('x')
    for fn,what in (('no/such/X.npy',rf'no folder .*{tmp_path.name}/no for .*os.makedirs'), ('~/X.npy',r'os\.path\.expanduser'), ('s3://bucket/X.npy','is a URL.*download'),
                    ('a.csv/X.npy','is a file, no folder')):
        with pytest.raises((FileNotFoundError,NotADirectoryError), match=what): WRITERS[writer](AsTyped(fn, tmp_path))
    assert names(tmp_path)==['a.csv']

READERS = {
    'open_memmap': open_memmap, 'open_raw': lambda fn: open_raw(fn, 'f4', -1), 'open_memmaps': lambda fn: open_memmaps([fn]),
    'ragged': lambda fn: ragged(fn, [1]), 'to_memmap': lambda fn: to_memmap(fn, 'out.npy', progress=False),
    'to_ragged': lambda fn: to_ragged([fn], 'values.npy', 'lengths.npy', progress=False)}

@posix
@pytest.mark.parametrize('reader', READERS)
def test_what_is_no_file_is_told_when_it_is_opened(reader, odd, monkeypatch):
    monkeypatch.chdir(odd)
    for name in ('folder','pipe','gone','loop'): os.rename(name, f'{name}.npy')
    (odd/'loop.npy').unlink(); (odd/'loop.npy').symlink_to('loop.npy')
    before = names(odd)
    for fn,what in (('folder.npy','is a folder'), ('pipe.npy','is a pipe'), ('gone.npy','is a link to nothing.npy, which is not there'), ('loop.npy','leads back to itself'),
                    ('~/X.npy','expanduser'), ('s3://bucket/X.npy','is a URL'), ('no.npy',r'No file .*no.npy \(looked in'), ('x'*300+'.npy', 'too long')):
        with pytest.raises(OSError, match=what): READERS[reader](fn)
    assert names(odd)==before

@posix
def test_a_folder_nobody_may_look_into(tmp_path):
    (tmp_path/'closed').mkdir()
    np.save(tmp_path/'closed'/'X.npy', X)
    (tmp_path/'closed').chmod(0)
    was = os.geteuid()
    try:
        if not was: os.seteuid(65534)
        with pytest.raises(PermissionError, match='X.npy: this user may not look into its folder'): open_memmap(tmp_path/'closed'/'X.npy')
    finally:
        os.seteuid(was)
        (tmp_path/'closed').chmod(0o700)

def test_paths_of_bytes(tmp_path):
    fn = os.fsencode(tmp_path/'X.npy')
    create_memmap(fn, (3,2))[:] = X
    assert names(tmp_path)==['X.npy']
    for a in (open_memmap(fn), open_memmaps(fn)[[0,1,2]], open_memmaps([fn])[[0,1,2]], to_memmap(fn, os.fsencode(tmp_path/'Y.npy'), progress=False)): assert np.asarray(a).tolist()==X.tolist()
    X.tofile(tmp_path/'X.bin')
    assert open_raw(os.fsencode(tmp_path/'X.bin'), 'f8', (-1,2)).tolist()==X.tolist()
    with pytest.raises(FileNotFoundError, match='No file .*no.npy'): open_memmap(b'no.npy')
    with pytest.raises(TypeError, match='PathLike'): create_memmap(3, 3)

def test_raw_files_without_a_byte(tmp_path):
    (tmp_path/'a.bin').touch()
    for shape in (-1,(0,3),(-1,3)):
        with pytest.raises(ValueError, match='a.bin is empty'): open_raw(tmp_path/'a.bin', 'f4', shape)
    (tmp_path/'a.bin').write_bytes(bytes(24))
    with pytest.raises(TypeError): open_raw(tmp_path/'a.bin', 'f4', (2.9,3))
    assert open_raw(tmp_path/'a.bin', 'f4', (0,3)).shape==(0,3)
