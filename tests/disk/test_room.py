"Disks that are too small, and room that is taken beforehand"
import errno, os, shutil, subprocess, sys, textwrap, warnings, numpy as np, pytest
from memmap_ts.disk.files import free_bytes, open_locked, take_room
from memmap_ts.store import create_memmap, open_memmap
from writers import names

def test_larger_than_what_is_free(tmp_path):
    "A warning, since rows that are never written take no room; an error if the room is wanted now"
    with pytest.warns(RuntimeWarning, match='X.npy is of 4,000,000,000,.* free.*allocate=True') as told: create_memmap(tmp_path/'X.npy', 10**12)
    assert told[0].filename==__file__
    (tmp_path/'X.npy').unlink()
    with pytest.raises(OSError, match='X.npy is of 4,000,000,000,.* free: make room') as e: create_memmap(tmp_path/'X.npy', 10**12, allocate=True)
    assert e.value.errno==errno.ENOSPC and names(tmp_path)==[]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert create_memmap(tmp_path/'X.npy', 10).shape==(10,)
        with pytest.raises(RuntimeWarning): create_memmap(tmp_path/'Y.npy', 10**12)
    assert names(tmp_path)==['X.npy']

def test_what_is_free_beside_a_file_or_in_a_folder(tmp_path, monkeypatch):
    "The folder itself, which may be a disk of its own"
    asked = []
    monkeypatch.setattr(shutil, 'disk_usage', lambda p: asked.append(os.fspath(p)) or shutil._ntuple_diskusage(3, 2, 1))
    assert free_bytes(tmp_path/'X.npy')==free_bytes(tmp_path)==1 and asked==[str(tmp_path)]*2

@pytest.mark.parametrize('has_call', [True, False])
@pytest.mark.parametrize('shape', [(3,2**19), 0, (0,4), 2])
def test_room_is_taken(shape, has_call, tmp_path, monkeypatch):
    if not has_call: monkeypatch.delattr(os, 'posix_fallocate', raising=False)
    a = create_memmap(tmp_path/'X.npy', shape, allocate=True)
    assert not a.any() and np.load(tmp_path/'X.npy').shape==a.shape
    if os.name=='posix': assert os.stat(tmp_path/'X.npy').st_blocks*512>=a.nbytes
    a[...] = 7
    assert (open_memmap(tmp_path/'X.npy')==7).all()

def test_a_file_system_without_the_call(tmp_path, monkeypatch):
    def no(*a): raise OSError(errno.EOPNOTSUPP, 'no')
    monkeypatch.setattr(os, 'posix_fallocate', no, raising=False)
    assert create_memmap(tmp_path/'X.npy', 10**6, allocate=True).sum()==0
    def full(*a): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(os, 'posix_fallocate', full, raising=False)
    with pytest.raises(OSError, match='No space left.*Y.npy'): create_memmap(tmp_path/'Y.npy', 10**6, allocate=True)
    assert names(tmp_path)==['X.npy']

@pytest.mark.parametrize('allocate', [True, False])
def test_a_small_disk(allocate, small_disk):
    "What does not fit ends the process when its rows are written; with `allocate` there is an error, and no file"
    code = '''
        import sys, warnings
        from memmap_ts.store import create_memmap
        warnings.simplefilter('ignore')
        create_memmap(sys.argv[1]+'/X.npy', 2**23, allocate=bool(int(sys.argv[2])))[:] = 1
    '''
    r = subprocess.run([sys.executable, '-c', textwrap.dedent(code), small_disk, str(int(allocate))], capture_output=True, text=True)
    if allocate: assert 'OSError' in r.stderr and 'make room' in r.stderr and names(small_disk)==[]
    else: assert r.returncode<0 # SIGBUS: what the warning says
    (small_disk/'X.npy').unlink(missing_ok=True)
    fits = create_memmap(small_disk/'X.npy', 2**18, allocate=True)
    (small_disk/'rest').touch()
    with pytest.raises(OSError), open_locked(small_disk/'rest') as f: take_room(f, 2**23)
    fits[:] = 1 # the room is its own
    assert fits.sum()==2**18

def test_an_old_file_gives_its_room(small_disk):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for _ in range(2): create_memmap(small_disk/'X.npy', 3*2**18, overwrite=True)[:] = 1
