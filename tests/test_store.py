"Files: what is wrong is said, what is there is not lost"
import errno, mmap, os, pickle, warnings, numpy as np, pytest
from multiprocessing import context
from memmap_ts.all import *
from memmap_ts.data.source import as_source
from memmap_ts.store import Handle, map_file

def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match='check the path'): open_memmap(tmp_path/'a.npy')

@pytest.mark.parametrize('content', [b'', b'a,b\n1,2\n', b'\x93NUMPY', b'\x93NUMPY\x01\x00\x76\x00{broken'])
def test_not_npy(tmp_path, content):
    (tmp_path/'a.npy').write_bytes(content)
    with pytest.raises(ValueError, match='not a .npy file'): open_memmap(tmp_path/'a.npy')

@pytest.mark.parametrize('mode', ['r','r+','c'])
def test_truncated(saved, mode):
    fn = saved(np.ones((10,3)))
    os.truncate(fn, os.path.getsize(fn)-1)
    size = os.path.getsize(fn)
    with pytest.raises(ValueError, match='truncated.*Write or copy it again'): open_memmap(fn, mode)
    assert os.path.getsize(fn)==size # np.memmap itself would have made it longer in mode 'r+'

def test_objects(saved):
    with pytest.raises(ValueError, match='to_memmap'): open_memmap(saved(np.array(['a',{}], object)))

def test_mode(saved):
    with pytest.raises(ValueError, match='create_memmap'): open_memmap(saved(np.ones(3)), 'w+')

@pytest.mark.parametrize('a', [np.ones((0,3)), np.asfortranarray(np.arange(6).reshape(2,3)), np.arange(3,dtype='>i4'), np.array(['a','bc']), np.ones(3,'f2')])
def test_same_as_numpy(saved, a):
    fn = saved(a)
    m = open_memmap(fn)
    np.testing.assert_array_equal(m, a); assert m.dtype==a.dtype and m.flags.f_contiguous==a.flags.f_contiguous

def test_create_does_not_overwrite(saved, sha):
    fn = saved(np.ones(5)); before = sha(fn)
    with pytest.raises(FileExistsError, match='overwrite=True'): create_memmap(fn, 3)
    assert sha(fn)==before
    old = open_memmap(fn)
    new = create_memmap(fn, (2,2), 'i2', overwrite=True)
    assert new.shape==(2,2) and not new.any() and old.sum()==5
    assert os.listdir(fn.parent)==['X.npy']

def test_create_leaves_nothing_when_it_fails(tmp_path):
    with pytest.raises(OSError): create_memmap(tmp_path/'a.npy', 10**17)
    with pytest.raises(TypeError): create_memmap(tmp_path/'a.npy', 3, object)
    assert not os.listdir(tmp_path)

def test_on_disk(saved):
    X = open_memmap(saved(np.arange(24.).reshape(4,2,3)))
    assert all(map(on_disk, (X, X[1:], X.T, X[0], X.view(np.ndarray), np.asarray(X)[::2,1], X.reshape(8,3))))
    assert not any(map(on_disk, (X+1, X[[0,1]], X.copy(), np.array(X), X.sum(0), 3, None)))

def test_shape_of_integers(tmp_path):
    with pytest.raises(TypeError): create_memmap(tmp_path/'X.npy', (10.9,3))
    assert create_memmap(tmp_path/'X.npy', np.array([2,3])).shape==(2,3) and create_memmap(tmp_path/'y.npy', np.int64(4)).shape==create_memmap(tmp_path/'z.npy', np.array(4)).shape==(4,)

def test_tables_and_patterns_are_told_apart(tmp_path):
    (tmp_path/'a.csv').write_text('x,y')
    with pytest.raises(ValueError, match='to_ragged'): open_memmap(tmp_path/'a.csv')
    with pytest.raises(FileNotFoundError, match='open_memmaps'): open_memmap(tmp_path/'*.npy')

def test_archive_is_not_mapped(tmp_path):
    np.savez(tmp_path/'a.npz', X=np.ones(3))
    with pytest.raises(ValueError, match='unpack it'): open_memmap(tmp_path/'a.npz')

