"Samples of any length: batches padded to their longest, cropped, with a mask, in buckets, with labels of steps"
import pickle, warnings
from itertools import islice
import numpy as np, pytest, torch
from fastai.data.block import CategoryBlock, DataBlock, TransformBlock
from fastai.data.transforms import IndexSplitter, ItemGetter
from fastai.torch_core import TensorCategory
from fasttransform import Transform
from tsai.data.core import TSTensor
from tsai.data.preprocessing import TSNormalize, TSStandardize
from memmap_ts.all import *
from memmap_ts.data.lengths import real_steps
from memmap_ts.data.transforms import RegressRows

rng = np.random.default_rng(0)
lengths = rng.integers(1, 30, 40)
values = rng.normal(5, 2, (lengths.sum(),2)).astype('f4')
labels = rng.integers(3, 6, lengths.sum()) # of steps
y = np.arange(40, dtype='f4') # tells the sample
arrays = [o.T for o in np.split(values, np.cumsum(lengths)[:-1])]
splits = range(30),range(30,40)

def X(): return ragged(values, lengths)
def make(X_=None, y=y, **kw): return TSDataLoaders.from_memmap(X() if X_ is None else X_, y, **dict(splits=splits, bs=8, seed=1, device='cpu')|kw)

def padded(rows, side='end', value=0., n_steps=None):
    "The same in plain NumPy"
    parts = [arrays[i] for i in rows]
    res = np.full((len(parts),2,n_steps or max(o.shape[1] for o in parts)), value, 'f4')
    for x,o in zip(res, parts):
        if side=='end': x[:,:o.shape[1]] = o
        else: x[:,x.shape[1]-o.shape[1]:] = o
    return res

def rows(b): return b[-1].int().tolist()
def plain(x): return np.asarray(x.as_subclass(torch.Tensor))

@pytest.mark.parametrize('kw', [dict(), dict(pad='start', pad_value=-1.), dict(pad_value=float('nan')), dict(buckets=True, num_workers=2)])
def test_batches_are_those_of_numpy(kw):
    dls,n = make(**kw),0
    for b in [*dls.train,*dls.valid,*dls.train]:
        want = padded(rows(b), kw.get('pad', 'end'), kw.get('pad_value', 0.))
        np.testing.assert_array_equal(plain(b[0]), want)
        n += 1
    assert n==3+2+3 and (dls.len,dls.vars)==(lengths.max(),2)
    assert not dls.train.missing.told # padding of NaN is not missing

def test_mask():
    for pad in ('end','start'):
        for (x,mask),y in make(mask=True, pad=pad).train:
            np.testing.assert_array_equal(mask, ~np.isnan(padded(y.int().tolist(), pad, np.nan)[:,0]))
            assert mask.dtype==torch.bool and type(x) is TSTensor

def test_padding_comes_last():
    "Transforms, also those that lose what tensors know, change real values only; statistics do not count padding"
    class Lost(Transform):
        order = 91
        def encodes(self, x:TSTensor): return TSTensor(x.as_subclass(torch.Tensor).clone())
    for t in (TSStandardize(mean=torch.tensor(1.), std=torch.tensor(2.)), TSStandardize(by_sample=True, by_var=True)):
        for x,y in make(batch_tfms=[t,Lost()], pad_value=9.).train:
            for o,i in zip(plain(x), y.int().tolist()):
                o,want = np.split(o, [lengths[i]], 1),arrays[i]
                assert (o[1]==9).all()
                if not t.by_sample: np.testing.assert_allclose(o[0], (want-1)/2, rtol=1e-6)
                elif lengths[i]>9: np.testing.assert_allclose((o[0].mean(1), o[0].std(1)), ([0,0],[1,1]), atol=.06)

def block(**kw): return DataBlock((MemmapBlock,CategoryBlock), get_items=itemify, get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=IndexSplitter(range(30,40)), **kw)

