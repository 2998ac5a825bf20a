"""Packaging for bioplaus: everything is read from settings.ini."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE, SUFFIX = Path(__file__).parent, "_requirements"
ini = ConfigParser(delimiters=["="], interpolation=None)
ini.read(HERE / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]
lib = cfg["lib_path"]
STATUS = {"2": "2 - Pre-Alpha", "3": "3 - Alpha", "4": "4 - Beta", "5": "5 - Production/Stable"}


class WithResults(build_py):
    "The tables that the notebooks show, which `bioplaus.data.stored` reads, come along; a clone has them as they are."

    def run(self):
        super().run()
        if not self.editable_mode:
            self.copy_tree(str(HERE / "nbs" / "results"), str(Path(self.build_lib, lib, "data_files", "results")))


setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords=cfg["keywords"],
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    license=cfg["license"].upper(),
    classifiers=[
        "Programming Language :: Python :: 3",
        "Framework :: Jupyter",
        "Typing :: Typed",
        f"Development Status :: {STATUS[cfg['status']]}",
        f"Intended Audience :: {cfg['audience']}",
        f"Natural Language :: {cfg['language']}",
    ],
    packages=find_packages(include=[lib, f"{lib}.*"]),
    package_data={lib: ["data_files/*", "py.typed"]},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require={k.removesuffix(SUFFIX): v.split() for k, v in cfg.items() if k.endswith(SUFFIX)},
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{lib}={lib}._modidx:d"],
    },
    cmdclass={"build_py": WithResults},
    zip_safe=False,
)