def test_no_negative_size(tmp_path):
    with pytest.raises(ValueError, match='negative'): create_memmap(tmp_path/'a.npy', (3,-1))
    with pytest.raises(TypeError, match='<U10'): create_memmap(tmp_path/'a.npy', 3, object)
    assert not os.listdir(tmp_path)
    assert create_memmap(tmp_path/'s.npy', (2,), '<U3').dtype==np.dtype('<U3')

def test_rows_begin_after_the_header(saved):
    assert open_memmap(saved(np.ones((4,2,3), 'f4'))).offset==128

def test_file_system_that_does_not_map(saved, monkeypatch):
    "Its error has no name of a file"
    fn = saved(np.ones((4,3)))
    handle = Handle(open_memmap(fn))
    def refuse(*args, **kwargs): raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    monkeypatch.setattr(mmap, 'mmap', refuse)
    for call in (lambda: open_memmap(fn), lambda: open_memmap(fn, 'r+'), handle.open, lambda: to_memmap(fn, fn.with_name('b.npy'))):
        with pytest.raises(OSError, match="can't map.*local disk.*X.npy") as e: call()
        assert e.value.errno==errno.ENODEV and e.value.filename==str(fn)
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError): map_file(str(fn)+'x', 'u1', 'r')

def _replace(fn, a):
    np.save(fn.with_name('new.npy'), a)
    os.replace(fn.with_name('new.npy'), fn)

@pytest.mark.parametrize('mode', ['r','r+','c'])
def test_a_name_of_another_file_is_not_pickled(saved, mode):
    "A worker would read the new file at the places of the old one; what was only written to is the same file"
    fn = saved(np.zeros((4,3)))
    X = open_memmap(fn, mode)
    with open(fn, 'r+b') as f: f.write(fn.read_bytes())
    with warnings.catch_warnings():
        if mode=='c': warnings.simplefilter('ignore')
        again = pickle.loads(pickle.dumps(as_source(X[1:])))
    _replace(fn, np.ones((4,3)))
    for o in (X, X.T[:,1:], again.wrapped):
        with pytest.raises(ValueError, match='X.npy was replaced since it was opened: open it again'): pickle.dumps(as_source(o))
    assert pickle.loads(pickle.dumps(as_source(open_memmap(fn)))).wrapped.sum()==12

def test_what_stays_in_this_process(saved):
    "A pickle, and so a worker, has what is in the file"
    X = open_memmap(saved(np.zeros((4,3))), 'c')
    X[:] = 1
    with pytest.warns(RuntimeWarning, match="X.npy is mapped with mode 'c': what was written to the array stays"): stored = pickle.dumps(itemify(X))
    assert pickle.loads(stored).arrays[0].sum()==0

def test_maps_of_others(saved):
    "Are known by the size of their file, and from when they are first seen"
    fn = saved(np.zeros((4,3)))
    seen,unseen = as_source(np.load(fn, mmap_mode='r')),np.load(fn, mmap_mode='r')
    _replace(fn, np.ones((4,3)))
    with pytest.raises(ValueError, match='was replaced'): pickle.dumps(seen)
    _replace(fn, np.ones((5,3)))
    with pytest.raises(ValueError, match='was replaced'): pickle.dumps(as_source(unseen))
    fn.unlink()
    assert as_source(unseen)[0].sum()==0

def test_replaced_before_a_worker_opens_it(saved, monkeypatch):
    "It is on the same machine; elsewhere the number of a file means nothing"
    fn = saved(np.zeros((4,3)))
    stored = Handle(open_memmap(fn))
    monkeypatch.setattr(context, 'get_spawning_popen', object)
    for_worker = pickle.loads(pickle.dumps(Handle(open_memmap(fn))))
    assert for_worker.open().sum()==0
    _replace(fn, np.ones((4,3)))
    with pytest.raises(ValueError, match='was replaced'): for_worker.open()
    assert stored.open().sum()==12
