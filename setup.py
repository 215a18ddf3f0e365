"Everything is in settings.ini: edit there, not here"
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

cp = ConfigParser(delimiters=['='])
cp.read('settings.ini', encoding='utf-8')
cfg = cp['DEFAULT']
def words(k): return cfg.get(k, '').split()

setup(name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
      author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'],
      license='Apache-2.0', license_files=['LICENSE'],
      long_description=Path('README.md').read_text(encoding='utf-8'),
      long_description_content_type='text/markdown',
      packages=find_packages(include=[cfg['lib_path'], cfg['lib_path']+'.*']), include_package_data=True,
      python_requires='>='+cfg['min_python'], install_requires=words('requirements'),
      extras_require={'dev': words('dev_requirements'), 'bench': words('bench_requirements'),
                      'distributed': words('distributed_requirements')},
      entry_points={'console_scripts': [o.strip() for o in cfg.get('console_scripts', '').splitlines() if o.strip()],
                    'nbdev': [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]})
