"""Every check of metabench's kit is a test here. What must fail for a reason: expected_failures={"learns": "..."}."""

from metabench.testing import kit

test_my_plugin = kit("my-plugin")