def test_data_block():
    kinds = np.array(['a','b'])[np.arange(40)%2]
    dls = block(batch_tfms=TSStandardize(by_var=True)).dataloaders((X(),kinds), bs=30, shuffle=False)
    x,_ = dls.train.one_batch()
    real = ~np.isnan(padded(range(30), value=np.nan))
    assert (plain(x)[~real]==0).all()
    np.testing.assert_allclose(dls.train.after_batch.fs[1].mean.flatten(), values[:lengths[:30].sum()].mean(0), rtol=1e-5) # of one batch
    same = DataBlock((MemmapBlock,MemmapBlock), get_items=itemify, get_x=ItemGetter(0), get_y=ItemGetter(0), batch_tfms=TSStandardize(by_var=True))
    x,again = same.dataloaders(X(), bs=8).one_batch()
    assert torch.equal(x, again) and not plain(x)[~real_steps(x).mask(x).numpy()[:,None].repeat(2, 1)].any()
    for t in (TSNormalize(by_sample=True), TSNormalize()):
        with pytest.raises(ValueError, match='TSNormalize would count padding'): block(batch_tfms=t).dataloaders((X(),kinds))

def test_crops():
    dls = make(max_len=5)
    seen = set()
    for _ in range(3):
        for x,y in dls.train:
            assert x.shape[2]==5
            for o,i in zip(plain(x), y.int().tolist()):
                n = min(lengths[i], 5)
                at = [k for k in range(lengths[i]-n+1) if (arrays[i][:,k:k+n]==o[:,:n]).all()]
                assert at and not o[:,n:].any()
                seen.add((i,at[0]))
    assert len({k for _,k in seen})>8 # other crops in each epoch
    for keep in ('start','end'):
        for x,y in make(max_len=(5,keep)).valid:
            for o,i in zip(plain(x), y.int().tolist()):
                np.testing.assert_array_equal(o[:,:min(lengths[i],5)], arrays[i][:,:5] if keep=='start' else arrays[i][:,-5:])
    assert dls.len==5 and dls.train_ds[int(lengths.argmax())%30][0].shape[1]<=5

ways = dict(plain=dict(), buckets=dict(buckets=True), weights=dict(buckets=True, weights=np.arange(40.)), some=dict(buckets=True, partial_n=.5))

@pytest.mark.parametrize('way', ways)
def test_left_anywhere(way):
    "Crops and batches of the rest of an epoch are those of a run that nobody stopped, with workers too"
    def loader(**kw): return make(max_len=4, bs=4, **ways[way], **kw).train
    def batches(it): return [(x.tolist(),rows((y,))) for x,y in it]
    first = batches(whole := loader())
    second = batches(whole)
    assert first!=second
    for k,n_workers in ((1,0),(len(first)-1,0),(2,2)):
        left = loader()
        seen = batches(islice(iter(left), k))
        again = loader(num_workers=n_workers)
        again.load_state_dict(left.state_dict())
        assert seen+batches(again)==first and batches(again)==second

def test_a_share_is_as_long_as_the_whole_batch():
    dl = make(max_len=20, buckets=True).train
    want = [(plain(x),y) for x,y in dl]
    for n in (2,3):
        parts = [[(plain(x),y) for x,y in make(max_len=20, buckets=True).train.shard(r, n)] for r in range(n)]
        for g,(x,_) in enumerate(want): np.testing.assert_array_equal(np.concatenate([o[g][0] for o in parts]), x)

def test_buckets_of_log_normal_lengths():
    n = np.exp(np.random.default_rng(3).normal(3, 1, 40_000)).astype(int)+1
    dls = TSDataLoaders.from_memmap(ragged(np.zeros((n.sum(),1), 'i1'), n), splits=(range(40_000),), bs=64, buckets=True, dtype=None)
    shapes = [x.shape for x, in dls.train.new(drop_last=False)]
    assert 1-n.sum()/sum(a*c for a,_,c in shapes)<.1

def test_labels_of_steps():
    dls = make(y=ragged(labels, lengths), max_len=20)
    assert dls.c==3 and dls.vocab==[3,4,5] and type(dls.train.one_batch()[1]) is TensorCategory
    with_labels = np.c_[values,labels].astype('f4')
    dls = make(ragged(with_labels, lengths), ragged(labels, lengths), max_len=20) # a sample knows its labels
    for x,y in [*dls.train,*dls.valid]:
        real = real_steps(x).mask(x)
        assert (y[~real]==-100).all() and torch.equal(y[real].as_subclass(torch.Tensor)+3, x[:,2][real].as_subclass(torch.Tensor).long()) and (~real).any()
    counts = np.unique(labels[:lengths[:30].sum()], return_counts=True)[1]
    want = make(y=ragged(labels, lengths)).train.cws
    np.testing.assert_allclose(want, (1/counts)/(1/counts).sum(), rtol=1e-6)

