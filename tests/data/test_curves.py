"What is drawn: which lines and steps, on which scale, with which words, and that nothing lies over anything else"
import pickle, matplotlib, numpy as np, pandas as pd, pytest
matplotlib.use('agg')
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from tsai.data.core import TSTensor
from memmap_ts.all import *
from memmap_ts.data.curves import MAX_POINTS, SeriesPlot, as_lines, lines_to_draw, need_own_scales, points, ranges_of
from memmap_ts.data.panels import Key, Panels, columns
from memmap_ts.data.words import name_ticks, shortened, told_apart
from memmap_ts.data.place import TargetPlace, range_text

rng = np.random.default_rng(0)

pytestmark = pytest.mark.usefixtures('closed_figures')

def legend(fig=None): return [t.get_text() for o in (fig or plt.gcf()).legends for t in o.texts]
def drawn(): return [ax for ax in plt.gcf().axes if ax.lines]

def boxes(fig):
    "Where plots, with all that belongs to them, titles and the legend are, in pixels"
    fig.canvas.draw()
    r = fig.canvas.get_renderer()
    axes = [ax for ax in fig.axes if ax.axison]
    return [*(ax.get_tightbbox(r) for ax in axes), *(o.get_window_extent(r) for o in fig.legends)]

def check_room(fig):
    "Nothing lies over another plot, or out of the figure, and no title is wider than its share"
    found = boxes(fig)
    width,height = fig.canvas.get_width_height()
    for i,a in enumerate(found):
        assert a.x0>-2 and a.y0>-2 and a.x1<width+2 and a.y1<height+2
        for b in found[i+1:]:
            over = min(a.x1,b.x1)-max(a.x0,b.x0),min(a.y1,b.y1)-max(a.y0,b.y0)
            assert min(over)<2, over

@given(st.integers(1,300), st.lists(st.integers(0,320), max_size=40))
def test_lines(n, targets):
    "At most ten, in order; up to four of the targets, and no seen one without its forecast"
    found = lines_to_draw(n, targets).tolist()
    assert found==sorted(set(found)) and set(found)<={*range(n),*targets}
    assert len({*found}&{*targets})==min(4, len({*targets})) and len(found)<=10
    if not targets: assert len(found)==min(n, 10) and found[0]==0 and found[-1]==n-1

@settings(deadline=None, max_examples=30)
@given(arrays('f4', st.integers(1,9000), elements=st.floats(-1,1,width=32), fill=st.just(np.nan)), st.integers(0,8999))
def test_no_peak_is_lost(x, at):
    x[at%len(x)] = 9
    some = points(x)
    assert at%len(x) in some and len(some)<=MAX_POINTS+2 and (np.diff(some)>0).all() and some[-1]<len(x)
    if len(x)<=MAX_POINTS: assert len(some)==len(x)

@pytest.mark.parametrize('factor,offset,own', [(1,0,False), (15,0,False), (1/300,0,True), (300,0,True), (1,1000,True)])
def test_own_scales(factor, offset, own):
    "Each line takes more than a twentieth of the height; its data are in its own units, and its range is said"
    x = rng.uniform(-1, 1, (3,50))
    x[1] = x[1]*factor+offset
    dls = TSDataLoaders.from_memmap(np.repeat(x[None], 20, 0), np.arange(20)%2, bs=4)
    dls.show_batch(max_n=1)
    ax, = drawn()
    plt.gcf().canvas.draw()
    for line,values in zip(ax.lines, x):
        np.testing.assert_allclose(line.get_ydata(), values, rtol=1e-6)
        heights = line.get_transform().transform(np.c_[line.get_xdata(), values])[:,1]
        assert np.ptp(heights)>ax.bbox.height/21 and heights.min()>=ax.bbox.y0 and heights.max()<=ax.bbox.y1
    assert ax.get_ylabel()==('each on its own scale' if own else '')
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert all(' to ' in o for o in labels)==own
    if own: assert [t.get_color() for t in ax.get_yticklabels()]==['C0','C1','C2']
    check_room(plt.gcf())

def test_nothing_to_scale():
    for lines in ([], [[np.nan]], [[1,1],[5000,5000]], [[1],[np.inf]]): assert not need_own_scales(ranges_of(lines))

