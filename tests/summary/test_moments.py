"Statistics are exact, whatever the numbers are"
import math, numpy as np, pytest
from numpy.testing import assert_allclose as close, assert_array_equal as equal
from memmap_ts.stats import memmap_stats
from memmap_ts.summary.moments import block_moments
from summaries import exact, stats_of

@pytest.mark.parametrize('dtype', ['f4','f8','>f4','f2','i8','u1'])
def test_exact(dtype, saved, monkeypatch):
    monkeypatch.setattr('torch.get_num_threads', lambda: 3)
    mean,std = (1e8,1) if dtype in ('f8','i8') else (1e8,1000) if dtype[-2:]=='f4' else (100,10)
    X = np.random.default_rng(0).normal(mean, std, (2000,3,40)).astype(dtype)
    for a in (X, np.load(saved(X), mmap_mode='r')):
        st = stats_of(a, step_bytes=2**12) # many steps, several threads
        for v in range(3):
            m,s = exact(X[:,v])
            assert abs(st.mean[v]-m) <= 4e-16*abs(m) and abs(st.std[v]/s-1) < 1e-12
        assert (st.min==X.min((0,2))).all() and (st.max==X.max((0,2))).all() and st.min.dtype==X.dtype.newbyteorder('=')
        assert (st.count==80_000).all() and (st.nans==0).all()

def test_float32_mean_1e8_std_1():
    "A float32 near 1e8 is a multiple of 8: what counts is what was rounded to"
    X = np.random.default_rng(0).normal(1e8, 1, (50_000,1,10)).astype('f4'); X[::3] += 8
    st = memmap_stats(X, by='all')
    m,s = exact(X)
    assert abs(st.mean-m) <= 2e-8 and abs(st.std/s-1) < 1e-12

def test_drift():
    "The mean moves far from where it began"
    X = (np.arange(3_000_000.)**2).reshape(-1,1,1)
    st,(m,s) = memmap_stats(X, by='all'),exact(X)
    assert abs(st.mean/m-1) < 1e-15 and abs(st.std/s-1) < 1e-13

def test_extremes():
    for dtype in ('i8','u8','i1','?'):
        top,low = (1,0) if dtype=='?' else (np.iinfo(dtype).max,np.iinfo(dtype).min)
        st = memmap_stats(np.array([[low],[top],[low],[top]], dtype), by='all')
        assert (int(st.min),int(st.max))==(low,top)
        assert math.isclose(st.mean, (low+top)/2, abs_tol=.5) and math.isclose(st.std, (top-low)/2, rel_tol=1e-15)
    X = np.ones((10,5,1)); X[0,1],X[1,2],X[2,3],X[3,3],X[:,4] = np.inf,-np.inf,np.inf,-np.inf,np.nan
    st = memmap_stats(X)
    with np.errstate(all='ignore'): equal(st.mean[:4], X.mean((0,2))[:4])
    assert st.mean.tolist()[:3]==[1,np.inf,-np.inf] and np.isnan(st.mean[3:]).all()
    assert st.std[0]==0 and np.isnan(st.std[1:]).all()
    assert st.count.tolist()==[10,10,10,10,0] and st.nans.tolist()==[0,0,0,0,10] and np.isnan(st.min[4])
    assert memmap_stats(np.full((999,1,7), .1)).std[0]==0

def test_squares_beyond_float64():
    X = np.arange(1000.).reshape(100,2,5)
    X[3,0,2] = 1e200
    st = memmap_stats(X)
    assert np.isinf(st.std[0]) and abs(st.std[1]/X[:,1].std()-1)<1e-12

@pytest.mark.parametrize('axes', [(),(0,),(1,),(2,),(0,1),(0,2),(1,2),(0,1,2)], ids=str)
@pytest.mark.parametrize('shape', [(7,2,600),(7,2,1031),(999,3,5),(1000,3,5),(1,1,1)], ids=str)
def test_sums_over_any_axes(axes, shape):
    "Whatever way of summing suits the shape of a block"
    x = np.random.default_rng(0).normal(3, 2, shape)
    part = block_moments(x, axes, np.zeros([1 if i in axes else n for i,n in enumerate(shape)]))
    close(part.centre+part.mean, x.mean(axes, keepdims=True), rtol=1e-13)
    close(np.sqrt(np.maximum(part.squares, 0)/part.count), x.std(axes, keepdims=True), rtol=1e-12, atol=1e-13)
    equal(part.low, x.min(axes, keepdims=True))
    equal(part.high, x.max(axes, keepdims=True))
