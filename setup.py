"""What pyproject.toml cannot say: the wheel takes the configuration and the published tables from the top level."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TOP = Path(__file__).parent
# By where rli/package_files.py looks for them in the wheel: folder and pattern at the top level.
RESOURCES = {"conf": ("conf", "**/*.yaml"), "published": ("experiments", "*/published.csv")}


class BuildWithResources(build_py):
    """Copies the resources beside the package's modules; an editable install finds them where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for name, (folder, pattern) in RESOURCES.items():
                for file in (TOP / folder).glob(pattern):
                    goal = Path(self.build_lib, "rli", name) / file.relative_to(TOP / folder)
                    goal.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, goal)


setup(cmdclass={"build_py": BuildWithResources})