def test_legend_once():
    "Named are variables, if there are several; how many are left out is said"
    for n_vars,want in ((1,[]), (3,['var_0','var_1','var_2']), (30,[f'var_{i}' for i in lines_to_draw(30)])):
        TSDataLoaders.from_memmap(rng.normal(size=(20,n_vars,9)), np.arange(20)%2, bs=4).show_batch(max_n=4)
        fig = plt.gcf()
        assert legend()==want and len(fig.legends)==bool(want) and not any(ax.get_legend() for ax in fig.axes)
        assert len(drawn())==4 and all(len(ax.lines)==min(n_vars, 10) for ax in drawn())
        if n_vars==30: assert fig.legends[0].get_title().get_text()=='10 of 30 variables'
        colors = [line.get_color() for line in drawn()[0].lines]
        assert len(set(colors))==len(colors)
        check_room(fig)

@pytest.mark.parametrize('n,grid', [(1,(1,1)), (2,(1,2)), (3,(1,3)), (4,(2,2)), (5,(2,3)), (9,(3,3))])
def test_grid(n, grid):
    TSDataLoaders.from_memmap(rng.normal(size=(40,1,9)), np.arange(40)%2, bs=9).show_batch(max_n=n)
    spec = plt.gcf().axes[0].get_gridspec()
    assert (spec.nrows,spec.ncols)==grid and len(drawn())==n

def test_own_axes_and_grid():
    "Axes of the user have the legend in the first of them; nrows and ncols are the user's"
    dls = TSDataLoaders.from_memmap(rng.normal(size=(20,2,9)), np.arange(20)%2, bs=4)
    axs = plt.subplots(1, 2)[1]
    dls.show_batch(max_n=2, ctxs=axs)
    assert [ax.get_legend() is not None for ax in axs]==[True,False] and not plt.gcf().legends
    dls.show_batch(max_n=3, nrows=3, ncols=1, figsize=(3,6), sharex=True)
    spec = plt.gcf().axes[0].get_gridspec()
    assert (spec.nrows,spec.ncols)==(3,1) and plt.gcf().get_size_inches().tolist()==[3,6]

@pytest.mark.parametrize('figsize', [None,(9,7)])
def test_titles(figsize):
    "Long ones lose their middle, and two rows do not reach the plot above"
    names = np.array(['going up the stairs of a tall building with a heavy bag on the left shoulder',
                      'going up the stairs of a tall building with a heavy bag on the right shoulder','$5'])
    panels = Panels(9, figsize=figsize)
    for i,ax in enumerate(panels.axes):
        SeriesPlot(ax, rng.normal(size=(2,30))*1000, key=panels.key)
        ax.set_title(f'True: {names[i%3]}\nPred: {names[(i+1)%3]}\nLoss: 0.123', weight='bold', size='medium')
    panels.finish()
    fig = plt.gcf()
    check_room(fig)
    r = fig.canvas.get_renderer()
    for row in range(3):
        places = [ax.title.get_window_extent(r) for ax in panels.axes[3*row:3*row+3]]
        assert all(a.x1<b.x0 for a,b in zip(places, places[1:]))
    assert panels.axes[0].get_title().endswith('\nLoss: 0.123') and '…' in panels.axes[0].get_title()
    assert panels.axes[0].get_title().split('\n')[0][-5:]=='ulder' # where names differ

@given(st.text(max_size=40), st.integers(3,50))
def test_shortened(text, n):
    found = shortened(text, n)
    assert len(found)<=max(n, 3) and (found==text)==(len(text)<=n)

def test_forecast():
    "One colour for each variable, true dashed, predicted dotted, said once; long windows are cut"
    x,key = rng.normal(size=(3,5000)).cumsum(-1),Key()
    ax = plt.figure(layout='constrained').gca()
    true = TargetPlace(range(5000,5024), [2,3]).placed(rng.normal(size=(2,24))) # 3 is not seen
    plot = SeriesPlot(ax, x, true, key)
    plot.draw_numbers(true)
    plot.draw_predicted(true+1)
    assert [(o.get_color(),o.get_linestyle()) for o in ax.lines]==[
        ('C0','-'),('C1','-'),('C2','-'),('C2','--'),('C3','--'),('C2',':'),('C3',':')]
    assert ax.get_xlim()==(4520,5023) and ax.get_xlabel()=='the last 480 of 5,000 steps'
    assert len(ax.lines[0].get_xdata())==480 and (ax.lines[0].get_ydata()==x[0,4520:]).all()
    assert [*key.entries]==['var_0','var_1','var_2','var_3','true','predicted']