def test_numbers_of_steps():
    for x,y in make(y=ragged(values[:,0].copy(), lengths)).train:
        real = real_steps(x).mask(x)
        assert y[~real].isnan().all() and torch.equal(y[real], x[:,0][real].as_subclass(type(y)))
    bad = values[:,0].copy()
    bad[lengths[:7].sum()] = np.inf
    with pytest.raises(ValueError, match='in row 7'): make(y=ragged(bad, lengths))

def test_some_variables_and_several_inputs():
    for sel in (1,[1],[1,0],slice(1,2)):
        for (x,),i in zip(make(y=None, sel_vars=sel, shuffle=False).train, range(0, 30, 8)):
            np.testing.assert_array_equal(plain(x), padded(range(i, min(i+8,30)))[:,np.atleast_1d(np.arange(2)[sel])])
    with pytest.raises(ValueError, match='max_len'): make(sel_steps=slice(3))
    (x,mask,f),targets = make((X(),y[:,None]), mask=True).train.one_batch()
    np.testing.assert_array_equal(plain(x), padded(rows((targets,))))
    assert mask.shape==x[:,0].shape and f.shape==(8,1)

def test_new_samples_have_all_variables():
    "Those that `sel_vars` does not take, too, as those of one length have; samples that are cut already are an error"
    for sel in ([1,0],1):
        dls = make(sel_vars=sel)
        for new in (arrays[:3],X()[:3],arrays[2][None],[torch.tensor(o) for o in arrays[:3]]):
            want = padded([2] if len(new)==1 else range(3))[:,np.atleast_1d(sel)]
            np.testing.assert_array_equal(plain(dls.test_dl(new).one_batch()[0]), want)
        with pytest.raises(ValueError, match=r'\(1, .*samples here are \(2, steps\)'): dls.test_dl([arrays[0][1:]])

@pytest.mark.parametrize('pad', ['end','start'])
@pytest.mark.parametrize('kw', [dict(missing='mean'), dict(missing='ffill'), dict(missing='mask'), dict(missing=lambda x: torch.where(x.isnan(), x.nanmean(-1, True), x).nan_to_num())], ids=['mean','ffill','mask','function'])
def test_padding_is_no_gap(kw, pad):
    "What stands for a gap, and what counts it, is the same for a sample alone and in a batch"
    gaps = values.copy()
    gaps[np.cumsum(lengths)[:-1],0] = gaps[4::9,0] = np.nan # first steps, and others
    for how in (dict(), dict(scale='window'), dict(scale='var')):
        some,single = (make(ragged(gaps, lengths), splits=(range(30),), shuffle=False, bs=bs, pad=pad, **kw, **how).train for bs in (8,1))
        with warnings.catch_warnings():
            warnings.simplefilter('error', RuntimeWarning) # that variable 1 has gaps
            samples = [real_steps(x).cut(plain(x)[k], k) for x,_ in some for k in range(len(x))]
            for got,(want,_) in zip(samples, single, strict=True): np.testing.assert_allclose(got, plain(want)[0], rtol=1e-5, atol=1e-5)
        assert len(samples)==30

def test_transforms_of_single_samples():
    class Twice(Transform):
        def encodes(self, x:TSTensor): return x.repeat(1, 2)
    class Even(Transform):
        def encodes(self, x:TSTensor): return x[:,:1].expand(2, 4)
    for x,y in make(item_tfms=Twice()).train:
        want = np.zeros((len(y),2,x.shape[2]), 'f4')
        for o,i in zip(want, rows((y,))): o[:,:2*lengths[i]] = np.tile(arrays[i], 2)
        np.testing.assert_array_equal(plain(x), want)
    assert {x.shape[2] for x,_ in make(item_tfms=Even()).train}=={4}
    (x,mask),y = make(tfms=[[Twice()],None], mask=True).train.one_batch()
    assert mask.sum(1).tolist()==[2*lengths[i] for i in rows((y,))]
    class Shorter(Transform):
        def encodes(self, x:TSTensor): return x[...,1:]
    with pytest.raises(ValueError, match='pass it in item_tfms'): make(batch_tfms=Shorter()).train.one_batch()

def test_memory_of_batches_of_any_size_is_used_again():
    n = np.arange(400)%200+200
    dl = TSDataLoaders.from_memmap(ragged(np.zeros((n.sum(),20), 'f4'), n), np.arange(400.), splits=(range(400),), bs=4, seed=0).train
    sizes = {x.numel() for x,_ in dl}
    assert len(sizes)>40 and sum(map(len, dl.buffers.free.values()))<=2*dl.buffers.keep

