"Numbers of labels are those that a dict gives, whatever labels there are"
import pickle
import numpy as np
import pytest
from fastai.data.transforms import CategoryMap
from hypothesis import given, strategies as st
from memmap_ts.data.codes import LabelCodes
from memmap_ts.data.transforms import CategorizeRows

SOME = st.one_of(st.lists(st.integers(-5, 5), min_size=1), st.lists(st.integers(-2**63, 2**63-1), min_size=1),
                 st.lists(st.integers(2**63-3, 2**63+3), min_size=1), st.lists(st.booleans(), min_size=1),
                 st.lists(st.text('ab#', max_size=3), min_size=1),
                 st.lists(st.sampled_from([0,1,'0','1',True]), min_size=1))

def numbers(vocab, label):
    "What a dict says, None for a label that it has not"
    return {o: k for k,o in enumerate(vocab)}.get(label)

@given(SOME, SOME)
def test_as_a_dict(vocab, labels):
    vocab,labels = list(dict.fromkeys(vocab)),np.array(labels)
    found,wanted = LabelCodes(vocab).of(labels),[numbers(vocab, o) for o in labels.tolist()]
    if found is not None: assert found.tolist()==wanted
    elif len({type(o) for o in vocab})==1 and labels.dtype.kind==np.array(vocab).dtype.kind!='f': assert None in wanted

@pytest.mark.parametrize('vocab,labels', [
    ([-1,3], np.array([2**64-1,3], 'u8')), ([0,3], np.array([2**64-1,3], 'u8')), ([0,3], np.array([-1,3])),
    ([-2**63,3-2**63], np.array([2**63-1])), ([2**63-1,2**63-3], np.array([-2**63])), ([2,4], np.array([3])),
    ([2,4], np.array([5], 'u1')), ([-100,100], np.array([127,-128], 'i1'))])
def test_labels_at_the_ends_of_their_type(vocab, labels):
    "Nothing wraps round into the table"
    assert LabelCodes(vocab).of(labels) is None
    known = np.array(vocab)
    assert LabelCodes(vocab).of(known[[1,0,1]]).tolist()==[1,0,1]

@pytest.mark.parametrize('add_na', [False,True])
def test_a_batch_of_labels_of_which_one_is_unknown(add_na):
    tfm = CategorizeRows(add_na=add_na)
    tfm.vocab = CategoryMap(['cat','dog'], add_na=add_na)
    rows = np.array(['dog','eel'])
    assert tfm.encodes_batch(np.array(['dog','cat'])).tolist()==[1+add_na,add_na]
    if add_na: assert tfm.encodes_batch(rows).tolist()==[2,0]
    else: assert tfm.encodes_batch(rows) is None # row by row an error names it

def test_another_vocabulary():
    tfm = CategorizeRows()
    for vocab in (['cat','dog'],['dog','cat'],['ant','dog']):
        tfm.vocab = CategoryMap(vocab, sort=False)
        assert tfm.encodes_batch(np.array(['dog'])).tolist()==[vocab.index('dog')]

def test_a_saved_model_has_no_table():
    saved = pickle.dumps(LabelCodes([7,2**20]))
    assert len(saved)<1000
    assert pickle.loads(saved).of(np.array([2**20,7])).tolist()==[1,0]
