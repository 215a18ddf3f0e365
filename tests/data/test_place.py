"Forecasts are drawn where they belong, however the loaders were made"
import matplotlib, numpy as np, pytest, torch
matplotlib.use('agg')
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from torch import nn
from fastai.callback.progress import * # no_bar
from fastai.data.block import CategoryBlock, DataBlock, RegressionBlock
from fastai.data.transforms import IndexSplitter, ItemGetter
from fastai.interpret import Interpretation
from fastai.learner import Learner, load_learner
from fastai.losses import MSELossFlat
from hypothesis import given, settings, strategies as st
from tsai.data.core import TSForecasting
from memmap_ts.all import *
from memmap_ts.data.place import TargetPlace
from memmap_ts.data.series import Stretch

series = np.random.default_rng(0).normal(size=(300,3)).cumsum(0).astype('f4')
cases = [
    (dict(horizon=[1,6,24]), [20,25,43], [0,1,2]),
    (dict(horizon=range(25,30)), [44,45,46,47,48], [0,1,2]),
    (dict(horizon=-5, get_x=[0,1], get_y=2), [15,16,17,18,19], [2]),
    (dict(horizon=1, get_y=[0,1]), [20], [0,1]),
    (dict(horizon=1, get_y=2), [20], [2]),
    (dict(horizon=0, get_x=[0,1], get_y=2), [19], [2]),
    (dict(horizon=5, get_y=2), [20,21,22,23,24], [2]),
    (dict(horizon=[3,1], get_x=[1,2], get_y=[2,0]), [22,20], [1,2]),
    (dict(horizon=2), [20,21], [0,1,2])]

def drawn(ax, n_vars):
    "Steps, values and colours of the lines beside those of the series"
    return [(l.get_xdata().tolist(), l.get_ydata().tolist(), to_hex(l.get_color())) for l in ax.lines[n_vars:]]

def axes():
    res = [a for a in plt.gcf().axes if a.lines]
    plt.close('all')
    return res

def check(ax, X, steps, lines, n_times, values=None):
    "Is a target, or target and prediction, drawn at these steps in the colours of these lines?"
    found = drawn(ax, X.shape[1])
    assert [o[0] for o in found]==[steps]*len(lines)*n_times
    assert [o[2] for o in found]==[to_hex(f'C{k}') for k in lines]*n_times
    if values is not None: np.testing.assert_allclose([o[1] for o in found[:len(lines)]], values.reshape(len(lines), -1), rtol=1e-5)
    left,right = ax.get_xlim()
    assert left<=0 and right>=max(steps)

class Last(nn.Module):
    "Predicts the last step that it sees"
    def __init__(self, shape):
        super().__init__()
        self.shape,self.weight = shape,nn.Parameter(torch.ones(1))
    def forward(self, x):
        return x[:,0,-1].reshape(-1, *[1]*len(self.shape)).expand(len(x), *self.shape)*self.weight

@pytest.mark.parametrize('kw,steps,lines', cases)
@pytest.mark.parametrize('tfms', [None,[None,TSForecasting()]], ids=['plain','tsai'])
def test_where_they_belong(kw, steps, lines, tfms):
    X,y = windows(series, 20, **kw)
    dls = TSDataLoaders.from_memmap(X, y, bs=10, shuffle=False, tfms=tfms)
    dls.show_batch(max_n=1)
    check(axes()[0], X, steps, lines, 1, y[0])
    learn = Learner(dls, Last(y.shape[1:]), loss_func=MSELossFlat())
    with learn.no_bar():
        learn.show_results(max_n=1, shuffle=False)
        ax = axes()[0]
        check(ax, X, steps, lines, 2, y[int(dls.valid_ds.items.idxs[0])])
        assert bool(ax.get_title())==(len(steps)==1)
        assert {'true','predicted'}<={t.get_text() for t in ax.get_figure().legends[0].texts}
        Interpretation.from_learner(learn).plot_top_losses(2)
        check(axes()[0], X, steps, lines, 2)

def test_one_step_is_a_mark_and_a_number():
    X,y = windows(series, 20, horizon=1, get_y=[0,1])
    dls = TSDataLoaders.from_memmap(X, y, bs=10, shuffle=False)
    dls.show_batch(max_n=1)
    ax = axes()[0]
    assert [l.get_marker() for l in ax.lines[3:]]==['o','o']
    assert ax.get_title()==f'({y[0][0]:.4g}, {y[0][1]:.4g})'

@pytest.mark.parametrize('kw,steps,lines', cases[:4])
def test_in_a_block(kw, steps, lines):
    X,y = windows(series, 20, **kw)
    dls = DataBlock(blocks=(MemmapBlock,RegressionBlock), get_items=itemify, get_x=ItemGetter(0), get_y=ItemGetter(1),
                    splitter=IndexSplitter(range(30))).dataloaders((X,y), bs=10, shuffle=False)
    dls.show_batch(max_n=1)
    check(axes()[0], X, steps, lines, 1)