def test_prediction_far_off():
    "The series stays readable; a prediction that is near is seen whole"
    x = rng.uniform(-1, 1, (1,50))
    for pred,most in ((np.full(5, 1e6),5), (np.full(5, 2.),5), (np.full(5, -1e6),5)):
        ax = plt.figure().gca()
        plot = SeriesPlot(ax, x, np.zeros(5))
        plot.draw_numbers(np.zeros(5))
        plot.draw_predicted(pred)
        low,high = ax.get_ylim()
        assert high-low<=most and low<=x.min() and high>=x.max()
        if abs(pred[0])<9: assert low<=pred[0]<=high

def test_gaps():
    "A value without neighbours is seen, and one of a series of one step"
    x = np.array([[1,2,np.nan,4,np.nan,6,7],[np.nan]*7])
    ax = plt.figure().gca()
    SeriesPlot(ax, x)
    assert ax.lines[0].get_marker()=='.' and ax.lines[0].get_markevery().tolist()==[3]
    assert ax.lines[1].get_marker()=='None'
    ax = plt.figure().gca()
    SeriesPlot(ax, np.ones((2,1)))
    assert ax.lines[0].get_markevery().tolist()==[0] and ax.get_xlim()==(-.5,.5)

def test_as_lines():
    import torch
    for x in (np.arange(6, dtype='i1').reshape(2,3), torch.arange(6).view(2,3), torch.arange(6, dtype=torch.bfloat16).view(2,3)):
        assert as_lines(x, np.array([1])).tolist()==[[3,4,5]]
    assert as_lines(np.arange(3)).shape==(1,3)

def test_classes_have_colours_of_their_own():
    key = Key()
    colors = [key.class_color(f'class {i}') for i in range(10)]
    assert len(set(colors))==10 and key.class_color('class 3')==colors[3]
    assert Key().class_color('class 0')==colors[0] # in another figure too
    for i in range(10,40): key.class_color(i)
    assert len({to_hex(c) for c in key.classes.values()})==40
    fig = plt.figure(layout='constrained')
    key.show(fig)
    assert len(legend(fig))==14 and fig.legends[0].get_title().get_text()=='14 of 40'

def test_columns():
    for n in range(1,30):
        for most in (3,4): assert 1<=columns(n, most)<=min(n, most)

def test_ranges_tell_their_ends_apart():
    for low,high in ((1e7-3,1e7+3), (1e9,1e9+.5), (-2e-5,-1.9999e-5), (5e5,5e5+1e-3), (-1e300,1e300)):
        left,right = range_text(low, high).split(' to ')
        assert left!=right

@pytest.mark.parametrize('n', [1,40,41,77,500])
def test_named_ticks_are_evenly_spaced(n):
    ax = plt.figure().gca()
    name_ticks(ax, 'y', [str(i) for i in range(n)])
    at = ax.get_yticks()
    assert len(at)<=40 and len(set(np.diff(at)))<=1 and [o.get_text() for o in ax.get_yticklabels()]==[str(i) for i in at]

@pytest.mark.parametrize('cols,kw,want', [
    (['heat','wind','price'], {}, ['heat','wind','price','to predict']),
    (['heat','wind','price'], dict(get_x=['price'], get_y=['wind','price']), ['price','wind','to predict']),
    (['heat','wind','price'], dict(get_x=['price'], get_y=['price']), ['price','to predict']),
    ([0,1,2], {}, ['var_0','var_1','var_2','to predict']), # no names, but numbers
    (['heat','heat','price'], {}, ['var_0','var_1','var_2','to predict'])], ids=str)
def test_names_of_a_table(cols, kw, want):
    "Variables are called as the columns are, in all plots, those to predict too; after pickling as before"
    X,y = windows(pd.DataFrame(rng.normal(size=(200,3)).cumsum(0), columns=cols), 20, horizon=5, **kw)
    dls = TSDataLoaders.from_memmap(X, y, bs=4)
    for o in (dls, pickle.loads(pickle.dumps(dls))):
        o.show_batch(max_n=2)
        assert legend()==want
    if X.shape[1]>1: assert legend(describe(X, y).fig)==want[:-1]

