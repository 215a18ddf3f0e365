"Guides can be opened elsewhere, and each answers one question"
import importlib.util, pytest
from pathlib import Path
nbformat = pytest.importorskip('nbformat')
pytest.importorskip('nbdev')

root = Path(__file__).resolve().parents[1]

def module(name):
    "One of docs/, which is no package"
    spec = importlib.util.spec_from_file_location(f'docs_{name}', root/'docs'/f'{name}.py')
    res = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(res)
    return res

colab,layout = module('colab'),module('layout')
guides = colab.guides()

@pytest.mark.parametrize('path', guides, ids=lambda o: o.stem)
def test_badges_and_install_cell(path):
    "As `python docs/colab.py` writes them"
    cells = {c.id:c.source for c in nbformat.read(path, 4).cells}
    assert cells.get('badges')==colab.badges(path.name), 'run python docs/colab.py'
    assert cells.get('install')==colab.install(path.name), 'run python docs/colab.py'

@pytest.mark.parametrize('path', guides, ids=lambda o: o.stem)
def test_title_and_question(path):
    title,_,question,*_ = nbformat.read(path, 4).cells[0].source.split('\n')
    assert title.startswith('# ') and question.startswith('> ') and len(question)>20

def test_guides_in_the_order_of_the_sidebar():
    "Each name in the list is a notebook, so that none is left there by mistake"
    names = {layout.stem_of(o) for o in guides}
    missing = set(layout.GUIDES)-names-{'slow_disks','is_memmap_slow','gallery'}
    assert not missing, missing

def test_every_notebook_has_its_place():
    groups = layout.grouped(o.name for o in (root/'nbs').glob('*.ipynb') if o.name!='index.ipynb')
    assert list(groups)==list(layout.SIDEBAR) and all(groups.values())
    assert {layout.page_of_api(o) for o in layout.public_names(root).values()}==set(layout.API)
