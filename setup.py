"Everything is in settings.ini: edit there, not here"
import gzip, os, tarfile
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup
from setuptools.command.sdist import sdist

os.umask(0o022) # what is built has the same permissions wherever that is
cp = ConfigParser(delimiters=['='])
cp.read('settings.ini', encoding='utf-8')
cfg = cp['DEFAULT']
def words(k): return cfg.get(k, '').split()
def lines(k): return [o.strip() for o in cfg.get(k, '').splitlines() if o.strip()]

class SameSdist(sdist):
    "An sdist whose bytes depend on its files and `SOURCE_DATE_EPOCH`, and on nothing else"
    def make_archive(self, base_name, format, root_dir=None, base_dir=None, owner=None, group=None):
        epoch = os.environ.get('SOURCE_DATE_EPOCH')
        if epoch is None or format!='gztar':
            return super().make_archive(base_name, format, root_dir, base_dir, owner, group)
        def same(info):
            info.mtime,info.uid,info.gid,info.uname,info.gname = int(epoch),0,0,'',''
            info.mode = 0o755 if info.isdir() else 0o644
            return info
        fn = f'{base_name}.tar.gz'
        with (open(fn, 'wb') as f, gzip.GzipFile('', 'wb', 9, f, int(epoch)) as z,
              tarfile.open(fileobj=z, mode='w', format=tarfile.PAX_FORMAT) as tar): tar.add(base_dir, filter=same)
        return fn

setup(name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
      author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'],
      project_urls={'Documentation': cfg['doc_host']+cfg['doc_baseurl'], 'Source': cfg['git_url'],
                    'Changelog': f"{cfg['git_url']}/blob/{cfg['branch']}/CHANGELOG.md",
                    'Issues': f"{cfg['git_url']}/issues"},
      license='Apache-2.0', license_files=['LICENSE'], classifiers=lines('classifiers'),
      long_description=Path('README.md').read_text(encoding='utf-8'),
      long_description_content_type='text/markdown',
      packages=find_packages(include=[cfg['lib_path'], cfg['lib_path']+'.*']),
      package_data={cfg['lib_path']: ['py.typed']},
      python_requires='>='+cfg['min_python'], install_requires=words('requirements'),
      extras_require={'dev': words('dev_requirements'), 'bench': words('bench_requirements'),
                      'distributed': words('distributed_requirements')},
      entry_points={'console_scripts': lines('console_scripts'),
                    'nbdev': [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]},
      cmdclass={'sdist': SameSdist})
