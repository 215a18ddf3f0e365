"Which values become which dtype"
import numpy as np, pytest
from memmap_ts.writing.cast import WantedDtype, as_chunk, as_dtype, as_text

def cast(values, dtype, source=None, **kwargs): return as_dtype(np.array(values, source), np.dtype(dtype), **kwargs)

@pytest.mark.parametrize('values,dtype,source', [
    ([3.5],'int8',None), ([np.nan],'int8',None), ([300],'int8',None), ([-1],'uint8',None), ([.1],'f4',None), ([2**60+1],'f8',None), ([1e300],'f4',None), (['abc'],'<U2',None),
    ([np.inf],'i4','f2'), ([-np.inf],'i4','f2'), ([np.inf],'i4','f4'), ([-np.inf],'i4','f4'), ([2**64-1],'i8','u8'), ([2.],'?',None), (['2020-01-01T12'],'M8[D]','M8[h]'),
    ([2**34],'M8[ns]','M8[s]'), ([2**34],'m8[ns]','m8[s]'), ([2.**63],'i8',None), ([2.**100],'u8',None)])
def test_values_that_do_not_fit(values, dtype, source):
    with pytest.raises(ValueError, match='does not fit dtype'): cast(values, dtype, source)

def test_too_large_to_round():
    with pytest.raises(ValueError, match='does not fit'): cast([1e300], 'f4', rounds=True)

@pytest.mark.parametrize('values,dtype,source', [
    ([3.,-1.],'int8',None), ([True],'i4',None), ([1,0],'?',None), ([2**63-1],'u8',None), ([1.5],'c16','f4'), ([5],'<i4','>i4'), ([2.5,np.inf],'f4',None)])
def test_values_that_fit(values, dtype, source):
    res = cast(values, dtype, source)
    assert res.dtype==np.dtype(dtype) and res.tolist()==np.array(values, source).tolist()

def test_missing_values_stay():
    assert np.isnan(cast([np.nan], 'f4')).all()
    assert cast([1.5,np.nan], 'c16')[0]==1.5
    assert np.isnat(cast(['NaT','2020'], 'M8[ns]', 'M8[s]')).tolist()==[True,False]
    assert cast(['2020','NaT'], 'M8[D]', 'M8[Y]')[0]==np.datetime64('2020-01-01')

def test_rounding():
    np.testing.assert_array_equal(cast([.1,np.inf], 'f4', rounds=True), np.float32([.1,np.inf]))

@pytest.mark.parametrize('rounds', [False, True])
@pytest.mark.parametrize('value,source,dtype', [
    (2**24+1,'i8','f4'), (-2**24-1,'i4','f4'), (2**60+1,'i8','f4'), (2**53+1,'i8','f8'), (2**64-1,'u8','f8'), (2**63-1,'i8','f4'), (2049,'i2','f2'),
    (65535,'u2','f2'), (2**24+1,'u4','c8'), (2**53+1,'i8','c16')])
def test_integers_are_not_rounded(value, source, dtype, rounds):
    "Not even for who names a float dtype: the neighbour of an id is another id"
    with pytest.raises(ValueError, match=f'{value} .*does not fit'): cast([0,value,1], dtype, source, rounds=rounds)
    with np.errstate(all='ignore'): assert cast([0,value], dtype, source, casting='unsafe').dtype==dtype

@pytest.mark.parametrize('values,source,dtype', [
    ([2**24,2**24+2,2**60],'i8','f4'), ([-2**63,2**53],'i8','f8'), ([2**63],'u8','f4'), ([65504,2048],'u2','f2'), ([2**24+2],'i4','c8'), ([],'i8','f4')])
def test_integers_that_are_floats_too(values, source, dtype):
    for rounds in (False,True): assert cast(values, dtype, source, rounds=rounds).tolist()==values

@pytest.mark.parametrize('values,dtype', [([12],'<U9'), ([1j],'f8'), (['a'],'f8')])
def test_other_kinds(values, dtype):
    with pytest.raises(TypeError, match="can't be kept"): cast(values, dtype)

def test_same_dtype_is_the_same_array():
    a = np.ones(3)
    assert as_dtype(a, a.dtype) is a and as_chunk(a) is a

def test_masks_of_byte_strings():
    a = np.ma.array([b'a',b'b'], mask=[False,True])
    with pytest.raises(ValueError, match='masked values'): as_text(a)
    assert as_text(a[:1]).tolist()==['a']

def test_wanted_dtype_of_an_empty_chunk():
    "Rows that are none say nothing of what a file is to hold"
    assert WantedDtype(str).of_first(np.empty((0,3))).kind=='U'
    assert WantedDtype().of_first(np.empty((0,3), 'f4'))==np.float32
