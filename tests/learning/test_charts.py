"Plots of what a trained model makes of data: confusion matrix, importance, distribution, a look at an array"
import matplotlib, numpy as np, pandas as pd, pytest
matplotlib.use('agg')
from matplotlib import pyplot as plt
from memmap_ts.all import *
from memmap_ts.learning.chart import importance_plot
from memmap_ts.learning.confusion import plot_matrix, shares_of_rows, short_count

rng = np.random.default_rng(0)

pytestmark = pytest.mark.usefixtures('closed_figures')

def texts_apart(texts, fig):
    "Do no two of them lie over each other?"
    fig.canvas.draw()
    r = fig.canvas.get_renderer()
    boxes = [t.get_window_extent(r) for t in texts if t.get_text()]
    return not any(a.overlaps(b) for i,a in enumerate(boxes) for b in boxes[i+1:])

@pytest.mark.parametrize('n,high', [(2,9), (4,10**6), (20,2000)])
def test_confusion(n, high):
    counts = rng.integers(0, high, (n,n))
    plot_matrix(counts, [f'a class with a name too long for a plot, the {i}th of all of them' for i in range(n)])
    fig,ax = plt.gcf(),plt.gca()
    assert [t.get_text() for t in ax.texts]==[short_count(o) for o in counts.ravel()]
    for texts in (ax.texts, ax.get_xticklabels(), ax.get_yticklabels()): assert texts_apart(texts, fig)
    assert len(fig.axes)==1 and max(map(len, (t.get_text() for t in ax.get_xticklabels())))<=24
    assert (ax.get_xlabel(),ax.get_ylabel())==('Predicted','Actual')

@pytest.mark.parametrize('normalize', [False,True])
def test_counts_are_readable(normalize):
    "Text is light where the cell is dark, also if all counts are alike; a cell is white only if it counts nothing"
    from matplotlib.colors import to_rgb
    plot_matrix(np.array([[32,26],[26,36]]), ['a','b'], normalize=normalize)
    ax = plt.gca()
    picture = ax.images[0]
    for t,v in zip(ax.texts, picture.get_array().ravel()):
        cell,text = picture.cmap(picture.norm(v))[:3],to_rgb(t.get_color())
        assert abs(np.mean(cell)-np.mean(text))>.3
    assert picture.norm.vmin==0

def test_confusion_of_many():
    "Colours instead of numbers, and some of the names"
    plot_matrix(rng.integers(0, 9, (200,200)), range(200))
    fig,(ax,bar) = plt.gcf(),plt.gcf().axes
    assert not ax.texts and bar.get_ylabel()=='samples' and len(ax.get_xticks())==40
    assert texts_apart(ax.get_xticklabels(), fig) and texts_apart(ax.get_yticklabels(), fig)
    assert max(fig.get_size_inches())<=11

@pytest.mark.filterwarnings('error')
def test_shares():
    "A class without samples has no share, and no warning"
    plot_matrix(np.array([[3,1],[0,0]]), ['a','b'], normalize=True, norm_dec=1, plot_txt=True, figsize=(3,3), title='T')
    assert [t.get_text() for t in plt.gca().texts]==['0.8','0.2','0.0','0.0'] and plt.gca().get_title()=='T'
    assert plt.gcf().get_size_inches().tolist()==[3,3]
    np.testing.assert_array_equal(shares_of_rows(np.array([[0,5],[2,2]])), [[0,1],[.5,.5]])

def table(n, what='Feature'):
    change = np.r_[0, rng.normal(size=n)]
    return pd.DataFrame({what:['BASELINE',*(f'name {i}' for i in range(n))], 'accuracy':1-change, 'accuracy_change':change})

@pytest.mark.parametrize('n', [1,6,100])
def test_features(n):
    df = table(n)
    importance_plot(df, -1, title='T')
    fig,ax = plt.gcf(),plt.gca()
    drawn = df[1:].loc[df[1:].accuracy_change.abs().nlargest(30).index].sort_index()
    assert [t.get_text() for t in ax.get_yticklabels()]==drawn.Feature.tolist()
    np.testing.assert_allclose([p.get_width() for p in ax.patches], drawn.accuracy_change)
    assert ax.get_title()==('T (30 of 100 variables)' if n>30 else 'T') and fig.get_size_inches()[1]<=11
    assert texts_apart(ax.get_yticklabels(), fig)

@pytest.mark.parametrize('n', [5,100,600])
def test_steps(n):
    "All in their order; names of some"
    df = table(n, 'Step')
    importance_plot(df, 1)
    ax = plt.gca()
    np.testing.assert_allclose([p.get_height() for p in ax.patches], df.accuracy_change[1:])
    ticks = ax.get_xticks()
    assert min(n, 20)<=len(ticks)<=40 and len(set(np.diff(ticks)))==1 and texts_apart(ax.get_xticklabels(), plt.gcf())

@pytest.mark.parametrize('n', [2,30,300])
@pytest.mark.filterwarnings('error::DeprecationWarning')
def test_distribution(n):
    y = np.array([f'class number {i}' for i in range(n)]).repeat(4)
    TSDataLoaders.from_memmap(np.zeros((len(y),1,5)), y, splits=(range(len(y)),)).train.show_dist()
    ax = plt.gca()
    assert len(ax.patches)==n and abs(sum(p.get_height() for p in ax.patches)-1)<1e-5
    assert texts_apart(ax.get_xticklabels(), plt.gcf())

def test_look_at_variables_of_any_size():
    "Each has its scale in plots and in the histogram, and one colour in all samples; one legend"
    X = rng.normal(size=(60,3,40)).cumsum(-1)*[[1],[1000],[1]]
    fig = describe(X, np.arange(60)%2, seed=0).fig
    *samples,values = fig.axes[:3]
    for ax in samples:
        assert ax.get_ylabel()=='each on its own scale' and len(ax.lines)==9
        assert [o.get_color() for o in ax.lines]==['C0','C1','C2']*3
    assert values.get_xlabel()=='each on its own scale' and len(fig.legends)==1
    same = describe(X/[[1],[1000],[1]], np.arange(60)%2, seed=0).fig
    assert not any(ax.get_ylabel() for ax in same.axes)

def test_look_at_values_far_out():
    "They do not hide the others, and are said"
    X = rng.normal(size=(500,1,100))
    X[7,0,50] = 1e9
    ax = describe(X, seed=0).fig.axes[1]
    assert 'to 1e+09' in ax.get_xlabel() and ax.get_xlim()[1]<10

@pytest.mark.parametrize('n_classes,grid', [(2,(1,3)), (3,(2,2)), (4,(2,3)), (6,(2,4))])
def test_grid_of_a_look(n_classes, grid):
    spec = describe(rng.normal(size=(60,1,9)), np.arange(60)%n_classes).fig.axes[0].get_gridspec()
    assert (spec.nrows,spec.ncols)==grid
