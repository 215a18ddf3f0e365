"Give each guide its badges and the cell that installs the package where it is opened: `python docs/colab.py`"
import nbformat, re
from nbdev.config import get_config
from nbformat.v4 import new_code_cell, new_markdown_cell

cfg = get_config()
PACKAGE = f'git+{cfg.git_url}' # the name of the package, once it is on the index
EXTRAS = {'903':'zarr'} # what a guide needs beside it
GUIDE = re.compile(r'9(?!90)\d\d_')

def badges(name):
    "Links that open guide `name` in Colab and in Kaggle"
    path = f"{cfg.git_url.removeprefix('https://github.com/')}/blob/{cfg.branch}/{cfg.nbs_path.name}/{name}"
    colab = f'https://colab.research.google.com/github/{path}'
    kaggle = f'https://kaggle.com/kernels/welcome?src=https://github.com/{path}'
    return (f'[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) '
            f'[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]({kaggle})')

def install(name):
    "Runs in Colab and Kaggle only: elsewhere one installs once, in an environment of one's own"
    packages = ' '.join(o for o in (PACKAGE, EXTRAS.get(name[:3])) if o)
    return f'''#| eval: false
import os, sys
if 'google.colab' in sys.modules or 'KAGGLE_KERNEL_RUN_TYPE' in os.environ:
    %pip install -q {packages}'''

def with_badges(nb, name):
    "The notebook with both cells, each where it was or after the title"
    made = {'badges':new_markdown_cell(badges(name), id='badges'), 'install':new_code_cell(install(name), id='install')}
    cells = [c for c in nb.cells if c.id not in made]
    nb.cells = [cells[0], *made.values(), *cells[1:]]
    return nb

def guides(): return sorted(f for f in cfg.nbs_path.glob('*.ipynb') if GUIDE.match(f.name))

if __name__=='__main__':
    for f in guides(): nbformat.write(with_badges(nbformat.read(f, 4), f.name), f)
