"""Libraries are imported without torch's compiler, which is there for whoever asks it for something."""

import subprocess
import sys

import pytest

IMPORTS = """
import sys
import torch
from pipeline.models.compiler_on_demand import compiler_on_demand

def is_there():
    return "torch._dynamo.symbolic_convert" in sys.modules and torch._dynamo is sys.modules["torch._dynamo"]
"""

PROGRAMS = {
    "what torchvision and timm do when they are imported takes no compiler": """
with compiler_on_demand():
    from torch._dynamo.utils import is_compile_supported
    torch._dynamo.config.cache_size_limit = 3
    double = torch.compiler.disable(lambda x: 2 * x)
    twice = torch.compiler.disable(recursive=False)(lambda x: 2 * x)
assert not {"torch._dynamo", "torch._dynamo.utils", "sympy"} & sys.modules.keys()
""",
    "what they got then works later, by the compiler": """
with compiler_on_demand():
    from torch._dynamo.utils import is_compile_supported
    @torch.compiler.disable
    def compiles():
        return torch.compiler.is_compiling()
assert compiles() is False
assert is_there()
from torch._dynamo.utils import is_compile_supported as real
assert is_compile_supported("cpu") == real("cpu")
assert torch.compile(lambda x: (x + 1, compiles()), backend="eager")(torch.ones(1)) == (2, False)
""",
    "what is asked for beyond that is the compiler's own": """
with compiler_on_demand():
    from torch._dynamo import allow_in_graph
    import torch._dynamo.config
assert is_there()
assert allow_in_graph is torch._dynamo.allow_in_graph
assert torch._dynamo.config.__name__ == "torch._dynamo.config"
""",
    "a compiler that is there already stays": """
import torch._dynamo
with compiler_on_demand():
    assert is_there()
assert is_there()
""",
    "an import that fails leaves nothing behind": """
try:
    with compiler_on_demand():
        raise ImportError
except ImportError:
    pass
assert "torch._dynamo" not in sys.modules
import torch._dynamo
assert is_there()
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_in_a_process_of_its_own(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS + program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
