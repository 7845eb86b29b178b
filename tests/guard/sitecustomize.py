"""Python imports a module of this name when it starts: so the tests' child processes are guarded as the tests are."""

import network

network.install()