def test_one_length():
    "All batches, of new data too, are as long as the longest sample that there was, or as it may be"
    for kw,n in ((dict(),lengths.max()), (dict(max_len=9),9)):
        dls = make(one_length=True, buckets=True, mask=True, **kw)
        assert dls.len==n and {x.shape[2] for (x,_),_ in [*dls.train,*dls.valid]}=={n}
        short = dls.test_dl([arrays[0][:,:3],arrays[1][:,:2]])
        (x,mask), = short.one_batch()
        assert x.shape==(2,2,n) and mask.sum(1).tolist()==[3,2]
        (x,_), = dls.test_dl([np.ones((2,99)),np.ones((2,1))]).one_batch()
        assert x.shape==(2,2,n)
    longer = lengths+3
    other = ragged(np.zeros((longer.sum(),1), 'f4'), longer)
    for inputs in ((X(),other),(other,X())): # none of them is cropped
        xs,_ = make(inputs, one_length=True).train.one_batch()
        assert [x.shape[2] for x in xs]==[longer.max()]*2

def test_validation_is_as_short_as_it_may_be():
    "Only batches that are joined are as long as the longest: those of predictions, not of each epoch's validation"
    blocks = MemmapBlock(),TransformBlock(type_tfms=RegressRows())
    block = DataBlock(blocks, get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=IndexSplitter(range(30,40)))
    dls = block.dataloaders(itemify(X(), ragged(values[:,0].copy(), lengths)), bs=2)
    n = [max(o) for o in lengths[30:].reshape(5,2).tolist()]
    assert len({*n})>1 and [x.shape[-1] for x,_ in dls.valid]==n
    for dl in (dls.valid.new(shuffle=False), dls.valid.new_dl(X()[30:])):
        assert {b[0].shape[-1] for b in dl}=={lengths.max() if dl.dataset is dls.valid.dataset else lengths[30:].max()}
        assert dl.new().one_length and not dl.new(shuffle=True).one_length

def test_integers():
    whole = (values*10).astype('i2')
    X_ = ragged(whole, lengths)
    for x,y in make(X_, pad_value=float('nan')).train: assert x.dtype==torch.float32 and x.isnan().any()
    for kw in (dict(dtype=None, pad_value=float('nan')), dict(dtype='float16', pad_value=1e6)):
        with warnings.catch_warnings(), pytest.raises(ValueError, match='which the model gets'):
            warnings.simplefilter('error')
            make(X_, **kw)
    assert make(X_, dtype=None, pad_value=-1).train.one_batch()[0].dtype==torch.int16

def test_what_nobody_would_look_at_is_an_error():
    dense = np.zeros((40,2,5), 'f4')
    for kw in (dict(mask=True), dict(max_len=3), dict(pad='start'), dict(pad_value=1.)):
        with pytest.raises(ValueError, match='are for samples of any length'): make(dense, **kw)
    with pytest.raises(ValueError, match='buckets=True is for samples of any length'): make(dense, buckets=True)
    with pytest.raises(ValueError, match='leave out shuffle=False'): make(buckets=True, shuffle=False)
    with pytest.raises(ValueError, match="cache='device' keeps samples of one shape"): make(cache='device')
    with pytest.warns(RuntimeWarning, match='sample 0 of X has .* steps'): make(y=ragged(labels, lengths[::-1].copy()))
    with pytest.raises(ValueError, match='other lengths than those of X'): make(y=ragged(labels, lengths[::-1].copy()), max_len=3)
    with pytest.raises(ValueError, match='one_length crop X.*leave both out'): make(y=ragged(labels, lengths[::-1].copy()), one_length=True)
    objects = np.empty(40, object)
    objects[:] = arrays
    with pytest.raises(TypeError, match='to_ragged'): make(objects)
    with pytest.raises(ValueError, match='to_ragged'): make(arrays)
    for kw in (dict(pad='left'), dict(max_len=0), dict(max_len=(3,'middle')), dict(max_len=2.5), dict(pad_value='x'), dict(pad_value=None)):
        with pytest.raises(ValueError, match='pad=|max_len=|pad_value='): make(**kw)

def test_pickled():
    dl = pickle.loads(pickle.dumps(make(mask=True).train))
    (x,_),y = dl.one_batch()
    np.testing.assert_array_equal(plain(x), padded(rows((y,))))
