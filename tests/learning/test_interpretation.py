"What is mistaken for what, and the rest of a model's life"
import numpy as np, pytest, torch
from fastai import interpret
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.schedule import Learner
from fastai.callback.training import GradientAccumulation
from fastai.data.block import CategoryBlock, MultiCategoryBlock
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from matplotlib import pyplot as plt
from torch import nn
from memmap_ts.all import *
from motions import First, X, splits, y
from training import fit

def test_rest_of_a_life(saved):
    "lr_find, gradient accumulation, mixed precision, interpretation, predictions with everything"
    dls = TSDataLoaders.from_files(saved(X), saved(y, 'y.npy'), splits=splits, bs=10, seed=0)
    learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(600,4)), metrics=accuracy, cbs=GradientAccumulation(20))
    with learn.no_bar(), learn.no_logging(): assert learn.lr_find(show_plot=False).valley>0
    fit(learn, 2)
    p = learn.get_preds(with_input=True, with_decoded=True, with_loss=True)
    assert len(p)==5 and p[0].equal(torch.from_numpy(X[40:])) and p[1].shape==(40,4)
    interp = ClassificationInterpretation.from_learner(learn)
    assert interp.confusion_matrix().sum()==40 and interp.most_confused() is not None
    assert any(isinstance(c, MixedPrecision) for c in learn.to_fp16().cbs)
    if torch.cuda.is_available(): fit(learn)
    learn.to_fp32()

@pytest.mark.parametrize('kind', ['labels','never predicted','dense'])
def test_interpretation(kind, saved, capsys):
    "All that fastai's says, from one pass"
    rng = np.random.default_rng(0)
    t = rng.integers(0, 5, (80,10) if kind=='dense' else 80)
    t[:5] = np.arange(5)[:,None] if kind=='dense' else np.arange(5)
    class Out(nn.Module):
        def __init__(self):
            super().__init__()
            self.somewhere = nn.Parameter(torch.zeros(1)) # fastai asks a parameter for the device
        def forward(self, x): p = x[:,:5,:10].transpose(1,2) if kind=='dense' else x[:,:5,0]*torch.tensor([1.,1,1,1,0 if kind=='never predicted' else 1]); return p
    dls = TSDataLoaders.from_files(saved(X), saved(t, 't.npy'), splits=(range(40),range(40,80)), bs=7, y_block=CategoryBlock)
    learn = Learner(dls, Out(), loss_func=CrossEntropyLossFlat(axis=-1))
    with learn.no_bar():
        for kw in ({}, dict(ds_idx=0), dict(dl=dls.test_dl((X[:50],t[:50]), with_labels=True)), dict(act=nn.Softmax(-1))):
            a,b = ClassificationInterpretation.from_learner(learn, **kw),interpret.ClassificationInterpretation.from_learner(learn, **kw)
            assert a.confusion_matrix().tolist()==b.confusion_matrix().tolist() and a.most_confused()==b.most_confused() and a.confusion_matrix().diagonal().any()
            assert a.losses.equal(b.losses) and a.top_losses(3)[1].equal(b.top_losses(3)[1])
            reports = []
            for o in (a,b): capsys.readouterr(); o.print_classification_report(); reports.append(capsys.readouterr().out.replace('.0\n', '\n').split()) # weighted counts are printed as floats
            assert reports[0]==reports[1]
    a.plot_confusion_matrix(); plt.close('all')

def test_interpretation_of_other_targets(saved):
    hot = (np.random.default_rng(0).random((80,4))<.5).astype('u1')
    dls = TSDataLoaders.from_files(saved(X), saved(hot, 't.npy'), splits=splits, bs=20, y_block=MultiCategoryBlock(encoded=True, vocab=list('abcd')))
    with pytest.raises(ValueError, match='^these samples have any number of classes.*one class for each sample.*take `Interpretation`'):
        ClassificationInterpretation.from_learner(Learner(dls, First()))

def test_nothing_to_interpret(saved):
    learn = Learner(TSDataLoaders.from_files(saved(X), saved(y, 'y.npy'), splits=(range(80),), bs=16), First(), loss_func=CrossEntropyLossFlat())
    with pytest.raises(ValueError, match='no validation set.*ds_idx=0'): ClassificationInterpretation.from_learner(learn)
    with learn.no_bar(): assert ClassificationInterpretation.from_learner(learn, ds_idx=0).confusion_matrix().sum()==80

@pytest.mark.parametrize('targets', [np.arange(80, dtype='f4'), np.zeros((80,2,3), 'f4')], ids=['numbers','forecasts'])
def test_interpretation_of_no_classes(targets):
    learn = Learner(TSDataLoaders.from_memmap(X, targets, splits=splits, bs=20), First())
    with pytest.raises(ValueError, match='no classes.*`Interpretation` of fastai.interpret'): ClassificationInterpretation.from_learner(learn)

@pytest.mark.parametrize('k', [0,-1,41])
def test_more_samples_than_there_are(saved, k):
    learn = Learner(TSDataLoaders.from_files(saved(X), saved(y, 'y.npy'), splits=splits, bs=16), First(), loss_func=CrossEntropyLossFlat())
    with learn.no_bar():
        interp = ClassificationInterpretation.from_learner(learn)
        with pytest.raises(ValueError, match=f'k={k}: how many of the 40 samples'): interp.plot_top_losses(k)
        for some in (2,range(1,3),[0,5]):
            interp.plot_top_losses(some)
            assert len([ax for ax in plt.gcf().axes if ax.lines])==2
            plt.close('all')