def test_names_of_variables_that_are_others_now():
    "A transform that makes other variables leaves them without names"
    X,y = windows(pd.DataFrame(rng.normal(size=(200,2)), columns=['heat','wind']), 20, horizon=5)
    def twice(x:TSTensor): return x.repeat(1, 2, 1)
    dls = TSDataLoaders.from_memmap(X, np.arange(len(X))%2, bs=4, batch_tfms=twice)
    dls.show_batch(max_n=1)
    assert legend()==['var_0','var_1','var_2','var_3']

def test_predicted_number_of_what_is_not_seen():
    "A single value has no scale: the prediction decides with it, so both are seen"
    x,place = rng.normal(size=(2,50))*[[1],[1000]],TargetPlace([50], [2])
    true,pred = (place.placed((o,)) for o in (20.,2000.))
    ax = plt.figure().gca()
    plot = SeriesPlot(ax, x, true, None, pred)
    plot.draw_numbers(true)
    plot.draw_predicted(pred)
    heights = [line.get_transform().transform(np.c_[line.get_xdata(), line.get_ydata()])[0,1] for line in ax.lines[2:]]
    assert heights[1]-heights[0]>ax.bbox.height/2 and ax.bbox.y0<=heights[0] and heights[1]<=ax.bbox.y1
    assert ax.get_yticklabels()[-1].get_text()=='20 to 2,000'

def test_nothing_finite_is_said():
    X = np.stack([np.full((2,30), np.nan),np.ones((2,30))])
    for x,said in zip(X, (['no finite values'],[])):
        ax = plt.figure().gca()
        SeriesPlot(ax, x)
        assert [t.get_text() for t in ax.texts]==said
    assert [t.get_text() for ax in describe(X[:1]).fig.axes for t in ax.texts]==['no finite values']*2

@pytest.mark.parametrize('max_n', [0,-1,None,2.5])
def test_how_many_to_show(max_n):
    dls = TSDataLoaders.from_memmap(rng.normal(size=(20,1,9)), np.arange(20)%2, bs=4)
    with pytest.raises(ValueError, match='samples to show: say how many with max_n.*at least 1'): dls.show_batch(max_n=max_n)
    dls.show_batch(max_n=np.int64(1))

@pytest.mark.filterwarnings('error')
def test_odd_names():
    "Two dollar signs are no formula, and a leading underscore hides no name"
    labels = ['_a','from $3_ to $4{','b']
    X = rng.normal(size=(30,1,40))
    dls = TSDataLoaders.from_memmap(X, np.array(labels)[np.arange(30)%3], bs=30)
    dls.show_batch(max_n=3)
    plt.gcf().canvas.draw()
    dls.show_dist()
    plt.gcf().canvas.draw()
    assert [t.get_text() for t in plt.gca().get_xticklabels()]==sorted(labels)
    key = Key()
    for o in labels: key.class_color(o)
    fig = plt.figure(layout='constrained')
    key.show(fig)
    fig.canvas.draw()
    assert legend(fig)==labels

@given(st.lists(st.text('ab', min_size=1, max_size=30), max_size=8, unique=True), st.integers(6,20))
def test_names_stay_apart(names, n):
    "Shortened as alone, if they look different then"
    found = told_apart(names, n)
    assert all(len(o)<=n for o in found)
    for name,o in zip(names, found):
        if sum(shortened(p, n)==shortened(name, n) for p in names)==1: assert o==shortened(name, n)

def test_names_that_differ_in_the_middle():
    names = [f'the mean speed of wheel {i} in kilometres per hour' for i in range(12)]
    assert len(set(told_apart(names, 24)))==12 and all(f' {i} ' in o for i,o in enumerate(told_apart(names, 24)))

def test_several_classes_or_none():
    y = [['a','b'],[],['b'],[]]*5
    dls = TSDataLoaders.from_memmap(rng.normal(size=(20,1,9)), y, bs=16, shuffle=False)
    dls.show_batch(max_n=9)
    assert {ax.get_title() for ax in drawn()}<={'a;b','(none)','b'} and '(none)' in {ax.get_title() for ax in drawn()}
