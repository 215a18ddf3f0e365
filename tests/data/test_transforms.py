"Transforms are replaced in copies: what a user made stays as it is"
import numpy as np, pytest
from fastcore.foundation import L
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.core import Datasets
from fastai.data.transforms import Categorize, CategoryMap, IndexSplitter, ItemGetter, MultiCategorize, OneHotEncode
from memmap_ts.all import *
from memmap_ts.data.transforms import CategorizeRows, MultiCategorizeRows, OneHotRows, for_batches, for_rows

X,y = np.zeros((30,2,5), 'f4'),np.array(['cat','dog','eel'])[np.arange(30)%3]
splits = [range(20),range(20,30)]

def datasets(*tfms, y=y): return Datasets(itemify(X, y), tfms=[[ItemGetter(0)], [ItemGetter(1), *tfms]], splits=splits)

def snapshot(ds):
    "All objects of `ds` that might be changed, and what is in them"
    vocabs = [f.vocab for tl in ds.tls for f in tl.tfms.fs if isinstance(getattr(f, 'vocab', None), CategoryMap)]
    return ([(id(tl),id(tl.items),id(tl.tfms),id(tl.tfms.fs),[(id(f),type(f)) for f in tl.tfms.fs]) for tl in ds.tls],
            [(id(v),id(v.items),[repr(o) for o in v.items],[repr(o) for o in v.o2i]) for v in vocabs])

def test_nothing_of_the_user_is_touched():
    ds = datasets(Categorize(vocab=np.unique(y)))
    before = snapshot(ds)
    ours = for_batches(ds)
    assert snapshot(ds)==before and "np.str_('cat')" in before[1][0][2]
    assert ours is not ds and ours.items is ds.items and ours.tls[0] is ds.tls[0] and ours.n_inp==ds.n_inp
    assert type(ours.tls[1].tfms.fs[1]) is CategorizeRows and [repr(o) for o in ours.vocab]==["'cat'","'dog'","'eel'"]

def test_loaders_leave_it_alone_too():
    ds = datasets(Categorize())
    before = snapshot(ds)
    a,b = MemmapDL(ds.train, bs=4),ds.dataloaders(bs=4, dl_type=MemmapDL).valid
    for dl in (a,b): dl.one_batch()
    b.new_dl(X).one_batch()
    assert snapshot(ds)==before and type(a.tls[1].tfms.fs[1]) is CategorizeRows
    assert ds[0][1]==0 and ds.decode((X[0],0))[1]=='cat' # fastai's own way still works

def test_datasets_of_a_block():
    dblock = DataBlock((MemmapBlock,CategoryBlock), get_items=itemify, getters=[ItemGetter(0),ItemGetter(1)],
                       splitter=IndexSplitter(range(20,30)))
    ds = dblock.datasets((X,y))
    before = snapshot(ds)
    dls = [ds.dataloaders(bs=4) for _ in range(2)]
    assert snapshot(ds)==before and all([repr(o) for o in d.vocab]==["'cat'","'dog'","'eel'"] for d in dls)

def test_once_is_enough():
    ours = for_batches(datasets(Categorize()))
    assert for_batches(ours) is ours
    plain = datasets()
    assert for_batches(plain) is plain
    labels = datasets(Categorize(vocab=['cat','dog','eel'], sort=False))
    assert for_batches(labels).vocab is labels.vocab # Python's own strings already

def test_what_was_found_out_in_setup_is_kept():
    ds = datasets(MultiCategorize(), OneHotEncode(), y=[['a'],['a','b'],['c']]*10)
    ours = for_batches(ds)
    assert [type(f) for f in ours.tls[1].tfms.fs[1:]]==[MultiCategorizeRows,OneHotRows]
    assert ours.tls[1].tfms.fs[2].c==3 and ours[1][1].tolist()==ds[1][1].tolist()==[1,1,0]
    assert [list(o) for o in ours.tls[1].decode(ours[1][1][None].repeat(2,1))]==[['a','b']]*2

@pytest.mark.parametrize('t', [
    Categorize(['a','b']), Categorize(['a','b'], add_na=True), Categorize(['b','a'], sort=False)])
def test_of_rows(t):
    ours = for_rows(t)
    assert ours is not t and for_rows(ours) is ours and list(ours.vocab)==list(t.vocab)
    assert ours.encodes_batch(np.array(['b','a'])).tolist()==[t('b').item(),t('a').item()]

def test_numbers_beside_a_missing_class():
    "NumPy would make text of them"
    tfm = CategorizeRows(vocab=[3,7], add_na=True)
    assert tfm.decode(tfm.encodes_batch(np.array([7,3]))).tolist()==[7,3]

def test_labels_of_a_sample():
    "What is a set of labels elsewhere is one here"
    tfm = MultiCategorizeRows(vocab=['a','b'])
    for labels in (['b'],{'b'},frozenset('b'),L('b'),np.array(['b'])): assert tfm(labels).tolist()==[1]
    with pytest.raises(TypeError, match='fastai takes a tuple apart'): tfm(('a','b'))