def test_parts_and_new_windows(tmp_path):
    "Rows of windows, other inputs beside them, a learner that was exported, new samples"
    X,y = windows(series, 20, horizon=[1,6,24], get_y=2)
    static = np.zeros((len(X),4), 'f4')
    for dls in (TSDataLoaders.from_memmap(X[20:100], y[20:100], bs=10, splits=(range(20),range(70,80))),
                TSDataLoaders.from_memmap((static,X), y, bs=10)):
        dls.show_batch(max_n=1)
        check(axes()[0], X, [20,25,43], [2], 1)
    learn = Learner(TSDataLoaders.from_memmap(X, y, bs=10), Last((3,)), loss_func=MSELossFlat(), path=tmp_path)
    learn.export('l.pkl')
    learn = load_learner(tmp_path/'l.pkl')
    for new in ((X[:30],y[:30]), (X[list(range(30))],y[list(range(30))])): # windows, and arrays made of them
        dl = learn.dls.test_dl(new, with_labels=True)
        dl.show_batch(max_n=1)
        check(axes()[0], X, [20,25,43], [2], 1, y[0])
        with learn.no_bar(): learn.show_results(dl=dl, max_n=1, shuffle=False)
        check(axes()[0], X, [20,25,43], [2], 2, y[0])

@pytest.mark.parametrize('sel,steps,lines', [
    (dict(sel_steps=slice(10,None)), [10,15,33], [2]), (dict(sel_vars=[2,0]), [20,25,43], [0]),
    (dict(sel_steps=slice(1,None,2)), [9.5,12,21], [2]), (dict(sel_vars=[0,1], sel_steps=[17,18,19]), [3,8,26], [2])])
def test_of_parts_of_windows(sel, steps, lines):
    "What the model sees of a window is what is plotted"
    X,y = windows(series, 20, horizon=[1,6,24], get_y=2)
    dls = TSDataLoaders.from_memmap(X, y, bs=10, **sel)
    dls.show_batch(max_n=1)
    n_vars = dls.vars
    assert drawn(ax := axes()[0], n_vars)[0][0]==steps and to_hex(ax.lines[n_vars].get_color())==to_hex(f'C{lines[0]}')

def test_classes_of_some_steps():
    "A class for each of the last five steps of a window"
    labels = np.repeat([[0,0],[1,1]], [100,100], 0)
    X,_ = windows(series[:200], 20)
    _,y = windows(labels, 20, horizon=-5, get_x=[1], get_y=[0])
    dls = TSDataLoaders.from_memmap(X, y, y_block=CategoryBlock, bs=10, splits=(range(100),range(100,180)), shuffle=False)
    dls.show_batch(max_n=1)
    ax = axes()[0]
    spans = [p.get_x() for p in ax.patches]
    assert len(spans)==1 and spans[0]==14.5 and ax.patches[0].get_width()==5

def test_variables_of_another_series():
    "Variable 0 of the targets is no variable of the inputs"
    X,_ = windows(series, 20)
    _,y = windows(series[:,:1]*2, 20, horizon=5)
    X = X[:len(y)]
    dls = TSDataLoaders.from_memmap(X, y, bs=10)
    dls.show_batch(max_n=1)
    check(axes()[0], X, [20,21,22,23,24], [3], 1)

@settings(deadline=None, max_examples=100)
@given(st.integers(1,30), st.integers(0,9), st.integers(1,4), st.lists(st.integers(0,60), min_size=1, max_size=5, unique=True))
def test_evenly_seen_steps(n, start, step, predicted):
    "A step is as far to the right as its distance says"
    seen = start+step*np.arange(n)
    place = TargetPlace.between(Stretch([0], seen), Stretch([0], predicted))
    np.testing.assert_allclose(place.steps, (np.array(predicted)-start)/(step if n>1 else 1))

def test_classes_of_several_variables():
    "A band for each variable, one above the other"
    labels = np.repeat([[0,5,0],[1,5,0]], [100,100], 0)
    X,_ = windows(series[:200], 20)
    _,y = windows(labels, 20, horizon=-5, get_x=[2], get_y=[0,1])
    dls = TSDataLoaders.from_memmap(X, y, y_block=CategoryBlock, bs=10, splits=(range(100),range(100,180)), shuffle=False)
    dls.show_batch(max_n=1)
    ax = axes()[0]
    assert [(p.get_x(),p.get_width(),p.get_y(),p.get_height()) for p in ax.patches]==[(14.5,5,.5,.5),(14.5,5,0,.5)]
    assert [t.get_text() for t in ax.texts]==['0','5']
