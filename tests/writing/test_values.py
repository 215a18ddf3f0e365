"What is written has the values, dtype and shape of what was given"
import os, random, numpy as np, pandas as pd, pytest
from memmap_ts.write import MemmapWriter, to_memmap
from memmap_ts.writing.part import UnfinishedFile
from writers import X, names, rng, to

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
    monkeypatch.setattr(UnfinishedFile, 'block_bytes', 100)
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
    with pytest.raises(ValueError, match='missing in row 1'): to_memmap(pd.DataFrame(dict(a=[1,2], y=['a',None])), tmp_path/'X.npy', y_fn=tmp_path/'y.npy', target_col='y', progress=False)
    assert names(tmp_path)==[]

def test_names(tmp_path):
    "Any name for an array, any path for a file"
    with MemmapWriter({'chunk':tmp_path/'X.npy', 'y':tmp_path/'y.npy'}) as w:
        w.append(chunk=[1,2], y=[3,4])
        with pytest.raises(ValueError, match='by its name'): w.append([1])
    assert np.load(tmp_path/'X.npy').tolist()==[1,2]
    assert to_memmap([[1,2]], os.fsencode(tmp_path/'b.npy'), progress=False).tolist()==np.load(tmp_path/'b.npy').tolist()==[1,2]

def test_chunks_by_name(tmp_path):
    with pytest.raises(ValueError, match='by its name'), MemmapWriter(tmp_path/'a.npy') as w: w.append(X=np.ones(3))
    with pytest.raises(ValueError, match='by its name'), MemmapWriter({'X':tmp_path/'a.npy', 'y':tmp_path/'b.npy'}) as w: w.append(X=np.ones(3))
    assert names(tmp_path)==[]
