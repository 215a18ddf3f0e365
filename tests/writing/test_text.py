"Labels as HDF5 and NumPy have them in bytes are text"
import warnings, numpy as np, pytest
from memmap_ts.write import MemmapWriter, to_memmap
from writers import names, need, same, to

words = ['run','läuft','']*20
text,raw = np.array(words),np.array([o.encode() for o in words])

@pytest.fixture
def h5(tmp_path):
    h5py = need('h5py')
    with h5py.File(tmp_path/'a.h5', 'w') as f:
        f['variable'] = words
        f.create_dataset('fixed', (60,), h5py.string_dtype('utf-8', 7))[:] = words
        f['bytes'] = raw
        f.create_dataset('enum', data=np.arange(60, dtype='i1')%2, dtype=h5py.enum_dtype({'a':0, 'b':1}, 'i1'))
        f['table'] = np.zeros(5, [('name',h5py.string_dtype('utf-8', 7)),('x','f4')])
        f['latin'] = np.array([o.encode('latin1') for o in words])
    with h5py.File(tmp_path/'a.h5') as f: yield f

@pytest.mark.parametrize('name', ['variable','fixed','bytes'])
@pytest.mark.parametrize('take', [lambda d: d, lambda d: d[:], lambda d: d.asstr('utf-8'), lambda d: [d[:10],d[10:]], lambda d: d[:].astype(object)], ids=['dataset','array','asstr','chunks','objects'])
def test_strings_of_hdf5(h5, name, take, tmp_path):
    for rows in (None,7):
        got = to(take(h5[name]), tmp_path, chunk_rows=rows, overwrite=True)
        assert got.tolist()==words and got.dtype==text.dtype

def test_values_with_notes_in_their_dtype(h5, tmp_path):
    "NumPy would warn that the notes are not saved"
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        same(to(h5['enum'], tmp_path, 'a.npy'), (np.arange(60)%2).astype('i1'))
        assert to(h5['table'], tmp_path, 'b.npy').dtype==np.dtype([('name','S7'),('x','f4')])
        with MemmapWriter(tmp_path/'c.npy', dtype=h5['fixed'].dtype) as w: w.append(h5['fixed'][:])
        assert np.load(tmp_path/'c.npy').tolist()==raw.tolist()

def test_no_text(h5, tmp_path):
    "The advice of the error works"
    for a in (h5['latin'], h5['latin'][:].astype(object)):
        with pytest.raises(ValueError, match=r"b'l\\xe4uft' is no text in UTF-8.*np\.char\.decode\(a\.astype\('S'\), 'latin1'\)"): to(a, tmp_path)
        assert to(np.char.decode(a[:].astype('S'), 'latin1'), tmp_path, 'ok.npy', overwrite=True).tolist()==words
    assert to(h5['latin'], tmp_path, dtype='S')[1]==b'l\xe4uft'

def test_rows_of_variable_length(tmp_path):
    "They are no text either"
    h5py = need('h5py')
    with h5py.File(tmp_path/'v.h5', 'w') as f:
        d = f.create_dataset('v', (2,), h5py.vlen_dtype('f4'))
        d[0],d[1] = [1,2],[3]
        for a in (d, d[:]):
            with pytest.raises(TypeError, match='to_ragged'): to(a, tmp_path)

def test_bytes_that_are_asked_for(tmp_path):
    for dtype in ('S','S9',raw.dtype): assert to(raw, tmp_path, dtype=dtype, overwrite=True).tolist()==raw.tolist()
    assert to(raw, tmp_path, dtype='U9', overwrite=True).tolist()==words
    with MemmapWriter(tmp_path/'w.npy') as w: w.append(raw) # a writer keeps what it is given
    assert np.load(tmp_path/'w.npy').dtype==raw.dtype

def test_missing_labels(tmp_path):
    for bad in (None, np.nan):
        with pytest.raises(ValueError, match='row 1 of a chunk of strings has'): to([np.array([b'a',bad], object)], tmp_path)
    assert names(tmp_path)==[]

def test_a_file_of_bytes(tmp_path):
    np.save(tmp_path/'y.npy', raw)
    same(to_memmap(tmp_path/'y.npy', tmp_path/'text.npy', progress=False), text)
    assert to_memmap(raw[:0], tmp_path/'empty.npy', progress=False).dtype.kind=='U'
